"""`process`: queue the pending files, run jobs until the queue is empty, and report the result.

If a daemon runs, its workers do the work; otherwise a daemon is started and ends with the command. The first Ctrl-C lets
running jobs finish, the second stops at once; either way nothing is lost.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import rich_click as click

from casparian.app import POSITIVE, App, Command, ExitCode, pass_app
from casparian.commands.parser import say_waiting
from casparian.render import as_json, cell
from casparian_app.gateway import Gateway
from casparian_app.parsers import waiting_versions
from casparian_app.processing import (
    Outcome,
    Selection,
    Unclaimed,
    check,
    open_jobs,
    open_scans,
    outcome,
    period,
    selection_of,
    unclaimed,
    untagged,
)
from casparian_app.texts import NoHome, UsageProblem, WorkFailed, count
from casparian_console.run_view import NO_WORKER_HINT, RunView
from casparian_protocol.client import Client, NoSentinel
from casparian_protocol.feed import Metric
from casparian_protocol.home import is_home
from casparian_protocol.queries.selections import OpenJobsOf
from casparian_protocol.wire.operations.base import Call
from casparian_protocol.wire.operations.daemon import DRAIN, PING, STATUS, STOP, Snapshot
from casparian_protocol.wire.operations.jobs import QUEUE, Asked, QueueResult, Skipped

#: A command that works without a daemon may take so long; a run at night waits for it.
_OTHERS_END_SECONDS = 600.0


class NoWorkerStaysAlive(WorkFailed):
    """Every local worker has failed for good; queued jobs stay queued."""

    def __init__(self, reason: str, left: int, daemon_log: str) -> None:
        super().__init__(
            f"Workers keep failing ({reason[:300]}); {_stay(left)} queued.",
            remedy=f"Their last output is in {daemon_log}; `casparian doctor` checks the machine.",
        )


class _Interrupts:
    """Counts Ctrl-C presses; the caller checks the count between two items of the feed."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1


#: How much of a failure's message is shown; `job show` has all of it.
_MESSAGE_CHARACTERS = 200


@click.command(
    cls=Command,
    examples="""casparian process
casparian process --parser fix_parser --workers 2 --json""",
)
@click.option("--parser", metavar="NAME", help="Process only files that this parser takes.")
@click.option("--tag", metavar="TAG", help="Process only files with this tag.")
@click.option("--path", type=click.Path(), metavar="PATH", help="Process only files below this path.")
@click.option("--limit", type=POSITIVE, metavar="N", help="Queue at most N files (default: all).")
@click.option("--include-cancelled", is_flag=True, help="Also process files whose jobs were cancelled.")
@click.option("--dry-run", is_flag=True, help="Show what would be queued, and why the rest would not; queue nothing.")
@click.option(
    "--workers",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Start N worker processes (default: daemon.max_concurrent_workers, or one for each core).",
)
@pass_app
def process(
    app: App,
    parser: str | None,
    tag: str | None,
    path: str | None,
    limit: int | None,
    include_cancelled: bool,
    dry_run: bool,
    workers: int | None,
) -> ExitCode:
    """Queue the pending files, run them, and report what happened to each.

    If a daemon runs, its workers run the jobs, and jobs that it queued automatically are counted too. Otherwise a daemon is
    started and ends with this command. Exit 1 when a job failed, or when none of the selected files could be processed."""
    if not is_home(app.home):
        raise NoHome(app.home)
    asked = selection_of(parser, tag, path)
    with app.gateway() as gateway:
        check(gateway, asked)
        request = QUEUE(
            parser=parser,
            tag=tag,
            path=asked.path,
            limit=limit,
            include_cancelled=include_cancelled,
            dry_run=dry_run,
        )
        if dry_run:
            return _dry_run(app, gateway, asked, request)
    interrupts = _Interrupts()
    with _on_interrupt(interrupts):
        with _daemon(app, workers) as child, app.gateway(is_patient=True) as gateway:
            _await_scans(app, gateway, asked, interrupts, child)
            run = _Run(app, gateway, asked, interrupts, child)
            run.queue_and_follow(request)
            if run.needs_hashes and not interrupts.count:
                # The first run hashed files that were only known by name, so copies can be recognised now.
                run.queue_and_follow(request)
            ended = None
            if not interrupts.count:
                gateway.perform(PING())  # makes the counts at least as new as the events seen
                ended = outcome(gateway, asked, run.period)
        if ended is None:  # the daemon was asked to end: count after it has
            with app.gateway(is_patient=True) as gateway:
                ended = outcome(gateway, asked, run.period)
    return _verdict(app, run, ended)


