"""`parser list/show/use/set`: the versions of a parser, which of them is current, why others wait, and its parameters."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

import rich_click as click
from packaging.version import Version

from casparian.app import App, Command, ExitCode, pass_app
from casparian.options import as_of_option
from casparian.render import as_json, cell, fields, table
from casparian_app.gateway import Gateway, Row
from casparian_app.names import UnknownName
from casparian_app.problems import UsageProblem
from casparian_app.wording import when
from casparian_protocol.parsers import ParameterRefused
from casparian_protocol.parsers.parameters import accept, read
from casparian_protocol.wording import what_to_do, why_waits

_LIST = """
select p.name, p.version, p.state, p.registered_at, p.artifact_hash as artifact, p.kind, p.params_json, p.outputs_json,
    p.may_drop_records,
    (select list(topic order by topic) from cf_parser_topics t where t.parser_id = p.id) as topics,
    coalesce(p.is_current, false) as is_current, p.waits_json, coalesce(p.may_be_chosen, false) as may_be_chosen,
    p.current_since, p.current_by, p.current_reason,
    coalesce(r.paused_at, b.opened_at) as paused_at, coalesce(r.pause_reason, b.reason) as pause_reason,
    r.total_executions, r.successful_executions, r.last_failure_reason
from cf_parsers p left join cf_parser_runs r on r.parser_name = p.name
left join cf_breakers b on b.parser_name = p.name and b.parser_version = p.version
"""
_CONTRACTS = """
select contract_id, parser, version, output, state, columns, approved_by, carried_from from cf_schema_contracts
order by proposed_at, output
"""
_STORED = "select parser_name, name, value_json, set_at, set_by from cf_parser_params order by name"


def print_verdicts(app: App, verdicts: Sequence[Row]) -> None:
    """What an operation made of versions: which is current, which waits, and why."""
    for verdict in verdicts:
        print(cell(verdict["said"]), file=app.out)
        if verdict["remedy"]:
            app.say(f"  {cell(verdict['remedy'])}")


def _versions(gateway: Gateway) -> list[Row]:
    """Every version with how it stands (`standing`), parsers by name, versions by PEP 440."""
    contracts: dict[tuple[str, str], dict[str, str]] = {}
    for one in gateway.rows(_CONTRACTS):
        contracts.setdefault((one["parser"], one["version"]), {})[one["output"]] = one["state"].lower()
    found = gateway.rows(_LIST)
    current = {one["name"]: one["version"] for one in found if one["is_current"]}
    for one in found:
        one["standing"] = _standing(one, contracts.get((one["name"], one["version"]), {}))
        one["current"] = current.get(one["name"], "")
    return sorted(found, key=lambda one: (one["name"], Version(one["version"])))


def _standing(row: Row, contracts: dict[str, str]) -> str:
    """current, ready (it may run, and another version is current), waits, or what keeps it from running."""
    states = {contracts.get(output, "none") for output in json.loads(row["outputs_json"])}
    if row["state"] == "RETIRED":
        return "retired"
    if "rejected" in states:
        return "contract rejected"
    if "none" in states or not states:
        return "no contract"
    if "proposed" in states:
        return "waits for approval"
    if row["waits_json"]:
        return "waits"
    return "current" if row["is_current"] else "ready"


def _state(row: Row) -> str:
    """As `standing`, and paused where that is what keeps its jobs from running."""
    return "paused" if row["paused_at"] and row["standing"] in ("current", "ready") else str(row["standing"])


def _waits(row: Row) -> Row | None:
    """Why a version waits and what helps; None when it does not."""
    if not row["waits_json"] or row["standing"] != "waits":
        return None
    waits = json.loads(row["waits_json"])
    problems = waits["problems"]
    return {
        "said": why_waits(problems, waits["left_out"]),
        "remedy": what_to_do(
            row["name"], row["version"], problems, may_be_chosen=row["may_be_chosen"], like=waits["like"]
        ),
        "problems": problems,
    }


def _document(row: Row) -> Row:
    left_out = {"standing", "may_be_chosen", "current"}
    document = {name: value for name, value in row.items() if not name.endswith("_json") and name not in left_out}
    document |= {
        "params": json.loads(row["params_json"]),
        "outputs": json.loads(row["outputs_json"]),
        "state": _state(row),
        "waits": _waits(row),
    }
    return document


def _print_waiting(app: App, rows: Sequence[Row]) -> None:
    for row in rows:
        waits = _waits(row)
        if waits is not None:
            print(f"{cell(row['name'])} {cell(row['version'])} waits: {cell(waits['said'])}", file=app.out)
            app.say(f"  {cell(waits['remedy'])}")


def waiting_versions(gateway: Gateway, parsers: Collection[str]) -> list[Row]:
    """Versions of these parsers that may run and wait: parser, version, the current one, why and what helps."""
    found = [(row, _waits(row)) for row in _versions(gateway) if row["name"] in parsers]
    return [
        {"parser": row["name"], "version": row["version"], "current": row["current"], **waits}
        for row, waits in found
        if waits is not None
    ]


def say_waiting(app: App, held: Sequence[Row]) -> None:
    for one in held:
        goes = f"files go to {one['current']}" if one["current"] else "no version takes files"
        app.say(f"{cell(one['parser'])} {cell(one['version'])} waits, {goes}: {cell(one['said'])}")
        app.say(f"  {cell(one['remedy'])}")


@click.command("list", cls=Command, examples="casparian parser list")
@as_of_option
@pass_app
def list_parsers(app: App) -> ExitCode:
    """List the registered versions; the current one of a parser takes new and changed files."""
    with app.gateway() as gateway:
        found = _versions(gateway)
    if app.is_json:
        as_json(app, [_document(one) for one in found])
        return ExitCode.OK
    rows = [
        (
            one["name"],
            one["version"],
            "current, paused" if one["is_current"] and one["paused_at"] else _state(one),
            ", ".join(one["topics"] or []),
            f"{one['successful_executions'] or 0:,}/{one['total_executions'] or 0:,}",
            one["artifact"][:12],
            when(one["registered_at"]),
        )
        for one in found
    ]
    columns = ("parser", "version", "state", "topics", "runs ok", "artifact", "registered")
    table(app, columns, rows, empty="No parsers; `casparian parser register PATH` registers one.", right=("runs ok",))
    _print_waiting(app, found)
    return ExitCode.OK


@click.command(
    "show", cls=Command, examples="casparian parser show fix_parser\ncasparian parser show fix_parser@1.0.0 --json"
)
@click.argument("named", metavar="NAME[@VERSION]")
@pass_app
def show(app: App, named: str) -> ExitCode:
    """Show one parser: the current version (or VERSION), its parameters with their values, outputs, contracts, health."""
    name, _, version = named.partition("@")
    with app.gateway() as gateway:
        everything = _versions(gateway)
        of_name = [one for one in everything if one["name"] == name]
        found = [one for one in of_name if version in ("", one["version"])]
        if not found:
            known = [f"{one['name']}@{one['version']}" if version else one["name"] for one in everything]
            raise UnknownName("parser", named, known, "casparian parser list")
        contracts = [one for one in gateway.rows(_CONTRACTS) if one["parser"] == name]
        stored = _stored(gateway, name)
    shown = next((one for one in found if one["is_current"]), found[-1])
    params = _effective(json.loads(shown["params_json"]), stored)
    if app.is_json:
        document = {
            "current": shown["current"] or None,
            "params": params,
            "versions": [_document(one) for one in found],
            "contracts": contracts,
        }
        as_json(app, document)
        return ExitCode.OK
    since = f" since {when(shown['current_since'])}" if shown["current_since"] and shown["is_current"] else ""
    by_hand = f", chosen by hand: {shown['current_reason']}" if shown["current_by"] == "hand" else ""
    fields(
        app,
        [
            ("parser", f"{shown['name']} {shown['version']}"),
            ("state", f"{_state(shown)}{since}{by_hand}" if shown["is_current"] else _state(shown)),
            *([] if shown["is_current"] else [("current", shown["current"] or "none: no version may run")]),
            ("pause reason", shown["pause_reason"]),
            ("topics", ", ".join(shown["topics"] or [])),
            ("outputs", ", ".join(json.loads(shown["outputs_json"]))),
            ("may drop records", "yes, it declares so" if shown["may_drop_records"] else ""),
            ("artifact", shown["artifact"]),
            ("runs", f"{shown['total_executions'] or 0:,}, {shown['successful_executions'] or 0:,} successful"),
            ("last failure", shown["last_failure_reason"]),
            ("registered", when(shown["registered_at"])),
        ],
    )
    _print_params(app, params)
    if len(of_name) > 1:
        versions = [(one["version"], _state(one), when(one["registered_at"])) for one in of_name]
        table(app, ("version", "state", "registered"), versions, empty="")
    rows = [
        (c["contract_id"][:8], c["version"], c["output"], c["state"], c["columns"], c["approved_by"]) for c in contracts
    ]
    table(app, ("contract", "version", "output", "state", "columns", "approved by"), rows, empty="", right=("columns",))
    _print_waiting(app, of_name)
    return ExitCode.OK


# --- which version ---


@click.command(
    "use",
    cls=Command,
    examples='''casparian parser use fix_parser@1.2.0 --reason "1.3.0 loses the trailer"''',
)
@click.argument("named", metavar="NAME@VERSION")
@click.option("--reason", required=True, help="Kept in the log, shown by `parser show`.")
@pass_app
def use(app: App, named: str, reason: str) -> ExitCode:
    """Choose the version that new and changed files go to, also an older one.

    Files that were processed already are not touched; jobs that are open finish with the version they were queued for. The
    choice stands until a newer version is approved.
    """
    name, _, version = named.partition("@")
    if not version:
        raise UsageProblem(
            "A version is needed.", remedy="For example: casparian parser use fix_parser@1.2.0 --reason …"
        )
    if not reason.strip():
        raise UsageProblem("A reason is needed.", remedy="Say it with --reason; it is kept in the log.")
    with app.gateway() as gateway:
        result = gateway.request("use_version", parser=name, version=version, reason=reason)
    if app.is_json:
        as_json(app, result)
    elif result["already"]:
        app.say(f"{name} {version} is current already")
    else:
        before = f", instead of {result['previous']}" if result["previous"] else ""
        print(f"{name} {version} is current{before}: new and changed files go to it", file=app.out)
        app.say("Processed files are not touched; `casparian job rerun ID` runs one again with it.")
    return ExitCode.OK


# --- parameters ---


def _stored(gateway: Gateway, name: str) -> dict[str, Any]:
    found = [one for one in gateway.rows(_STORED) if one["parser_name"] == name]
    return {one["name"]: json.loads(one["value_json"]) for one in found}


def _effective(declared: dict[str, Any], stored: dict[str, Any]) -> list[Row]:
    """Each declared parameter with its value, its default, and where the value comes from."""
    shown = []
    for name, default in declared.items():
        row = {"name": name, "value": default, "default": default, "origin": "default"}
        if name in stored:
            try:
                row |= {"value": accept(declared, name, stored[name]), "origin": "set"}
            except ParameterRefused:
                row |= {"value": stored[name], "origin": "set, of another type than this version declares"}
        shown.append(row)
    return shown


def _print_params(app: App, params: Sequence[Row]) -> None:
    rows = [(p["name"], json.dumps(p["value"], ensure_ascii=False), p["origin"]) for p in params]
    if rows:
        table(app, ("parameter", "value", "from"), rows, empty="")


@click.command(
    "set",
    cls=Command,
    examples="""casparian parser set fix_parser checksums=warn tz=Europe/Zurich
