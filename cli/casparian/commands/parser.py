"""`parser …`: register and test parsers, choose the version that runs, set parameters, show health, pause and resume."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from casparian.app import App, ExitCode, Group, as_of_option, pass_app
from casparian.render import as_json, cell, fields, section, table
from casparian_app.names import UnknownName, need
from casparian_app.parsers import (
    Parameter,
    ParserStanding,
    WaitingVersion,
    newest_or_current,
    parameters,
    parser_versions,
    set_parameters,
    versions_of,
)
from casparian_app.texts import UsageProblem, count, size, when, when_short
from casparian_protocol.queries.registry import ContractsListed
from casparian_protocol.wire.operations.base import Call, Done
from casparian_protocol.wire.operations.registry import PAUSE, RESUME, RETIRE, USE_VERSION, VersionVerdict
from casparian_protocol.wording import command_line

if TYPE_CHECKING:
    from casparian_app.parsers import PreparedArtifact

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


class NoVersion(UsageProblem):
    """A parser is named without the version that the command needs."""

    def __init__(self, named: str) -> None:
        super().__init__(
            f"{named[:80]!r} is not a valid NAME@VERSION: it names no version.",
            remedy=f"Give one, such as {named[:80]}@1.2.0; `casparian parser list` shows the versions.",
        )


@click.group(cls=Group)
def parser() -> None:
    """Register parsers, and manage their versions and parameters."""


def print_verdicts(app: App, verdicts: Sequence[VersionVerdict]) -> None:
    """The result of an operation on versions: which is current, which waits, and why."""
    for verdict in verdicts:
        print(cell(verdict.said), file=app.out)
        if verdict.remedy:
            app.say(f"  {cell(verdict.remedy)}")


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


@parser.command("list", examples="casparian parser list")
@as_of_option
@pass_app
def list_parsers(app: App) -> ExitCode:
    """List the registered versions. The current version of a parser takes new and changed files."""
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


@parser.command("show", examples="casparian parser show fix_parser\ncasparian parser show fix_parser@1.0.0 --json")
@click.argument("named", metavar="NAME[@VERSION]")
@pass_app
def show(app: App, named: str) -> ExitCode:
    """Show the current version of a parser, or VERSION: its parameters, outputs, contracts and health."""
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
        section(app, ("version", "state", "registered"), versions)
    rows = [
        (c["contract_id"][:8], c["version"], c["output"], c["state"], c["columns"], c["approved_by"]) for c in contracts
    ]
    section(app, ("contract", "version", "output", "state", "columns", "approved by"), rows, right=("columns",))
    _print_waiting(app, of_name)
    return ExitCode.OK


def _summary(shown: ParserStanding) -> list[tuple[str, Any]]:
    row = shown.row
    since = f" since {when(row['current_since'])}" if row["current_since"] and shown.is_current else ""
    by_hand = f", chosen by hand: {row['current_reason']}" if row["current_by"] == "hand" else ""
    return [
        ("parser", f"{shown.name} {shown.version}"),
        ("state", f"{shown.state}{since}{by_hand}" if shown.is_current else shown.state),
        *([] if shown.is_current else [("current", shown.current or "none: no version can run")]),
        ("pause reason", shown.pause_reason),
        ("topics", ", ".join(row["topics"] or [])),
        ("outputs", ", ".join(shown.outputs)),
        ("may drop records", "yes, as it declares" if row["may_drop_records"] else ""),
        ("artifact", row["artifact"]),
        ("runs", f"{row['total_executions'] or 0:,}, {row['successful_executions'] or 0:,} successful"),
        ("last failure", row["last_failure_reason"]),
        ("registered", when(row["registered_at"])),
    ]


# --- versions ---------------------------------------------------------------------------------------------------------


@parser.command(
    "use",
    examples='''casparian parser use fix_parser@1.2.0 --reason "1.3.0 loses the trailer"''',
)
@click.argument("named", metavar="NAME@VERSION")
@click.option("--reason", required=True, help="Say why; kept in the log and shown by `parser show`.")
@pass_app
def use(app: App, named: str, reason: str) -> ExitCode:
    """Choose the version that takes new and changed files; it may be an older one.

    Files that are already processed are not touched, and open jobs finish with the version that they were queued for. The
    choice stays in force until a newer version is approved.
    """
    name, _, version = named.partition("@")
    if not version:
        raise NoVersion(named)
    if not reason.strip():
        raise UsageProblem("The reason is empty.", remedy="Say why with --reason; it is kept in the log.")
    with app.gateway() as gateway:
        result = gateway.perform(USE_VERSION(parser=name, version=version, reason=reason))
    if app.is_json:
        as_json(app, result)
    elif result.already:
        app.say(f"{name} {version} is current already")
    else:
        before = f", instead of {result.previous}" if result.previous else ""
        print(f"{name} {version} is current{before}: new and changed files go to it", file=app.out)
        app.say("Processed files stay as they are; `casparian job rerun ID` runs one again with this version.")
    return ExitCode.OK


# --- parameters -------------------------------------------------------------------------------------------------------


def _print_params(app: App, params: Sequence[Parameter]) -> None:
    rows = [(p["name"], json.dumps(p["value"], ensure_ascii=False), p["origin"]) for p in params]
    if rows:
        section(app, ("parameter", "value", "from"), rows)


@parser.command(
    "set",
    examples="""casparian parser set fix_parser checksums=dummies tz=Europe/Zurich