def _await_scans(
    app: App, gateway: Gateway, asked: Selection, interrupts: _Interrupts, child: subprocess.Popen[bytes] | None
) -> None:
    """Wait for scans that are already queued, since the files they find count too (`casparian source rescan` returns at once)."""
    scans = open_scans(gateway, asked)
    if scans and not interrupts.count:
        app.say(f"waiting for {count(len(scans), 'scan')} to end")
        _follow(app, gateway, interrupts, child, RunView(started=time.monotonic(), wanted=scans))


def _dry_run(app: App, gateway: Gateway, asked: Selection, request: Call[QueueResult]) -> ExitCode:
    found = gateway.perform(request)
    lost = unclaimed(gateway, asked)
    if app.is_json:
        as_json(app, {"asked": found.asked, "not_queued": found.skipped, "no_parser": lost})
        return ExitCode.OK
    for line in _asked_lines(found.asked, found.skipped, lost):
        print(line, file=app.out)
    return ExitCode.OK


class _Run:
    """One call of `process`: what was queued, which jobs it waits for, and how far they are."""

    def __init__(
        self,
        app: App,
        gateway: Gateway,
        asked: Selection,
        interrupts: _Interrupts,
        child: subprocess.Popen[bytes] | None,
    ) -> None:
        self.app, self.gateway, self.asked = app, gateway, asked
        self.interrupts, self.child = interrupts, child
        self.began_at_s = time.monotonic()
        self.period = period(gateway)
        self.unclaimed = unclaimed(gateway, asked)
        self.queued = QueueResult(queued=0, already=0)
        self.view = RunView(started=self.began_at_s)

    def queue_and_follow(self, request: Call[QueueResult]) -> None:
        self.queued = self.gateway.perform(request)
        if not self.app.is_json:
            _say_queued(self.app, self.queued, self.unclaimed, untagged(self.gateway, self.asked))
            parsers = {one.parser for one in self.queued.asked if one.files}
            say_waiting(self.app, waiting_versions(self.gateway, parsers))
        wanted = open_jobs(self.gateway, self.asked, with_scans=self.needs_hashes)
        self.view = RunView(started=time.monotonic(), wanted=wanted)
        _follow(self.app, self.gateway, self.interrupts, self.child, self.view)

    @property
    def needs_hashes(self) -> bool:
        """Whether files were left out because no scan has hashed them yet."""
        return any(one.code == "NOT_HASHED" for one in self.queued.skipped)

    @property
    def left(self) -> int:
        return self.view.left

    @property
    def is_in_vain(self) -> bool:
        """Whether there are files, but none can become a job: no parser takes them, or none of its versions may run."""
        refused = [one for one in self.queued.skipped if one.files and one.code != "CANCELLED"]
        return bool(refused) or (bool(self.unclaimed) and not _has_files(self.queued))


@contextmanager
def _on_interrupt(interrupts: _Interrupts) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, interrupts)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _daemon(app: App, workers: int | None) -> Iterator[subprocess.Popen[bytes] | None]:
    """None when a daemon is running; otherwise one that this command starts and stops."""
    child = _started(app, workers)
    if child is None:
        yield None
        return
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
        child.wait()


def _started(app: App, workers: int | None) -> subprocess.Popen[bytes] | None:
    """A daemon for this run, or None if one is running. Another command that has the home is waited for."""
    from casparian_app.daemons import HomeNotOurs, spawn_daemon

    options = ["--with-parent", "--no-planning", *(["--workers", str(workers)] if workers else [])]
    deadline_s = time.monotonic() + _OTHERS_END_SECONDS
    while True:
        try:
            Client.connect(app.home).close()
        except NoSentinel:
            pass
        else:
            if workers is not None:
                raise UsageProblem(
                    "A daemon runs already, with its own workers.",
                    remedy="Leave --workers out, or `casparian stop` first.",
                )
            return None
        app.say("starting the daemon and its workers for this run")
        try:
            return spawn_daemon(app.home, options)
        except HomeNotOurs as taken:  # it has waited for some seconds
            if time.monotonic() > deadline_s:
                raise
            app.say(f"{taken.problem} Trying again.")


