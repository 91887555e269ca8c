"""`casparian support-bundle`: one file for whoever is to help, without data, paths or keys."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from casparian.app import App, Command, ExitCode, pass_app
from casparian.render import as_json
from casparian_app.support import write_support_bundle
from casparian_app.wording import count, size


@click.command(
    "support-bundle",
    cls=Command,
    examples="casparian support-bundle casparian-support.tar.gz\ntar -xzOf casparian-support.tar.gz casparian-support/README.txt",
)
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--events",
    type=click.IntRange(0, 100_000),
    default=1000,
    show_default=True,
    help="Put in so many of the last events.",
)
@pass_app
def support_bundle(app: App, file: Path, events: int) -> ExitCode:
    """Write a .tar.gz that tells what is wrong, without data or secrets. Works with a stuck daemon and a damaged log.

    Texts and names are replaced by tokens; README.txt in the bundle says how. Look into it before you send it.
    """
    made = write_support_bundle(app.home, file, events)
    if app.is_json:
        as_json(app, {"file": str(file), "bytes": made.bytes, "parts": made.parts})
    else:
        app.say(f"wrote {file} ({size(made.bytes)}, {count(len(made.parts), 'part')}); look into it before you send it")
    return ExitCode.OK


COMMANDS: dict[str, click.Command] = {"support-bundle": support_bundle}
