"""`casparian` commands as separate processes: their output as it is written, and the log's events for time travel."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from casparian_console.messages import Ended, Failed, LoadPast, Message, Output, PastEvents, RunCommand, Tag
from casparian_protocol.feed import FeedEvent

_PIECE_BYTES = 64 * 1024
_STDERR_LIMIT_BYTES = 64 * 1024
#: One process for the rows of a table and one for its column profiles, so that neither waits for Python to start.
_SPARES = 2
#: How long an interrupted command may take to end; after that it is killed.
_GRACE_SECONDS = 5.0


@dataclass(eq=False)
class _Running:
    task: asyncio.Task[None] | None = None
    process: asyncio.subprocess.Process | None = None
    is_stopped: bool = False


class Commands:
    """The running commands. `prefix` is the command line before the arguments of a `RunCommand`."""

    def __init__(self, prefix: Sequence[str], on_answer: Callable[[Message], None]) -> None:
        self._prefix = tuple(prefix)
        self._on_answer = on_answer
        self._running: dict[Tag, _Running] = {}
        self._ending: set[asyncio.Task[None]] = set()
        #: The processes being started, each by its own task.
        self._starting: set[asyncio.Task[asyncio.subprocess.Process]] = set()
        #: Processes of `casparian sql --warm`, loaded and waiting for a query on stdin; the oldest first.
        self._spares: list[asyncio.subprocess.Process] = []
        self._warming: asyncio.Task[None] | None = None
        self._is_closed = False

    @property
    def running(self) -> int:
        return len(self._running)

    def run(self, effect: RunCommand) -> None:
        self.stop(effect.tag)
        running = _Running()
        running.task = asyncio.get_running_loop().create_task(self._run(effect, running))
        self._running[effect.tag] = running

    def stop(self, tag: Tag) -> None:
        running = self._running.pop(tag, None)
        if running is None:
            return
        running.is_stopped = True
        if running.process is not None:
            self._end(running.process)

    async def close(self) -> None:
        """Interrupt all commands and wait until they have ended."""
        self._is_closed = True
        for tag in list(self._running):
            self.stop(tag)
        await self.warmed()
        if self._starting:  # their commands were stopped before they had processes to interrupt
            await asyncio.wait(self._starting)
        for spare in self._spares:
            self._end(spare)
        if self._ending:
            await asyncio.wait(self._ending, timeout=_GRACE_SECONDS + 2)

    # --- processes in reserve -----------------------------------------------------------------------------------------

    def warm_up(self) -> None:
        """Keep `_SPARES` processes ready; they are started one after the other."""
        if self._warming is None and not self._is_closed:
            self._warming = asyncio.get_running_loop().create_task(self._warm())

    async def warmed(self) -> None:
        """Wait until the spares being started are ready."""
        if self._warming is not None:
            await asyncio.wait([self._warming])

    async def _warm(self) -> None:
        self._spares = [spare for spare in self._spares if spare.returncode is None]
        with contextlib.suppress(OSError):  # the next query starts its own process and reports the error
            while len(self._spares) < _SPARES and not self._is_closed:
                args = ("sql", "--format", "arrays", "--warm", "-")
                self._spares.append(await self._start(args, asyncio.subprocess.PIPE))
        self._warming = None

    def _from_spare(self, effect: RunCommand) -> asyncio.subprocess.Process | None:
        """A spare given this query, if a spare can answer it: a query of the present, with rows as arrays."""
        order = _query_of(effect.args)
        while order is not None and self._spares:
            spare = self._spares.pop(0)
            if spare.returncode is None and spare.stdin is not None:
                spare.stdin.write(json.dumps(order).encode() + b"\n")
                spare.stdin.close()
                return spare
        return None

    async def _start(self, args: Sequence[str], stdin: int) -> asyncio.subprocess.Process:
        starting = asyncio.get_running_loop().create_task(self._process(args, stdin))
        self._starting.add(starting)
        starting.add_done_callback(self._starting.discard)
        return await starting

    async def _process(self, args: Sequence[str], stdin: int) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *self._prefix,
            *args,
            stdin=stdin,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "160"},
        )

    # --- one command --------------------------------------------------------------------------------------------------

    async def _run(self, effect: RunCommand, running: _Running) -> None:
        tag = effect.tag
        if running.is_stopped:
            return
        try:
            spare = self._from_spare(effect)
            process = running.process = spare or await self._start(effect.args, asyncio.subprocess.DEVNULL)
            if running.is_stopped:  # stopped while it was starting
                self._end(process)
            stderr, is_cut = await asyncio.gather(self._stderr(process), self._stdout(process, effect, running))
            code = await process.wait()
            self._send(running, Ended(tag, code, stderr, is_cut))
            if spare is not None:
                self.warm_up()
        except OSError as error:
            self._send(running, Failed(tag, f"The command did not start: {error.strerror or error}."))
        except Exception as error:  # noqa: BLE001 -- reported to the user: nothing else would show it
            self._send(running, Failed(tag, f"The command was lost: {type(error).__name__}: {error}."))
        finally:
            if self._running.get(tag) is running:
                del self._running[tag]

    async def _stdout(self, process: asyncio.subprocess.Process, effect: RunCommand, running: _Running) -> bool:
        """Pass on whole lines. True: the rest was left out."""
        assert process.stdout is not None
        pending: list[bytes] = []
        sent_bytes = 0
        is_cut = False
        while piece := await process.stdout.read(_PIECE_BYTES):
            if is_cut:
                continue  # keep reading, so that the command can end
            if sent_bytes + len(piece) > effect.limit_bytes:
                piece, is_cut = piece[: effect.limit_bytes - sent_bytes], True
            sent_bytes += len(piece)
            whole, newline, rest = piece.rpartition(b"\n")
            if not newline:
                pending.append(piece)
                continue
            self._send(running, Output(effect.tag, b"".join([*pending, whole, newline]).decode("utf-8", "replace")))
            pending = [rest] if rest else []
        if pending:
            self._send(running, Output(effect.tag, b"".join(pending).decode("utf-8", "replace")))
        return is_cut

    async def _stderr(self, process: asyncio.subprocess.Process) -> str:
        """The beginning of the command's stderr."""
        assert process.stderr is not None
        kept = b""
        while piece := await process.stderr.read(_PIECE_BYTES):
            kept += piece[: _STDERR_LIMIT_BYTES - len(kept)]
        return kept.decode("utf-8", "replace")

    def _send(self, running: _Running, message: Message) -> None:
        if not running.is_stopped:
            self._on_answer(message)

    # --- ending -------------------------------------------------------------------------------------------------------

    def _end(self, process: asyncio.subprocess.Process) -> None:
        task = asyncio.get_running_loop().create_task(_ended(process))
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)


