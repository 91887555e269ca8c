"""`verify`: run committed jobs again and compare what they make with what was published."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import rich_click as click

from casparian.app import App, Command, ExitCode, pass_app
from casparian.options import POSITIVE
from casparian.render import as_json, cell
from casparian_app.wording import count

if TYPE_CHECKING:
    from casparian_app.reproducing import Reproduction


@click.command(
    cls=Command,
    examples="""casparian verify 3f2a91c0
casparian verify fix_orders --sample 20""",
)
@click.argument("what", metavar="JOB|OUTPUT")
@click.option("--sample", type=POSITIVE, help="Of an output: only so many of its jobs, drawn by lot.")
@pass_app
def verify(app: App, what: str, sample: int | None) -> ExitCode:
    """Run a job again as it was (artifact, contract, time, input) and compare with what it published.

    Nothing of the home is changed. Equal means byte for byte, or else row for row. An OUTPUT stands for all jobs that have
    live rows in its live version. Exit 1 when one could not be reproduced.
    """
    from casparian_app.reproducing import recorded_jobs, run_again

    with app.gateway() as gateway:
        recorded = recorded_jobs(gateway, what, sample)
    found: list[Reproduction] = []
    for job in recorded:
        found.append(run_again(app.home, job))
        if not app.is_json:
            _print(app, found[-1])
    good = sum(one.is_reproduced for one in found)
    if app.is_json:
        as_json(app, [{**asdict(one), "is_reproduced": one.is_reproduced} for one in found])
    else:
        app.say(f"{good:,} of {count(len(found), 'job')} reproduced")
    return ExitCode.OK if good == len(found) else ExitCode.FAILED


def _print(app: App, found: Reproduction) -> None:
    verdict = "reproduced" if found.is_reproduced else "NOT REPRODUCED"
    print(f"job {found.job_id}: {verdict}", file=app.out)
    if found.error:
        print(f"  it cannot be run again: {cell(found.error)}", file=app.out)
    for file in found.files:
        detail = f": {file.detail}" if file.detail else ""
        print(f"  {file.verdict.replace('_', ' ')}  {cell(file.path)}{cell(detail)}", file=app.out)


COMMANDS: dict[str, click.Command] = {"verify": verify}