casparian parser set fix_parser --unset tz
casparian parser set fix_parser --reset""",
)
@click.argument("name")
@click.argument("values", nargs=-1, metavar="[PARAM=VALUE]...")
@click.option("--unset", multiple=True, metavar="PARAM", help="Give this one its declared default back.")
@click.option("--reset", is_flag=True, help="Give all their declared defaults back, before PARAM=VALUE are set.")
@click.option("--reason", default="", help="Kept in the log.")
@pass_app
def set_parameters(
    app: App, name: str, values: tuple[str, ...], unset: tuple[str, ...], reset: bool, reason: str
) -> ExitCode:
    """Set parameters of a parser in production; without PARAM=VALUE, show what is set.

    They hold for jobs that are queued from now on. A source (`source add --param`) overrides them, and a rule (`rule add
    --param`) overrides both.
    """
    with app.gateway() as gateway:
        of_name = [one for one in _versions(gateway) if one["name"] == name]
        if not of_name:
            names = [one["name"] for one in gateway.rows("select distinct name from cf_parsers")]
            raise UnknownName("parser", name, names, "casparian parser list")
        shown = next((one for one in of_name if one["is_current"]), of_name[-1])
        declared = json.loads(shown["params_json"])
        is_change = bool(values or unset or reset)
        if is_change:
            try:
                wanted = dict(read(declared, text) for text in values)
            except ParameterRefused as refused:
                raise UsageProblem(refused.problem, remedy=refused.remedy or "") from refused
            gateway.request("set_parameters", parser=name, values=wanted, unset=list(unset), reset=reset, reason=reason)
        params = _effective(declared, _stored(gateway, name))
    if app.is_json:
        as_json(app, {"parser": name, "version": shown["version"], "params": params})
        return ExitCode.OK
    if not params:
        print(f"{name} {shown['version']} declares no parameters", file=app.out)
    _print_params(app, params)
    if is_change:
        app.say(
            "New jobs get these values. Processed files stay as they are; `casparian job rerun ID` runs one again with them."
        )
    return ExitCode.OK