def _say_queued(app: App, done: QueueResult, lost: Sequence[Unclaimed], without_tag: int) -> None:
    before = sum(one.open for one in done.asked)
    waiting = f"; waiting for {count(before, 'job')} queued before" if before else ""
    for line in (
        *_asked_lines(done.asked, [], []),
        f"{count(done.queued, 'job')} queued{waiting}",
        *_asked_lines([], done.skipped, lost),
    ):
        app.say(line)
    if any(one.failed for one in done.asked):
        app.say(
            "`casparian job rerun --failed` runs files that failed before again, with the parsers' current versions"
        )
    if without_tag and not _has_files(done):
        known = count(without_tag, "known file")
        app.say(
            f"{known} without a tag: `casparian files --untagged` lists them, `casparian tag FILES TAG` puts one on"
        )


def _has_files(done: QueueResult) -> bool:
    """Whether a parser takes any of the selected files."""
    return any(one.files for one in done.asked) or any(one.files for one in done.skipped)


def _asked_lines(asked: Sequence[Asked], skipped: Sequence[Skipped], lost: Sequence[Unclaimed]) -> Iterator[str]:
    """The selected files, and why some are not new work: the parts add up to the total."""
    for one in asked:
        if not one.files:
            yield f"{cell(one.parser)}: no file carries a tag that it takes ({cell(', '.join(one.topics))})"
            continue
        parts = [
            (one.ended - one.failed, "processed before"),
            (one.failed, "failed before"),
            (one.open, "queued before"),
            (one.duplicates, "with the same content as another"),
            (one.cancelled, "cancelled before"),
            (one.not_hashed, "not hashed yet"),
        ]
        new = one.files - sum(number for number, _ in parts)
        counts = [f"{number:,} {words}" for number, words in [(new, "new"), *parts] if number]
        yield f"{cell(one.parser)}: {count(one.files, 'file')}: {', '.join(counts)}"
    for each in skipped:
        yield f"not queued: {count(each.files, 'file')} for {cell(each.parser)}: {cell(each.reason)}"
    for tag in lost:
        words = f"no parser takes the tag {cell(tag['tag'])}"
        yield f"not queued: {count(tag['files'], 'file')}: {words}. {cell(tag['hint'])}".rstrip()


def _follow(
    app: App, gateway: Gateway, interrupts: _Interrupts, child: subprocess.Popen[bytes] | None, view: RunView
) -> None:
    """Watch until nothing more can run; Ctrl-C drains the first time and stops the second."""
    passed_on = 0
    with _screen(app, view) as redraw, gateway.feed(outlives_daemon=child is not None) as feed:
        for item in feed:
            if isinstance(item, Snapshot):  # query it now: no event reports pauses from before the snapshot
                _learn_what_waits(gateway, view)
            before, had_none = view.intake, view.lacks_workers
            view.apply(item)
            if view.must_look and isinstance(item, Snapshot | Metric):
                view.keep_open(row["id"] for row in gateway.query(OpenJobsOf(with_scans=True)))
            if view.intake and view.intake != before:
                app.say(f"new jobs are paused: {cell(view.intake)}; running jobs may finish, the others stay queued")
            if view.lacks_workers and not had_none and view.left:
                app.say(f"{_stay(view.left)} queued: the daemon has no worker; {NO_WORKER_HINT}")
            redraw()
            if interrupts.count > passed_on:
                passed_on = interrupts.count
                view.note = _pass_on(gateway, child, passed_on)
            if (
                view.hopeless
                or view.is_idle
                or (passed_on and view.is_at_rest)
                or (child is not None and child.poll() is not None)
            ):
                break


def _learn_what_waits(gateway: Gateway, view: RunView) -> None:
    """Jobs that cannot make progress without a person."""
    status = gateway.perform(STATUS())
    view.paused = {(one.name, one.version) for one in status.parsers.paused}
    view.intake = "" if status.intake == "open" else status.intake


def _pass_on(gateway: Gateway, child: subprocess.Popen[bytes] | None, times: int) -> str:
    """Act on a press of Ctrl-C. Returns the message about it."""
    if child is None:
        raise KeyboardInterrupt  # this command did not start the daemon, so its jobs continue
    if times == 1:
        gateway.perform(DRAIN())
        return "finishing the running jobs; press Ctrl-C again to stop at once"
    gateway.perform(STOP(now=True))
    return "stopping"


