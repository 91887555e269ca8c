"""`parser register/test/health/pause/resume/retire`: the registry of parsers. Which version runs: `parser_versions`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from casparian.app import App, ExitCode, Group, pass_app
from casparian.commands.parser_versions import list_parsers, print_verdicts, set_, show, use
from casparian.options import as_of_option
from casparian.render import as_json, cell, table
from casparian_app.names import need
from casparian_app.problems import UsageProblem
from casparian_app.versions import parser_versions, versions_of
from casparian_app.wording import count, size, when_short

if TYPE_CHECKING:
    from casparian_app.registering import PreparedArtifact

_FILES_SHOWN = 12


@click.group(cls=Group)
def parser() -> None:
    """The registry of parsers."""


@parser.command("register", examples="casparian parser register fix_parser/\ncasparian parser register advice.py")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--no-tests", is_flag=True, help="Do not run the tests that lie beside the parser.")
@pass_app
def register(app: App, path: Path, no_tests: bool) -> ExitCode:
    """Bundle, check, sign and store a parser; its contracts are proposed for approval."""
    from casparian_app.registering import register_parser

    with app.gateway(creates_home=True) as gateway:
        done = register_parser(gateway, path, runs_tests=not no_tests)
    prepared, result = done.prepared, done.answer
    if done.tests_passed:
        app.say(f"{count(done.tests_passed, 'test')} of the parser passed")
    if app.is_json:
        left_out = [{"name": one.name, "why": one.why} for one in prepared.left_out]
        findings = [finding.model_dump() for finding in prepared.findings]
        as_json(app, {**result, "findings": findings, "files": prepared.sizes, "left_out": left_out})
        return ExitCode.OK
    verb = "known already" if result["already"] else "registered"
    print(f"{verb}: {result['name']} {result['version']}  artifact {result['artifact'][:16]}", file=app.out)
    carried = {each["output"]: each["version"] for each in result["carried"]}
    for contract in result["contracts"]:
        origin = carried.get(contract["output"])
        told = f" (identical to the contract approved for {origin})" if origin else ""
        print(f"  contract {contract['contract_id'][:8]} {contract['output']}: {contract['state']}{told}", file=app.out)
    for line in _bundle_lines(prepared):
        print(line, file=app.out)
    for finding in prepared.findings:
        place = f"{finding.file}:{finding.line}:{finding.column}"
        app.say(f"  gatekeeper: {cell(place)}: {cell(finding.what)} ({finding.rule}): {cell(finding.why)}")
    print_verdicts(app, result["versions"])
    waiting = [contract for contract in result["contracts"] if contract["state"].lower() == "proposed"]
    if waiting:
        named = f"{result['name']}@{result['version']}"
        app.say(
            f"Nothing runs unapproved: `casparian contract approve {named}` approves {count(len(waiting), 'contract')}."
        )
    return ExitCode.OK


def _bundle_lines(prepared: PreparedArtifact) -> Iterator[str]:
    """What the bundle holds, and what lies beside it and was left out, with the reasons."""
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
@click.option("--update", is_flag=True, help="Rewrite the expected rows and counts of cases that differ by what came.")
@pass_app
def test(app: App, path: Path, update: bool) -> ExitCode:
    """Run the tests that lie beside a parser (`tests/<case>.<ext>` with `<case>.expected.json`)."""
    from casparian_app.parser_tests import run_bundle_tests

    results = run_bundle_tests(path, is_update=update)
    failed = [one for one in results if not one.is_passed]
    rewritten = [one.rewritten for one in results if one.rewritten is not None]
    if app.is_json:
        failures = [f"{one.case}: {told}" for one in failed for told in one.differences]
        document = {"ran": len(results), "failed": len(failed), "failures": failures, "rewritten": rewritten}
        as_json(app, document)
        return ExitCode.FAILED if failed else ExitCode.OK
    for one in failed:
        for told in one.differences:
            print(f"{cell(one.case)}: {cell(told)}", file=app.out)
    for file in rewritten:
        print(f"rewritten: {cell(str(file))}", file=app.out)
    if failed:
        print(f"{len(failed)} of {count(len(results), 'test')} failed", file=app.out)
    else:
        print(f"{len(results)} of {count(len(results), 'test')} passed", file=app.out)
    return ExitCode.FAILED if failed else ExitCode.OK


def _ask(app: App, op: str, said: str, **args: Any) -> ExitCode:
    with app.gateway() as gateway:
        need(gateway, "parser", args["parser"])
        result = gateway.request(op, **args)
    if app.is_json:
        as_json(app, result)
    else:
        app.say(said)
    return ExitCode.OK


@parser.command("health", examples="casparian parser health\ncasparian parser health fix_parser --json")
@click.argument("name", required=False, default="")
@as_of_option
@pass_app
def health(app: App, name: str) -> ExitCode:
    """Show how parsers fare: runs, failures in a row, and whether they are paused, why and until when."""
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
            "`casparian parser resume NAME` lets a paused parser's jobs run; `casparian errors list` says what failed"
        )
    return ExitCode.OK


@parser.command("pause", examples='casparian parser pause fix_parser --reason "bad feed since noon"')
@click.argument("name")
@click.option("--reason", default="", help="Kept in the log.")
@pass_app
def pause(app: App, name: str, reason: str) -> ExitCode:
    """Pause a parser: its jobs stay queued, those that run may finish."""
    return _ask(app, "pause", f"{name} is paused; its jobs stay queued", parser=name, reason=reason)


@parser.command("resume", examples="casparian parser resume fix_parser")
@click.argument("name")
@click.option("--reason", default="", help="Kept in the log.")
@pass_app
def resume(app: App, name: str, reason: str) -> ExitCode:
    """Resume a paused parser: its jobs run again."""
    return _ask(app, "resume", f"{name} runs again", parser=name, reason=reason)


@parser.command("retire", examples="casparian parser retire fix_parser@0.9.0")
@click.argument("named", metavar="NAME@VERSION")
@pass_app
def retire(app: App, named: str) -> ExitCode:
    """Retire a version: it gets no new jobs."""
    name, _, version = named.partition("@")
    if not version:
        raise UsageProblem("A version is needed.", remedy="For example: casparian parser retire fix_parser@0.9.0")
    with app.gateway() as gateway:
        need(gateway, "parser", name)
        result = gateway.request("retire", parser=name, version=version)
    if app.is_json:
        as_json(app, result)
        return ExitCode.OK
    app.say(f"{name} {version} is retired")
    print_verdicts(app, result["versions"])
    return ExitCode.OK


for _command in (list_parsers, show, use, set_):
    parser.add_command(_command)


COMMANDS: dict[str, click.Command] = {"parser": parser}