casparian parser set fix_parser --unset tz
casparian parser set fix_parser --reset""",
)
@click.argument("name")
@click.argument("values", nargs=-1, metavar="[PARAM=VALUE]...")
@click.option(
    "--unset", multiple=True, metavar="PARAM", help="Reset this parameter to its declared default. Repeatable."
)
@click.option("--reset", is_flag=True, help="Reset all parameters to their declared defaults, then set PARAM=VALUE.")
@click.option("--reason", default="", help="Say why; kept in the log.")
@pass_app
def set_(app: App, name: str, values: tuple[str, ...], unset: tuple[str, ...], reset: bool, reason: str) -> ExitCode:
    """Set parameters of a parser in production, or show them when no PARAM=VALUE is given.

    They apply to jobs queued from now on. A source (`source add --param`) overrides them, and a rule (`rule add --param`)
    overrides both.
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


_FILES_SHOWN = 12


@parser.command("register", examples="casparian parser register fix_parser/\ncasparian parser register advice.py")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--no-tests", is_flag=True, help="Skip the parser's tests.")
@pass_app
def register(app: App, path: Path, no_tests: bool) -> ExitCode:
    """Bundle, check, test, sign and store a parser, and propose its contracts for approval."""
    from casparian_app.parsers import register_parser

    with app.gateway(creates_home=True) as gateway:
        done = register_parser(gateway, path, runs_tests=not no_tests)
    prepared, result = done.prepared, done.answer
    if done.tests_passed:
        app.say(f"{count(done.tests_passed, 'test')} of the parser passed")
    if app.is_json:
        left_out = [{"name": one.name, "why": one.why} for one in prepared.left_out]
        findings = [finding.model_dump() for finding in prepared.findings]
        as_json(app, {**result.model_dump(), "findings": findings, "files": prepared.sizes, "left_out": left_out})
        return ExitCode.OK
    verb = "already known" if result.already else "registered"
    print(f"{verb}: {result.name} {result.version}  artifact {result.artifact[:16]}", file=app.out)
    carried = {each.output: each.version for each in result.carried}
    for contract in result.contracts:
        origin = carried.get(contract.output)
        note = f" (identical to the contract approved for {origin})" if origin else ""
        print(f"  contract {contract.contract_id[:8]} {contract.output}: {contract.state}{note}", file=app.out)
    for line in _bundle_lines(prepared):
        print(line, file=app.out)
    for finding in prepared.findings:
        place = f"{finding.file}:{finding.line}:{finding.column}"
        app.say(f"  gatekeeper: {cell(place)}: {cell(finding.what)} ({finding.rule}): {cell(finding.why)}")
    print_verdicts(app, result.versions)
    waiting = [contract for contract in result.contracts if contract.state.lower() == "proposed"]
    if waiting:
        named = f"{result.name}@{result.version}"
        app.say(
            f"The parser cannot run before its contracts are approved: `casparian contract approve {named}` "
            f"approves {count(len(waiting), 'contract')}."
        )
    if not result.contracts:
        app.say(f"It declares no outputs, so no file will be parsed by it. {_how_to_declare(path)}")
    return ExitCode.OK


def _how_to_declare(path: Path) -> str:
    """What is missing for a parser without a contract, and the command that drafts it."""
    return (
        f"`{command_line('schema', 'infer', 'FILE', '--parser', str(path))}` drafts its contract from a file: save it as "
        "OUTPUT.schema.json next to the parser, or as `outputs` in its source, and register a new version."
    )


def _bundle_lines(prepared: PreparedArtifact) -> Iterator[str]:
    """What the bundle contains, and which neighbouring files were left out, with the reasons."""
    held = list(prepared.sizes)
    listed = ", ".join(cell(name) for name in held[:_FILES_SHOWN]) + (", …" if len(held) > _FILES_SHOWN else "")
    yield f"  in the bundle: {count(len(held), 'file')}, {size(sum(prepared.sizes.values()))}: {listed}"
    by_reason: dict[str, list[str]] = {}
    for one in prepared.left_out:
        by_reason.setdefault(one.why, []).append(cell(one.name))
    for why, names in by_reason.items():
        yield f"  left out ({why}): {', '.join(names[:_FILES_SHOWN])}{', …' if len(names) > _FILES_SHOWN else ''}"
    if prepared.metadata.may_drop_records:
        yield "  may drop records: it declares `may_drop_records = True`"


