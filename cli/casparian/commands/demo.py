"""`demo`: the whole main job on generated logs, narrated, and its numbers checked against what was planted."""

from __future__ import annotations

import time
from pathlib import Path

import rich_click as click

from casparian.app import App, Command, ExitCode, pass_app
from casparian.render import as_json


@click.command(
    cls=Command,
    examples="casparian demo\ncasparian demo ./demo        # in a directory of its own\ncasparian demo --json",
)
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@pass_app
def demo(app: App, directory: Path | None) -> ExitCode:
    """Do the whole main job on generated FIX logs, tell every step, and check the result.

    Everything happens below DIRECTORY (default: a new temporary one); your own home is not touched. It is kept, so that you
    can go on with the commands that are shown. Exits with 1 when any number differs from what was planted.
    """
    from casparian.demo.session import Narrator, Session, choose
    from casparian.demo.steps import Story, end, sample_logs

    place, began = choose(directory), time.monotonic()
    narrator = Narrator(app.out, is_silent=app.is_json)
    session = Session(place)
    story = Story(session, narrator, is_live=not app.is_json and app.out.isatty(), make_logs=sample_logs)
    try:
        story.tell()
    except BaseException:
        app.say(f"the demo ended early; what there is lies in {place.root}")
        raise
    seconds = time.monotonic() - began
    if app.is_json:
        as_json(app, story.document(seconds))
    else:
        end(narrator, story, session, seconds)
    return ExitCode.OK if story.is_good else ExitCode.FAILED


COMMANDS: dict[str, click.Command] = {"demo": demo}