@contextmanager
def _screen(app: App, view: RunView) -> Iterator[Any]:
    """A live display on a terminal; elsewhere nothing is drawn."""
    if app.is_quiet or app.is_json or not app.err.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.live import Live
    from rich.text import Text

    console = Console(file=app.err, highlight=False, markup=False)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        drawn_at = 0.0

        def redraw() -> None:
            nonlocal drawn_at
            now = time.monotonic()
            if now - drawn_at >= 0.1:
                live.update(Text("\n".join(view.lines(now, console.width))), refresh=True)
                drawn_at = now

        yield redraw


def _verdict(app: App, run: _Run, ended: Outcome) -> ExitCode:
    left, interrupts, seconds = run.left, run.interrupts.count, time.monotonic() - run.began_at_s
    if app.is_json:
        document = {**ended.summary(), "seconds": round(seconds, 3), "queued": ended.queued}
        document |= {"asked": run.queued.asked, "not_queued": run.queued.skipped, "no_parser": run.unclaimed}
        as_json(
            app,
            {
                **document,
                "ended_before": ended.before,
                "failed_earlier": ended.failed_earlier,
                "failures": ended.failures,
                "left": left,
                "stuck": run.view.stuck,
            },
        )
    else:
        _print_outcome(app, ended, seconds)
    if left and run.view.hopeless and not interrupts:
        raise NoWorkerStaysAlive(run.view.hopeless, left, str(app.home.daemon_log))
    stuck = {job: why for job, why in run.view.stuck.items() if job in run.view.open}
    for job, why in stuck.items():
        app.say(
            f"job {job[:8]} is committed, but its files cannot be put in place: {cell(why)}; the daemon keeps trying"
        )
    if left > len(stuck) and not interrupts:
        left -= len(stuck)
        paused = ", ".join(sorted({name for name, _version in run.view.paused}))
        app.say(f"{count(left, 'job')} left: the parser is paused ({paused})")
        app.say("`casparian parser health` shows why; `casparian parser resume NAME` lets them run")
    if interrupts:
        if left:
            app.say(f"interrupted: {_stay(left)} queued; `casparian process` continues")
        return ExitCode.INTERRUPTED
    is_undone = run.is_in_vain and not sum(ended.jobs.values())
    return ExitCode.FAILED if ended.failed or stuck or is_undone else ExitCode.OK


def _print_outcome(app: App, ended: Outcome, seconds: float) -> None:
    words = [f"{number:,} {name.replace('_', ' ')}" for name, number in ended.jobs.items() if number]
    total = sum(ended.jobs.values())
    before = f", {ended.before:,} of them before this call" if ended.before and ended.before < total else ""
    before = ", before this call" if ended.before and ended.before == total else before
    print(f"{', '.join(words) or 'nothing to do'}{before} ({seconds:.1f} s)", file=app.out)
    if total:
        published = count(ended.rows, "row")
        rest = f"{ended.quarantined:,} quarantined, {count(ended.skipped, 'record')} skipped as declared"
        print(f"{published} published, {rest}", file=app.out)
    if ended.failed_earlier:
        print(f"{ended.failed_earlier:,} failed earlier and have not been run again since", file=app.out)
    for failure in ended.failures:
        reason = f"{cell(failure['error_code'])}: {_cut(cell(failure['error_message']))}"
        print(f"  {failure['id'][:8]} {cell(failure['input'])}: {reason}", file=app.out)
    if (more := ended.failed - len(ended.failures)) > 0:
        print(f"  … {more:,} more: `casparian jobs --status failed` and `casparian jobs --dead-letter`", file=app.out)
    if ended.failed:
        app.say("`casparian job show ID` explains one; `casparian errors list` groups them by cause")
        app.say("`casparian job rerun --failed` runs the failed files again, with the parsers' current versions")
    if ended.quarantined:
        app.say("`casparian quarantine summary` shows what was wrong with the rows")


def _cut(text: str) -> str:
    return text if len(text) <= _MESSAGE_CHARACTERS else f"{text[: _MESSAGE_CHARACTERS - 1].rstrip()}…"


def _stay(left: int) -> str:
    return f"{count(left, 'job')} {'stays' if left == 1 else 'stay'}"


COMMANDS: dict[str, click.Command] = {"process": process}