@parser.command(
    "test", examples="casparian parser test fix_parser/\ncasparian parser test fix_parser/ --update     # after an edit"
)
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--update", is_flag=True, help="Rewrite the expected rows and counts of the tests that fail.")
@pass_app
def test(app: App, path: Path, update: bool) -> ExitCode:
    """Run the parser's tests (`tests/<case>.<ext>` with `<case>.expected.json`)."""
    from casparian_app.parsers import run_bundle_tests

    results = run_bundle_tests(path, is_update=update)
    failed = [one for one in results if not one.is_passed]
    rewritten = [one.rewritten for one in results if one.rewritten is not None]
    if app.is_json:
        failures = [f"{one.case}: {difference}" for one in failed for difference in one.differences]
        document = {"ran": len(results), "failed": len(failed), "failures": failures, "rewritten": rewritten}
        as_json(app, document)
        return ExitCode.FAILED if failed else ExitCode.OK
    for one in failed:
        for difference in one.differences:
            print(f"{cell(one.case)}: {cell(difference)}", file=app.out)
    for file in rewritten:
        print(f"rewritten: {cell(str(file))}", file=app.out)
    if failed:
        print(f"{len(failed)} of {count(len(results), 'test')} failed", file=app.out)
    else:
        print(f"{len(results)} of {count(len(results), 'test')} passed", file=app.out)
    return ExitCode.FAILED if failed else ExitCode.OK


def _change(app: App, name: str, change: Callable[[], Call[Done]], done_text: str) -> ExitCode:
    """Change the parser with this name and report the result."""
    with app.gateway() as gateway:
        need(gateway, "parser", name)
        result = gateway.perform(change())
    if app.is_json:
        as_json(app, result)
    else:
        app.say(done_text)
    return ExitCode.OK


@parser.command("health", examples="casparian parser health\ncasparian parser health fix_parser --json")
@click.argument("name", required=False, default="")
@as_of_option
@pass_app
def health(app: App, name: str) -> ExitCode:
    """Show each parser's runs and consecutive failures, and whether, why and until when it is paused."""
    with app.gateway() as gateway:
        found = versions_of(gateway, name) if name else parser_versions(gateway)
    documents = [one.health() for one in found if name or one.standing != "retired"]
    if app.is_json:
        as_json(app, documents)
        return ExitCode.OK
    rows = [
        (
            one["parser"],
            one["version"],
            one["state"].replace("_", "-"),
            one["consecutive_failures"],
            f"{one['successful_executions']:,}/{one['total_executions']:,}",
            when_short(one["probe_at"]),
            one["last_failure_reason"] or "",
        )
        for one in documents
    ]
    columns = ("parser", "version", "state", "failed in a row", "runs ok", "next try", "last failure")
    table(app, columns, rows, empty="No parsers.", right=("failed in a row", "runs ok"))
    held = [one for one in documents if one["state"] in ("open", "half_open", "paused")]
    for one in held:
        print(f"paused: {cell(one['parser'])} {cell(one['version'])}: {cell(one['pause_reason'])}", file=app.out)
    if held:
        app.say(
            "`casparian parser resume NAME` lets a paused parser's jobs run; `casparian errors list` shows what failed"
        )
    return ExitCode.OK


@parser.command("pause", examples='casparian parser pause fix_parser --reason "bad feed since noon"')
@click.argument("name")
@click.option("--reason", default="", help="Say why; kept in the log.")
@pass_app
def pause(app: App, name: str, reason: str) -> ExitCode:
    """Pause a parser: its jobs stay queued, and running ones may finish."""
    return _change(app, name, lambda: PAUSE(parser=name, reason=reason), f"{name} is paused; its jobs stay queued")


@parser.command("resume", examples="casparian parser resume fix_parser")
@click.argument("name")
@click.option("--reason", default="", help="Say why; kept in the log.")
@pass_app
def resume(app: App, name: str, reason: str) -> ExitCode:
    """Resume a paused parser: its queued jobs run again."""
    return _change(app, name, lambda: RESUME(parser=name, reason=reason), f"{name} runs again")


@parser.command("retire", examples="casparian parser retire fix_parser@0.9.0")
@click.argument("named", metavar="NAME@VERSION")
@pass_app
def retire(app: App, named: str) -> ExitCode:
    """Retire a version: it gets no new jobs."""
    name, _, version = named.partition("@")
    if not version:
        raise NoVersion(named)
    with app.gateway() as gateway:
        need(gateway, "parser", name)
        result = gateway.perform(RETIRE(parser=name, version=version))
    if app.is_json:
        as_json(app, result)
        return ExitCode.OK
    app.say(f"{name} {version} is retired")
    print_verdicts(app, result.versions)
    return ExitCode.OK


COMMANDS: dict[str, click.Command] = {"parser": parser}
