"""`process`: queue what is pending, run until the queue is empty, say how it went.

With a daemon its workers do it; without one a daemon is started for as long as the command lives. The first Ctrl-C lets
running jobs finish, the second stops at once; either way nothing is lost.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

import rich_click as click

from casparian.app import App, Command, pass_app
from casparian.exits import ExitCode, UsageProblem, WorkFailed
from casparian.gateway import Gateway, NoHome, open_gateway
from casparian.render import as_json, cell, count
from casparian_console.run_view import RunView
from casparian_protocol.client import Client, NoSentinel
from casparian_protocol.feed import Snapshot

_SUMMARY = """
select status, count(*) as jobs, coalesce(sum(rows_valid), 0)::bigint as rows,
    coalesce(sum(quarantine_rows), 0)::bigint as quarantined, coalesce(sum(rows_skipped), 0)::bigint as skipped
from cf_processing_queue
where sequence > ? and status in ('COMPLETED', 'PARTIAL_SUCCESS', 'FAILED', 'DEAD_LETTER', 'CANCELLED') group by status
"""
_FAILURES_SHOWN = 10
_FAILURES = f"""
select input_file, error_code, error_message, error_fingerprint from cf_processing_queue
where sequence > ? and status in ('FAILED', 'DEAD_LETTER') order by input_file limit {_FAILURES_SHOWN}
"""


class NoWorkerStaysAlive(WorkFailed):
    """All local workers were given up; what is queued stays queued."""

    def __init__(self, reason: str, left: int, daemon_log: str) -> None:
        super().__init__(
            f"No worker stays alive ({reason[:300]}); {count(left, 'job')} stay queued.",
            remedy=f"Their last words are in {daemon_log}; `casparian doctor` looks at the machine.",
        )


class _Interrupts:
    """How often Ctrl-C was pressed; the caller looks between two items of the feed."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, _number: int, _frame: FrameType | None) -> None:
        self.count += 1


@click.command(
    cls=Command,
    examples="""casparian process
casparian process --parser fix_parser --workers 2 --json""",
)
@click.option("--parser", metavar="NAME", help="Only files that this parser wants.")
@click.option("--tag", help="Only files with this tag.")
@click.option("--path", type=click.Path(), help="Only files below this path.")
@click.option("--limit", type=click.IntRange(1), help="At most so many files.")
@click.option("--include-cancelled", is_flag=True, help="Also files whose jobs were cancelled; they stay so otherwise.")
@click.option(
    "--workers", type=click.IntRange(1, 256), help="Worker processes to start (default: the setting, or cores)."
)
@pass_app
def process(
    app: App,
    parser: str | None,
    tag: str | None,
    path: str | None,
    limit: int | None,
    include_cancelled: bool,
    workers: int | None,
) -> ExitCode:
    """Queue what is pending and run until the queue is empty."""
    import os

    if not app.home.log.is_dir():
        raise NoHome(app.home)
    selection = {"parser": parser, "tag": tag, "path": os.path.abspath(path) if path else None, "limit": limit}
    selection["include_cancelled"] = include_cancelled or None
    interrupts = _Interrupts()
    with _on_interrupt(interrupts):
        with _daemon(app, workers) as child, open_gateway(app) as gateway:
            began_at, began_seq = time.monotonic(), int(gateway.request("ping")["seq"])
            if parser is not None and not gateway.rows("select 1 from cf_parsers where name = ? limit 1", [parser]):
                raise UsageProblem(
                    f"There is no parser {parser}.", remedy="`casparian parser list` shows which there are."
                )
            queued = gateway.request("queue", **selection)
            _say_queued(app, queued)
            with Client.connect(app.home) as client:
                view = _follow(app, client, interrupts, child)
                if _awaits_scan(queued) and not interrupts.count:
                    # The run just ended digested files that were only known by name; now they can be told apart.
                    queued = gateway.request("queue", **selection)
                    _say_queued(app, queued)
                    view = _follow(app, client, interrupts, child)
            ended = None
            if not interrupts.count:
                gateway.request("ping")  # what is counted now is no older than what was seen
                ended = _ended_jobs(gateway, began_seq)
        if ended is None:  # the daemon was asked to end: count when it has
            with open_gateway(app) as gateway:
                ended = _ended_jobs(gateway, began_seq)
    summary, failures = ended
    summary["seconds"] = round(time.monotonic() - began_at, 3)
    return _verdict(app, summary, failures, queued, view, len(view.open), interrupts.count)


@contextmanager
def _on_interrupt(interrupts: _Interrupts) -> Iterator[None]:
    before = signal.signal(signal.SIGINT, interrupts)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


@contextmanager
def _daemon(app: App, workers: int | None) -> Iterator[subprocess.Popen[bytes] | None]:
    """The running daemon (None), or one of our own that ends with us."""
    from casparian.spawning import spawn_daemon

    try:
        Client.connect(app.home).close()
    except NoSentinel:
        pass
    else:
        if workers is not None:
            raise UsageProblem(
                "A daemon runs already, with its own workers.", remedy="Leave --workers out, or `casparian stop` first."
            )
        yield None
        return
    app.say("starting the daemon and its workers for this run")
    options = ["--with-parent", "--no-planning", *(["--workers", str(workers)] if workers else [])]
    child = spawn_daemon(app.home, options)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.terminate()
        child.wait()


