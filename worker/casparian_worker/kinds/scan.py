"""SCAN: walk a directory in a separate process, and stage what has changed since the last scan.

The known files below the root are fetched first; the child (`discovery.child`) scans, reports its progress, and may be ended at
any moment.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

import pyarrow as pa

from casparian_protocol.errors import CasparianError, ErrorCode
from casparian_protocol.home import Home
from casparian_protocol.jobs import CHANGES, Manifest, StagedFile
from casparian_protocol.jobs.kinds import ScanBriefing, ScanWork
from casparian_shim.frames import Progress
from casparian_worker.discovery.child import ScanDone, ScanLine, ScanOrder
from casparian_worker.execute.failures import of_exception
from casparian_worker.execute.files import held_scratch
from casparian_worker.execute.run import Failed, Finished, JobRun, Outcome
from casparian_worker.execute.stream import TICK_SECONDS
from casparian_worker.guest import children
from casparian_worker.staging import StagingDirectory

_PAGE_ROWS = 100_000
_COPY_BYTES = 1 << 20


class ScanFailed(CasparianError):
    """The child reported why it could not scan, or died without a report."""

    def __init__(self, problem: str, remedy: str, code: ErrorCode) -> None:
        super().__init__(problem, remedy=remedy)
        self.code = code


def known_files(home: Home, root: str, at_least_seq: int, into: Path) -> bool:
    """Write the file index below `root`, as of that position, to an Arrow file; returns False if it is empty."""
    from casparian_protocol.client import Client  # imports every operation and query: most workers never scan
    from casparian_protocol.queries.files import KnownFiles

    last, last_id, writer, is_gone = "", "", None, False
    with ExitStack() as opened:
        client = opened.enter_context(Client(home, actor="worker"))
        while True:
            query = KnownFiles(root, is_gone, last, last_id, _PAGE_ROWS)
            page = pa.ipc.open_stream(client.ask_arrow(query, at_least_seq=at_least_seq)).read_all()
            if page.num_rows:
                writer = writer or opened.enter_context(pa.ipc.new_file(str(into), page.schema))
                writer.write_table(page)
                last, last_id = (page[column][page.num_rows - 1].as_py() for column in ("path", "id"))
            if page.num_rows < _PAGE_ROWS:
                if is_gone:
                    break
                last, last_id, is_gone = "", "", True
    return writer is not None


class ScanProcess:
    """The running child."""

    def __init__(self, order: ScanOrder, on_line: Callable[[ScanLine], None]) -> None:
        started = children.start(
            lambda: subprocess.Popen(
                [sys.executable, "-m", "casparian_worker.discovery.child", str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        )
        assert started.stdin is not None and started.stdout is not None
        self._child, self._out = started.child, started.stdout
        self.pid = self._child.pid
        self._on_line = on_line
        with suppress(BrokenPipeError), started.stdin as stdin:  # a child that has ended is noticed by `final_message`
            stdin.write(json.dumps(order).encode())

    def stop(self) -> None:
        self._child.signal(signal.SIGKILL)

    def final_message(self, check: Callable[[], None]) -> ScanLine | None:
        """The final message; None if the child sent none. `check` is called between messages and may raise."""
        poll = select.poll()
        poll.register(self._out, select.POLLIN)
        rest = b""
        last: ScanLine | None = None
        while True:
            check()
            if not poll.poll(TICK_SECONDS * 1000):
                continue
            data = os.read(self._out.fileno(), 65536)
            if not data:
                return last
            *lines, rest = (rest + data).split(b"\n")
            if lines:
                line: ScanLine = json.loads(lines[-1])
                last = line
                self._on_line(line)

    def end(self) -> int:
        self.stop()
        status = self._child.reap().status
        self._out.close()
        return status


def run_scan(run: JobRun) -> Outcome:
    """Run one attempt. Raises `Stopped` if it was asked to stop."""
    began_s = time.monotonic()
    assignment, home = run.assignment, run.context.home
    job_id, epoch = assignment.job.job_id, assignment.epoch
    staging = StagingDirectory(home.staging, job_id, epoch)
    scratch = home.scratch / f"{job_id}-{epoch}"
    outcome: Outcome | None = None
    try:
        with held_scratch(scratch):
            found = _scan(run, scratch)
            files = _stage(scratch / CHANGES, found["rows"], staging)
        outcome = Finished(
            Manifest(files=files, facts={**found["done"]}, total_seconds=time.monotonic() - began_s), staging
        )
    except (CasparianError, OSError) as error:
        outcome = Failed(of_exception(error, "environment"))
    finally:
        if not isinstance(outcome, Finished):
            staging.remove()
    return outcome


def _scan(run: JobRun, scratch: Path) -> ScanDone:
    """Raises `ScanFailed` with the child's message, or because it died."""
    job = run.assignment.job
    work, briefing = job.work, run.assignment.briefing
    assert isinstance(work, ScanWork) and isinstance(briefing, ScanBriefing)
    previous = scratch / "previous.arrow"
    has_previous = known_files(run.context.home, work.root, run.assignment.epoch, previous)
    run.stop.check()

    def note(line: ScanLine) -> None:
        if "files" in line:
            run.counters.reported = Progress(done=line["files"], unit="files", metrics={"bytes": line["bytes"]})

    child = ScanProcess(
        {
            "root": work.root,
            "previous": str(previous) if has_previous else "",
            "changes": str(scratch / CHANGES),
            "rules": briefing.rules,
            "wanted_tags": briefing.wanted_tags,
            "options": work.options,
            "source_id": work.source_id or None,
            "scan_id": job.job_id,
        },
        note,
    )
    last: ScanLine | None = None
    try:
        run.stop.attach(child)
        run.on_started(child.pid)
        last = child.final_message(run.stop.check)
        run.stop.check()
    finally:
        run.stop.detach()
        status = child.end()
    if last is not None and "failed" in last:
        raise ScanFailed(last["failed"], last["remedy"], ErrorCode(last["code"]))
    if last is None or "done" not in last:
        raise ScanFailed(f"The scan ended with status {status} without a result.", "", ErrorCode.CONNECTION_RESET)
    return last


def _stage(changes: Path, rows: int, staging: StagingDirectory) -> list[StagedFile]:
    if not rows:
        return []
    sink = staging.create(CHANGES)
    with changes.open("rb") as file:
        while piece := file.read(_COPY_BYTES):
            sink.write(piece)
    sink.close()
    return [StagedFile(name=CHANGES, kind="changes", rows=rows, bytes=sink.tell(), digest=sink.digest)]
