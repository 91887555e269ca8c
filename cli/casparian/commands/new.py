"""`new parser`: write a parser from a sample or from a premade parser, and list the premade ones.

Nothing is overwritten, and nothing is written that has not run on its sample.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from casparian.app import App, Group, pass_app
from casparian.render import as_json, cell, fields, section, table
from casparian.shipped import bundled
from casparian_app.texts import UsageProblem
from casparian_protocol.wording import command_line

if TYPE_CHECKING:
    from casparian_app.drafting import Premade


@click.group(cls=Group, short_help="Write a new parser.")
def new() -> None:
    """Write a new parser, from a sample or from a premade parser."""


@new.command(
    "parser",
    examples="""casparian new parser trades --from trades_2024.csv
casparian new parser trades --from inbox/ --dir parsers
casparian new parser --list-premade
casparian new parser --premade csv        # its parameters
casparian new parser adt --premade hl7 --param tz=Europe/Zurich --from messages.hl7
casparian new parser stock --premade csv --param 'delimiter=;' --from stock.csv""",
)
@click.argument("name", required=False, default="")
@click.option(
    "--from",
    "samples",
    type=click.Path(path_type=Path),
    multiple=True,
    metavar="PATH",
    help="Draft the parser from this sample, or from the files in this directory. Repeatable.",
)
@click.option("--premade", "kind", metavar="KIND", help="Use this premade parser; without NAME, show its parameters.")
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="PARAM=VALUE",
    help="Set the default of a parameter of the premade parser. Repeatable.",
)
@click.option("--list-premade", "is_listing", is_flag=True, help="List the premade parsers; write nothing.")
@click.option(
    "--dir",
    "parent",
    type=click.Path(path_type=Path),
    default=Path(),
    metavar="DIR",
    help="Create NAME/ in this directory (default: the current one).",
)
@pass_app
def parser(
    app: App,
    name: str,
    samples: tuple[Path, ...],
    kind: str | None,
    params: tuple[str, ...],
    is_listing: bool,
    parent: Path,
) -> None:
    """Write the directory NAME with a parser, a contract, a sample and a test, ready to run.

    With --from, the samples are examined, the draft is run on them, and its columns get the types that every value fits.
    What is not certain is said. Nothing is written if no draft reads the samples. Formats that a premade parser reads are
    drafted from it; --premade chooses one.
    """
    from casparian_app.drafting import (
        draft_parser,
        draft_premade,
        find_premade,
        find_samples,
        premade_parsers,
        skeleton,
        write_draft,
    )

    premade = premade_parsers(bundled("parsers"))
    if is_listing:
        _list_premade(app, premade)
        return
    chosen = None if kind is None else find_premade(premade, kind)
    if chosen is not None and not name:
        _show_premade(app, chosen)
        return
    if not name:
        raise UsageProblem("The parser has no name.", remedy="Write `casparian new parser NAME --from SAMPLE`.")
    if params and chosen is None:
        raise UsageProblem(
            "--param has no effect without --premade.",
            remedy="Add --premade KIND; `casparian new parser --list-premade` lists them.",
        )
    directory = parent / name
    try:
        if directory.exists():
            write_draft(directory, {})  # refuses, before anything is run
        found = find_samples(samples)
        if chosen is not None:
            drafted = draft_premade(name, chosen, params, found)
        else:
            drafted = draft_parser(name, found, premade) if samples else skeleton(name)
        write_draft(directory, drafted.files)
    except OSError as cause:
        raise UsageProblem(
            f"{cause.filename or (samples[0] if samples else parent)}: {cause.strerror or cause}.",
            remedy="Name a readable sample with --from, and a directory that you may write to with --dir.",
        ) from cause
    written = [str(directory / path) for path in drafted.files]
    if app.is_json:
        trials = [
            {
                "path": each.path,
                "valid": each.valid,
                "rejected": each.rejected,
                "skipped": each.skipped,
                "problem": each.problem,
            }
            for each in drafted.trials
        ]
        document = {"name": name, "directory": directory, "files": written, "kind": drafted.kind}
        as_json(app, {**document, "premade": drafted.premade, "seen": drafted.sentences, "trials": trials})
        return
    for path in written:
        print(cell(path), file=app.out)
    for sentence in drafted.sentences:
        app.say(cell(sentence))
    sample = _sample_to_try(drafted.files)
    test_input = str(directory / sample) if sample else str(samples[0]) if samples else "FILE"
    runnable = str(directory) if chosen is not None or drafted.premade else written[0]
    app.say(f"Try it:       {command_line('run', runnable, test_input)}")
    app.say(f"Register it:  {command_line('parser', 'register', str(directory))}")


def _sample_to_try(files: Mapping[str, bytes]) -> str | None:
    """The first sample of a new parser without bad rows, or else the first one."""

    def has_bad_rows(path: str) -> bool:
        expected = json.loads(files.get(f"{path.rpartition('.')[0]}.expected.json", b"{}"))
        return any(output.get("quarantined") for output in expected.values() if isinstance(output, dict))

    samples = (path for path in files if path.startswith("tests/") and not path.endswith(".expected.json"))
    return min(samples, key=has_bad_rows, default=None)


def _list_premade(app: App, premade: Sequence[Premade]) -> None:
    if app.is_json:
        as_json(app, [each.document() for each in premade])
        return
    table(app, ("premade", "reads"), [(each.kind, each.manifest.line) for each in premade], empty="None.")
    app.say("`casparian new parser --premade KIND` shows the parameters of one; with NAME it makes a parser from it.")


def _show_premade(app: App, premade: Premade) -> None:
    """What a premade parser reads and gives, and its parameters."""
    document = premade.document()
    if app.is_json:
        as_json(app, document)
        return
    outputs = ", ".join(premade.metadata.outputs)
    facts = [
        ("premade", premade.kind),
        ("reads", premade.manifest.line),
        ("outputs", "one named like the parser, with the columns of a sample" if premade.is_generic else outputs),
    ]
    fields(app, facts)
    rows = [
        (
            name,
            json.dumps(premade.metadata.params[name].default, ensure_ascii=False),
            each.about + (f": {', '.join(value or '(empty)' for value in each.values)}" if each.values else ""),
        )
        for name, each in premade.manifest.params.items()
    ]
    section(app, ("parameter", "default", "meaning"), rows)
    app.say(f"Make a parser from it: `casparian new parser NAME --premade {premade.kind} --from SAMPLE`")


COMMANDS: dict[str, click.Command] = {"new": new}