def _awaits_scan(queued: dict[str, Any]) -> bool:
    return any(one.get("code") == "NOT_HASHED" for one in queued["skipped"])


def _say_queued(app: App, queued: dict[str, Any]) -> None:
    if app.is_json:
        return
    known = f", {queued['already']:,} known from before" if queued["already"] else ""
    app.say(f"{count(queued['queued'], 'new file')} queued{known}")
    for one in queued["skipped"]:
        app.say(f"not queued: {count(one['files'], 'file')} for {cell(one['parser'])}: {cell(one['reason'])}")


def _follow(app: App, client: Client, interrupts: _Interrupts, child: subprocess.Popen[bytes] | None) -> RunView:
    """Watch until nothing can run any more; pass Ctrl-C on: drain first, then stop."""
    view = RunView(started=time.monotonic())
    passed_on = 0
    with _screen(app, view) as redraw, client.follow() as feed:
        for item in feed:
            if isinstance(item, Snapshot):  # asked for now: what was paused before it is told by no event
                _learn_what_waits(app, client, view)
            before = view.intake
            view.apply(item)
            if view.intake and view.intake != before:
                app.say(f"no new work is taken: {cell(view.intake)}; what runs may finish, the rest waits")
            redraw()
            if interrupts.count > passed_on:
                passed_on = interrupts.count
                view.note = _pass_on(client, child, passed_on)
            if (
                view.hopeless
                or view.is_idle
                or (passed_on and not view.running)
                or (child is not None and child.poll() is not None)
            ):
                break
    return view


def _learn_what_waits(app: App, client: Client, view: RunView) -> None:
    """What will not move by itself."""
    status = client.request("status")
    view.paused = {(one["name"], one["version"]) for one in status["parsers"]["paused"]}
    view.intake = "" if status["intake"] == "open" else status["intake"]
    waiting = sum(status["queue"][name] for name in ("queued", "running", "retrying"))
    if waiting and not app.is_json:
        app.say(f"{count(waiting, 'job')} to run")


def _pass_on(client: Client, child: subprocess.Popen[bytes] | None, times: int) -> str:
    """What Ctrl-C asks for, and the words for it."""
    if child is None:
        raise KeyboardInterrupt  # the daemon is not ours to stop; its jobs go on
    if times == 1:
        client.request("drain")
        return "finishing what runs; Ctrl-C again stops at once"
    client.request("stop", {"now": True})
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


def _ended_jobs(gateway: Gateway, began_seq: int) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What ended since `began_seq`, as the projection counts it (exact, whatever the feed missed), and what failed."""
    by_status = {row["status"]: row for row in gateway.rows(_SUMMARY, [began_seq])}
    names = {
        "completed": "COMPLETED",
        "partial_success": "PARTIAL_SUCCESS",
        "failed": "FAILED",
        "dead_letter": "DEAD_LETTER",
        "cancelled": "CANCELLED",
    }
    jobs = {name: by_status.get(status, {}).get("jobs", 0) for name, status in names.items()}
    sums = {name: sum(row[name] for row in by_status.values()) for name in ("rows", "quarantined", "skipped")}
    return {"jobs": jobs, **sums}, gateway.rows(_FAILURES, [began_seq])


def _verdict(
    app: App,
    summary: dict[str, Any],
    failures: list[dict[str, Any]],
    queued: dict[str, Any],
    view: RunView,
    left: int,
    interrupts: int,
) -> ExitCode:
    jobs = summary["jobs"]
    if app.is_json:
        as_json(app, {**summary, "queued": queued["queued"], "not_queued": queued["skipped"], "left": left})
    else:
        words = [f"{number:,} {name.replace('_', ' ')}" for name, number in jobs.items() if number]
        print(f"{', '.join(words) or 'nothing to do'} in {summary['seconds']:.1f} s", file=app.out)
        if sum(jobs.values()):
            published = count(summary["rows"], "row")
            rest = f"{summary['quarantined']:,} quarantined, {summary['skipped']:,} records skipped as declared"
            print(f"{published} published, {rest}", file=app.out)
        for failure in failures:
            print(
                f"  {cell(failure['input_file'])}: {cell(failure['error_code'])}: {cell(failure['error_message'])[:200]}",
                file=app.out,
            )
        if (more := jobs["failed"] + jobs["dead_letter"] - len(failures)) > 0:
            print(
                f"  … {more:,} more: `casparian jobs --status failed` and `casparian jobs --dead-letter`", file=app.out
            )
        if summary["quarantined"]:
            app.say("`casparian quarantine summary` says what was wrong")
    if left and view.hopeless and not interrupts:
        raise NoWorkerStaysAlive(view.hopeless, left, str(app.home.daemon_log))
    if left and not interrupts:
        paused = ", ".join(sorted({name for name, _version in view.paused}))
        app.say(f"{count(left, 'job')} left: the parser is paused ({paused})")
        app.say("`casparian parser health` says why; `casparian parser resume` lets them run")
    if interrupts:
        if left:
            app.say(f"interrupted: {count(left, 'job')} stay queued; `casparian process` goes on")
        return ExitCode.INTERRUPTED
    return ExitCode.FAILED if jobs["failed"] or jobs["dead_letter"] else ExitCode.OK


COMMANDS: dict[str, click.Command] = {"process": process}
