"""`casparian new parser NAME`: a parser that runs as it is, drafted from a sample when one is given."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from casparian.app import App, Group, pass_app
from casparian.render import as_json, cell
from casparian_app.problems import UsageProblem
from casparian_app.scaffold import read_sample, scaffold, write_scaffold


@click.group(cls=Group, short_help="Write a parser skeleton.")
def new() -> None:
    """Write the beginning of something: a parser."""


@new.command(
    "parser",
    examples="casparian new parser trades --from trades_2024.csv\ncasparian new parser trades --dir parsers",
)
@click.argument("name")
@click.option(
    "--from", "sample", type=click.Path(path_type=Path), metavar="FILE", help="Draft columns and test from this file."
)
@click.option(
    "--dir", "parent", type=click.Path(path_type=Path), default=Path(), metavar="DIR", help="Where NAME/ is made."
)
@pass_app
def parser(app: App, name: str, sample: Path | None, parent: Path) -> None:
    """Write the directory NAME with a parser, a contract, a sample and a test, ready to run.

    With --from, columns and types are drafted from the sample: only what every value seen shows beyond doubt.
    """
    try:
        files = scaffold(name, read_sample(sample) if sample else None)
        write_scaffold(parent / name, files)
    except OSError as cause:
        raise UsageProblem(
            f"{cause.filename or sample or parent}: {cause.strerror or cause}.",
            remedy="Name a readable sample with --from, and a directory that you may write with --dir.",
        ) from cause
    written = [str(parent / name / path) for path in files]
    if app.is_json:
        as_json(app, {"name": name, "directory": parent / name, "files": written})
        return
    for path in written:
        print(cell(path), file=app.out)
    module, test_input = written[0], written[1]
    app.say(f"Try it:       casparian run {cell(module)} {cell(test_input)}")
    app.say(f"Register it:  casparian parser register {cell(parent / name)}")


COMMANDS: dict[str, click.Command] = {"new": new}