def _query_of(args: Sequence[str]) -> dict[str, str | int] | None:
    """The request that makes a spare do the same as this command line; None if a spare cannot."""
    match args:
        case ("sql", "--format", "arrays", "--limit", limit, "--", sql):
            return {"sql": sql, "limit": int(limit)}
    return None


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Interrupt the process; kill it if it does not end."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        if process.returncode is not None:
            return
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            await asyncio.wait_for(process.wait(), _GRACE_SECONDS if number == signal.SIGINT else 1.0)
        except TimeoutError:
            continue


#: The events passed on at once; folding them must not delay keys.
STRETCH_EVENTS = 1000
_STDERR_LIMIT_CHARACTERS = 4096


@dataclass(eq=False)
class _Reading:
    process: subprocess.Popen[bytes] | None = None
    is_stopped: bool = False


class Past:
    """Reads the log's events. `prefix` is the command line before the command."""

    def __init__(self, prefix: Sequence[str], on_answer: Callable[[Message], None]) -> None:
        self._prefix = tuple(prefix)
        self._on_answer = on_answer
        self._loop = asyncio.get_running_loop()
        self._reading: dict[Tag, _Reading] = {}

    @property
    def running(self) -> int:
        return len(self._reading)

    def load(self, effect: LoadPast) -> None:
        self.stop(effect.tag)
        reading = self._reading[effect.tag] = _Reading()
        threading.Thread(target=self._work, args=(effect, reading), name="console-past", daemon=True).start()

    def stop(self, tag: Tag) -> None:
        if (reading := self._reading.pop(tag, None)) is not None:
            reading.is_stopped = True
            if reading.process is not None:
                with contextlib.suppress(ProcessLookupError):
                    reading.process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        for tag in list(self._reading):
            self.stop(tag)

    # --- on the thread ------------------------------------------------------------------------------------------------

    def _work(self, effect: LoadPast, reading: _Reading) -> None:
        try:
            last = self._read(effect, reading)
        except (OSError, ValueError, KeyError, TypeError) as error:
            last = Failed(effect.tag, f"The log could not be read: {type(error).__name__}: {error}.", _REMEDY)
        self._send(effect.tag, reading, last, is_last=True)

    def _read(self, effect: LoadPast, reading: _Reading) -> Message:
        arguments = [*self._prefix, "log", "export", "-", "--from", str(effect.from_seq)]
        stretch: list[FeedEvent] = []
        with subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        ) as process:
            reading.process = process
            assert process.stdout is not None
            assert process.stderr is not None
            for line in process.stdout:
                if reading.is_stopped:
                    process.terminate()
                    break
                stretch.append(_event(json.loads(line)))
                if len(stretch) == STRETCH_EVENTS:
                    self._send(effect.tag, reading, PastEvents(effect.tag, tuple(stretch)))
                    stretch = []
            stderr = process.stderr.read().decode("utf-8", "replace")[:_STDERR_LIMIT_CHARACTERS]
        if stretch:
            self._send(effect.tag, reading, PastEvents(effect.tag, tuple(stretch)))
        return Ended(effect.tag, process.returncode, stderr)

    def _send(self, tag: Tag, reading: _Reading, message: Message, *, is_last: bool = False) -> None:
        with contextlib.suppress(RuntimeError):  # the loop ended before this thread
            self._loop.call_soon_threadsafe(self._deliver, tag, reading, message, is_last)

    # --- on the loop --------------------------------------------------------------------------------------------------

    def _deliver(self, tag: Tag, reading: _Reading, message: Message, is_last: bool) -> None:
        if reading.is_stopped:
            return
        if is_last and self._reading.get(tag) is reading:
            del self._reading[tag]
        self._on_answer(message)


_REMEDY = "`casparian log verify` checks the log."


def _event(line: dict[str, object]) -> FeedEvent:
    return FeedEvent(line["seq"], line["ts"], line["type"], line["v"], line["actor"], line["data"])  # type: ignore[arg-type]
