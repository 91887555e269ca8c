"""`parser list/show/use/set`: the versions of a parser, which of them is current, why others wait, and its parameters."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import rich_click as click

from casparian.app import App, Command, ExitCode, pass_app
from casparian.options import as_of_option
from casparian.render import as_json, cell, fields, table
from casparian_app.names import UnknownName
from casparian_app.problems import UsageProblem
from casparian_app.versions import (
    Parameter,
    ParserStanding,
    WaitingVersion,
    newest_or_current,
    parameters,
    parser_versions,
    set_parameters,
    versions_of,
)
from casparian_app.wording import when
from casparian_protocol.queries.parsers import ContractsListed

_CONTRACT_COLUMNS = (
    "contract_id",
    "parser",
    "version",
    "output",
    "state",
    "columns",
    "approved_by",
    "carried_from",
)


def print_verdicts(app: App, verdicts: Sequence[Mapping[str, Any]]) -> None:
    """What an operation made of versions: which is current, which waits, and why."""
    for verdict in verdicts:
        print(cell(verdict["said"]), file=app.out)
        if verdict["remedy"]:
            app.say(f"  {cell(verdict['remedy'])}")


def _print_waiting(app: App, versions: Sequence[ParserStanding]) -> None:
    for one in versions:
        waits = one.waits
        if waits is not None:
            print(f"{cell(one.name)} {cell(one.version)} waits: {cell(waits['said'])}", file=app.out)
            app.say(f"  {cell(waits['remedy'])}")


def say_waiting(app: App, held: Sequence[WaitingVersion]) -> None:
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
        found = parser_versions(gateway)
    if app.is_json:
        as_json(app, [one.document() for one in found])
        return ExitCode.OK
    rows = [
        (
            one.name,
            one.version,
            "current, paused" if one.is_current and one.paused_at else one.state,
            ", ".join(one.row["topics"] or []),
            _runs(one),
            one.row["artifact"][:12],
            when(one.row["registered_at"]),
        )
        for one in found
    ]
    columns = ("parser", "version", "state", "topics", "runs ok", "artifact", "registered")
    table(app, columns, rows, empty="No parsers; `casparian parser register PATH` registers one.", right=("runs ok",))
    _print_waiting(app, found)
    return ExitCode.OK


def _runs(one: ParserStanding) -> str:
    return f"{one.row['successful_executions'] or 0:,}/{one.row['total_executions'] or 0:,}"


@click.command(
    "show", cls=Command, examples="casparian parser show fix_parser\ncasparian parser show fix_parser@1.0.0 --json"
)
@click.argument("named", metavar="NAME[@VERSION]")
@pass_app
def show(app: App, named: str) -> ExitCode:
    """Show one parser: the current version (or VERSION), its parameters with their values, outputs, contracts, health."""
    name, _, version = named.partition("@")
    with app.gateway() as gateway:
        everything = parser_versions(gateway)
        of_name = [one for one in everything if one.name == name]
        found = [one for one in of_name if version in ("", one.version)]
        if not found:
            known = [f"{one.name}@{one.version}" if version else one.name for one in everything]
            raise UnknownName("parser", named, known, "casparian parser list")
        contracts = gateway.query(ContractsListed(parser=name))
        shown = newest_or_current(found)
        params = parameters(gateway, shown)
    if app.is_json:
        document = {
            "current": shown.current or None,
            "params": params,
            "versions": [one.document() for one in found],
            "contracts": [
                {name: value for name, value in one.items() if name in _CONTRACT_COLUMNS} for one in contracts
            ],
        }
        as_json(app, document)
        return ExitCode.OK
    fields(app, _summary(shown))
    _print_params(app, params)
    if len(of_name) > 1:
        versions = [(one.version, one.state, when(one.row["registered_at"])) for one in of_name]
        table(app, ("version", "state", "registered"), versions, empty="")
    rows = [
        (c["contract_id"][:8], c["version"], c["output"], c["state"], c["columns"], c["approved_by"]) for c in contracts
    ]
    table(app, ("contract", "version", "output", "state", "columns", "approved by"), rows, empty="", right=("columns",))
    _print_waiting(app, of_name)
    return ExitCode.OK


def _summary(shown: ParserStanding) -> list[tuple[str, Any]]:
    row = shown.row
    since = f" since {when(row['current_since'])}" if row["current_since"] and shown.is_current else ""
    by_hand = f", chosen by hand: {row['current_reason']}" if row["current_by"] == "hand" else ""
    return [
        ("parser", f"{shown.name} {shown.version}"),
        ("state", f"{shown.state}{since}{by_hand}" if shown.is_current else shown.state),
        *([] if shown.is_current else [("current", shown.current or "none: no version may run")]),
        ("pause reason", shown.pause_reason),
        ("topics", ", ".join(row["topics"] or [])),
        ("outputs", ", ".join(shown.outputs)),
        ("may drop records", "yes, it declares so" if row["may_drop_records"] else ""),
        ("artifact", row["artifact"]),
        ("runs", f"{row['total_executions'] or 0:,}, {row['successful_executions'] or 0:,} successful"),
        ("last failure", row["last_failure_reason"]),
        ("registered", when(row["registered_at"])),
    ]


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


def _print_params(app: App, params: Sequence[Parameter]) -> None:
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
def set_(app: App, name: str, values: tuple[str, ...], unset: tuple[str, ...], reset: bool, reason: str) -> ExitCode:
    """Set parameters of a parser in production; without PARAM=VALUE, show what is set.

    They hold for jobs that are queued from now on. A source (`source add --param`) overrides them, and a rule (`rule add
    --param`) overrides both.
    """
    is_change = bool(values or unset or reset)
    with app.gateway() as gateway:
        shown = newest_or_current(versions_of(gateway, name))
        if is_change:
            set_parameters(gateway, shown, values, unset, reset=reset, reason=reason)
        params = parameters(gateway, shown)
    if app.is_json:
        as_json(app, {"parser": name, "version": shown.version, "params": params})
        return ExitCode.OK
    if not params:
        print(f"{name} {shown.version} declares no parameters", file=app.out)
    _print_params(app, params)
    if is_change:
        app.say(
            "New jobs get these values. Processed files stay as they are; `casparian job rerun ID` runs one again with them."
        )
    return ExitCode.OK
