"""Effects are performed, whatever goes wrong is said, and nothing runs on when it was stopped."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import uvloop

from casparian_console.messages import (
    Chat,
    Copy,
    Ended,
    Failed,
    FollowLog,
    ListDirectory,
    Listing,
    LoadPast,
    Message,
    OfferedFunction,
    OfferedTool,
    OpenFolder,
    Output,
    PastEvents,
    Quit,
    RunCommand,
    RunOperation,
    RunQuery,
    StopCommand,
    ToolCalls,
    WarmUp,
    Watch,
)
from casparian_console.terminal.chat import Assistant
from casparian_console.terminal.commands import STRETCH_EVENTS
from casparian_console.terminal.files import LINE_LIMIT_CHARACTERS
from casparian_console.terminal.performer import ConsoleContext, Performer
from casparian_protocol.home import Home, make_home
from casparian_protocol.queries.files import FileSums
from casparian_protocol.wire.operations.registry import PAUSE

TAG = ("jobs", "test")
Tell = Callable[["Stage"], Awaitable[None]]


class Stage:
    """A performer, what it answered, and a terminal that only remembers."""

    def __init__(self, home: Home, script: str, assistant: Assistant | None) -> None:
        self.answers: list[Message] = []
        self.written: list[str] = []
        self.has_quit = False
        self._news = asyncio.Event()
        command = (sys.executable, "-c", script)
        around = ConsoleContext(home, "user:test@console", command, assistant, environment={})
        self.performer = Performer(around, self, self._on_answer, lambda: 0)

    def write_raw(self, sequence: str) -> None:
        self.written.append(sequence)

    def suspend(self) -> None:
        self.written.append("suspended")

    def quit(self) -> None:
        self.has_quit = True

    def _on_answer(self, message: Message) -> None:
        self.answers.append(message)
        self._news.set()

    def text(self) -> str:
        return "".join(message.text for message in self.answers if isinstance(message, Output))

    async def until(self, is_so: Callable[[], object]) -> None:
        async with asyncio.timeout(15):
            while not is_so():
                self._news.clear()
                await self._news.wait()

    async def last(self, kind: type[Any]) -> Any:
        await self.until(lambda: self.answers and isinstance(self.answers[-1], kind))
        return self.answers[-1]


def on_stage(folder: Path, tell: Tell, *, script: str = "", assistant: Assistant | None = None) -> None:
    home = Home(folder / "h")
    make_home(home)

    async def story() -> None:
        stage = Stage(home, script, assistant)
        try:
            await tell(stage)
        finally:
            await stage.performer.close()

    uvloop.run(story())


# --- a process in reserve ---------------------------------------------------------------------------------------------

#: Says whether it was the spare, and what it was asked.
ASKED = """
import json, sys
if '--warm' in sys.argv:
    line = sys.stdin.readline()
    if not line: sys.exit()
    print('spare', json.dumps(json.loads(line), sort_keys=True))
else:
    print('fresh', json.dumps(sys.argv[1:]))
"""
QUERY = RunCommand(TAG, ("sql", "--format", "arrays", "--limit", "501", "--", "select 1"))


def test_a_query_is_answered_by_the_process_that_was_made_ready_and_the_next_one_too(tmp_path: Path) -> None:
    async def tell(stage: Stage) -> None:
        stage.performer.perform(WarmUp())
        for number in range(2):
            await stage.performer._commands.warmed()
            stage.answers.clear()
            stage.performer.perform(QUERY)
            assert (await stage.last(Ended)).code == 0
            assert stage.text() == 'spare {"limit": 501, "sql": "select 1"}\n', number

    on_stage(tmp_path, tell, script=ASKED)


def test_the_columns_in_numbers_that_follow_the_rows_at_once_wait_for_no_start_either(tmp_path: Path) -> None:
    async def tell(stage: Stage) -> None:
        stage.performer.perform(WarmUp())
        await stage.performer._commands.warmed()
        stage.performer.perform(QUERY)
        stage.performer.perform(RunCommand(("inspect", "profile"), QUERY.args))
        await stage.until(lambda: sum(isinstance(each, Ended) for each in stage.answers) == 2)
        assert [line.split()[0] for line in stage.text().splitlines()] == ["spare", "spare"]

    on_stage(tmp_path, tell, script=ASKED)


@pytest.mark.parametrize("args", [("sql", "--format", "csv", "--out", "x", "--", "select 1"),
                                  ("sql", "--format", "arrays", "--limit", "2", "--as-of", "7", "--", "select 1"),
                                  ("jobs", "--json")])  # fmt: skip
def test_other_commands_do_not_use_it_up(tmp_path: Path, args: tuple[str, ...]) -> None:
    async def tell(stage: Stage) -> None:
        stage.performer.perform(WarmUp())
        await stage.performer._commands.warmed()
        stage.performer.perform(RunCommand(TAG, args))
        await stage.last(Ended)
        assert stage.text().startswith("fresh")

    on_stage(tmp_path, tell, script=ASKED)


def test_without_one_a_query_starts_its_own_process(tmp_path: Path) -> None:
    async def tell(stage: Stage) -> None:
        stage.performer.perform(QUERY)
        await stage.last(Ended)
        assert stage.text() == "fresh " + json.dumps(list(QUERY.args)) + "\n"

    on_stage(tmp_path, tell, script=ASKED)


# --- commands ---------------------------------------------------------------------------------------------------------

TALKS = """
import sys
print('one'); print('two', flush=True); print('x' * int(sys.argv[1]), end='')
print('said', file=sys.stderr); sys.exit(3)
"""


def test_a_command_tells_its_lines_then_how_it_ended(tmp_path: Path) -> None:
    async def tell(stage: Stage) -> None:
        stage.performer.perform(RunCommand(TAG, ("1000000",)))
        assert await stage.last(Ended) == Ended(TAG, 3, "said\n", False)
        assert stage.text() == "one\ntwo\n" + "x" * 1_000_000

    on_stage(tmp_path, tell, script=TALKS)


def test_what_is_too_much_is_cut_and_the_command_still_ends(tmp_path: Path) -> None:
    async def tell(stage: Stage) -> None:
        stage.performer.perform(RunCommand(TAG, ("3000000",), limit_bytes=100_000))
        ended = await stage.last(Ended)
        assert (ended.code, ended.is_cut, len(stage.text())) == (3, True, 100_000)

    on_stage(tmp_path, tell, script=TALKS)


def test_a_stopped_command_ends_and_is_silent(tmp_path: Path) -> None:
    ended = tmp_path / "ended"
    script = f"""
import time
try:
    print('began', flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print('interrupted', flush=True); open({str(ended)!r}, 'w').close()
"""

    async def tell(stage: Stage) -> None:
        stage.performer.perform(RunCommand(TAG, ()))
        await stage.until(lambda: "began" in stage.text())
        stage.performer.perform(StopCommand(TAG))
        await stage.performer.close()
        assert ended.exists()
        assert stage.text() == "began\n"
        assert stage.performer.pending == 0

    on_stage(tmp_path, tell, script=script)


@pytest.mark.parametrize("turns_of_the_loop", [0, 1, 2])
def test_a_command_that_is_being_started_does_not_outlive_the_console(tmp_path: Path, turns_of_the_loop: int) -> None:
    mark = f"mark of {tmp_path}"

    async def tell(stage: Stage) -> None:
        stage.performer.perform(RunCommand(TAG, (mark,)))
        for _ in range(turns_of_the_loop):
            await asyncio.sleep(0)
        await stage.performer.close()
        assert [line for line in _command_lines() if mark.encode() in line] == []

    on_stage(tmp_path, tell, script="import time; time.sleep(60)")


def _command_lines() -> Iterator[bytes]:
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):  # it has ended
            yield file.read_bytes()


def test_a_newer_command_of_the_same_asker_takes_the_place_of_the_older(tmp_path: Path) -> None:
    script = "import sys, time; time.sleep(float(sys.argv[1])); print(sys.argv[1])"

    async def tell(stage: Stage) -> None:
        stage.performer.perform(RunCommand(TAG, ("60",)))
        stage.performer.perform(RunCommand(TAG, ("0",)))
        await stage.last(Ended)
        assert stage.text() == "0\n"

    on_stage(tmp_path, tell, script=script)


# --- files ------------------------------------------------------------------------------------------------------------


def test_a_log_is_followed_from_its_end_through_endless_lines(tmp_path: Path) -> None:
    async def tell(stage: Stage) -> None:
        folder = tmp_path / "h" / "logs" / "2026-03-05"
        folder.mkdir(parents=True)
        log = folder / "00aa.log"
        log.write_text("old\n" * 1000 + "last\n")
        stage.performer.perform(FollowLog(TAG, "00aa", tail_bytes=7))
        await stage.until(lambda: "last\n" in stage.text())
        assert stage.text() == "last\n"
        assert [each.lines_before for each in stage.answers if isinstance(each, Output)] == [1000]
        with log.open("a") as file:
            file.write("x" * 1_000_000 + "\nhalf")
            file.flush()
            await stage.until(lambda: "left out" in stage.text() or len(stage.text()) > LINE_LIMIT_CHARACTERS)
            file.write(" and half\n")
        await stage.until(lambda: "half and half\n" in stage.text())
        assert len(stage.text()) < LINE_LIMIT_CHARACTERS + 200

    on_stage(tmp_path, tell)


def test_a_job_without_a_log_is_said_and_its_log_appears_later(tmp_path: Path) -> None:
    async def tell(stage: Stage) -> None:
        stage.performer.perform(FollowLog(TAG, "00aa"))
        assert "no log yet" in (await stage.last(Failed)).problem
        folder = tmp_path / "h" / "logs" / "2026-03-05"
        folder.mkdir(parents=True)
        (folder / "00aa.log").write_text("there\n")
        assert (await stage.last(Output)).text == "there\n"

    on_stage(tmp_path, tell)


def test_a_directory_is_listed_with_broken_links_and_a_missing_one_is_said(tmp_path: Path) -> None:
    folder = tmp_path / "parsers"
    folder.mkdir()
    (folder / "b.py").write_text("12345")
    (folder / "sub").mkdir()
    os.symlink(tmp_path / "nowhere", folder / "a.py")

    async def tell(stage: Stage) -> None:
        stage.performer.perform(ListDirectory(TAG, str(folder)))
        listing = await stage.last(Listing)
        assert [(name, *rest[:2]) for name, *rest in listing.entries] == [
            ("sub", True, False),
            ("a.py", False, True),
            ("b.py", False, False),
        ]
        assert listing.entries[2][3] == 5
        stage.performer.perform(ListDirectory(TAG, str(tmp_path / "none")))
        assert "No such file" in (await stage.last(Failed)).problem

    on_stage(tmp_path, tell)


def test_a_watched_file_is_told_of_when_its_content_changes(tmp_path: Path) -> None:
    path = tmp_path / "p.py"
    path.write_text("one")

    async def tell(stage: Stage) -> None:
        stage.performer.perform(Watch(TAG, str(path)))
        await asyncio.sleep(0.1)
        os.utime(path)  # touched only
        await asyncio.sleep(0.4)
        assert stage.answers == []
        path.write_text("two")
        assert (await stage.last(Output)).text == str(path)

    on_stage(tmp_path, tell)


# --- the past, the sentinel, the terminal -----------------------------------------------------------------------------

LOG = """
import json, sys
for seq in range(int(sys.argv[-1]), 12001):
    print(json.dumps({"seq": seq, "ts": 1, "type": "X", "v": 1, "actor": "a", "data": {}}))
"""


def test_the_past_comes_in_stretches(tmp_path: Path) -> None:
    async def tell(stage: Stage) -> None:
        stage.performer.perform(LoadPast(TAG, from_seq=1001))
        assert (await stage.last(Ended)).code == 0
        stretches = [message.events for message in stage.answers if isinstance(message, PastEvents)]
        assert len(stretches) > 1
        assert all(0 < len(stretch) <= STRETCH_EVENTS for stretch in stretches)
        assert [event.seq for stretch in stretches for event in stretch] == list(range(1001, 12001))

    on_stage(tmp_path, tell, script=LOG)


def test_a_log_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    async def tell(stage: Stage) -> None:
        stage.performer.perform(LoadPast(TAG))
        assert "could not be read" in (await stage.last(Failed)).problem

    on_stage(tmp_path, tell, script="print('no JSON')")


def test_without_a_sentinel_questions_and_requests_are_refused_in_words(tmp_path: Path) -> None:
    async def tell(stage: Stage) -> None:
        stage.performer.perform(RunQuery(TAG, FileSums()))
        refused = await stage.last(Failed)
        assert "No daemon answers" in refused.problem
        assert "casparian start" in refused.remedy
        stage.performer.perform(RunOperation(("jobs", "ask"), PAUSE(parser="p"), "casparian parser pause p"))
        await stage.until(lambda: len(stage.answers) == 2)
        assert "No daemon answers" in stage.answers[1].problem  # type: ignore[union-attr]

    on_stage(tmp_path, tell)


def test_the_clipboard_gets_what_fits_and_the_rest_is_refused(tmp_path: Path) -> None:
    async def tell(stage: Stage) -> None:
        stage.performer.perform(Copy("a/path ü"))
        encoded = base64.b64encode("a/path ü".encode()).decode()
        assert stage.written == [f"\x1b]52;c;{encoded}\x07"]
        stage.performer.perform(Copy("x" * 100_000))
        assert "clipboard" in (await stage.last(Failed)).problem
        stage.performer.perform(OpenFolder("/data"))
        assert "/data" in stage.answers[-1].remedy  # type: ignore[union-attr]
        stage.performer.perform(Quit())
        assert stage.has_quit

    on_stage(tmp_path, tell)


# --- the assistant ----------------------------------------------------------------------------------------------------


class Model(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that says what the test wants."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[dict[str, Any]]] = []
    answer: ClassVar[tuple[int, str, list[bytes]]] = (200, "text/event-stream", [])
    goes_on = threading.Event()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        Model.asked.append({"path": self.path, **json.loads(body)})
        status, kind, pieces = Model.answer
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Connection", "close")
        self.end_headers()
        for piece in pieces:
            if piece == b"wait":
                Model.goes_on.wait(10)
                continue
            try:
                self.wfile.write(piece)
                self.wfile.flush()
            except OSError:
                return

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: tests look at what was asked."""


@contextmanager
def model(status: int, kind: str, *pieces: bytes) -> Iterator[Assistant]:
    Model.asked.clear()
    Model.goes_on.clear()
    Model.answer = (status, kind, list(pieces))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Model)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield Assistant(f"http://127.0.0.1:{server.server_port}/v1", "small")
    finally:
        Model.goes_on.set()
        server.shutdown()
        server.server_close()
        thread.join()


def delta(**values: Any) -> bytes:
    return b"data: " + json.dumps({"choices": [{"delta": values}]}).encode() + b"\n\n"


def test_an_answer_streams_and_asks_for_tools(tmp_path: Path) -> None:
    call = {"index": 0, "id": "c1", "function": {"name": "sql", "arguments": '{"sql": '}}
    rest = {"index": 0, "function": {"arguments": '"select 1"}'}}
    pieces = [delta(content="Hel"), delta(content="lo"), delta(tool_calls=[call]), delta(tool_calls=[rest])]

    async def tell(stage: Stage) -> None:
        function: OfferedFunction = {"name": "sql", "description": "Ask.", "parameters": {"type": "object"}}
        tools: tuple[OfferedTool, ...] = ({"type": "function", "function": function},)
        stage.performer.perform(Chat(TAG, ({"role": "user", "content": "hi"},), tools))
        await stage.last(Ended)
        assert stage.text() == "Hello"
        assert stage.answers[-2:] == [ToolCalls(TAG, (("c1", "sql", '{"sql": "select 1"}'),)), Ended(TAG, 0)]
        (asked,) = Model.asked
        assert (asked["path"], asked["model"], asked["stream"]) == ("/v1/chat/completions", "small", True)
        assert asked["messages"] == [{"role": "user", "content": "hi"}]

    with model(200, "text/event-stream", *pieces, b"data: [DONE]\n\n") as assistant:
        on_stage(tmp_path, tell, assistant=assistant)


def test_a_server_that_does_not_stream_is_understood(tmp_path: Path) -> None:
    document = json.dumps({"choices": [{"message": {"role": "assistant", "content": "whole"}}]}).encode()

    async def tell(stage: Stage) -> None:
        stage.performer.perform(Chat(TAG, ()))
        await stage.last(Ended)
        assert stage.text() == "whole"

    with model(200, "application/json", document) as assistant:
        on_stage(tmp_path, tell, assistant=assistant)


def test_a_server_that_refuses_breaks_or_is_not_there_is_said(tmp_path: Path) -> None:
    async def refused(stage: Stage) -> None:
        stage.performer.perform(Chat(TAG, ()))
        assert "404" in (await stage.last(Failed)).problem
        assert "no such model" in stage.answers[-1].problem  # type: ignore[union-attr]

    async def broken(stage: Stage) -> None:
        stage.performer.perform(Chat(TAG, ()))
        assert "cannot be read" in (await stage.last(Failed)).problem

    async def absent(stage: Stage) -> None:
        stage.performer.perform(Chat(TAG, ()))
        assert "does not answer" in (await stage.last(Failed)).problem

    with model(404, "application/json", b'{"error": {"message": "no such model"}}') as assistant:
        on_stage(tmp_path, refused, assistant=assistant)
    with model(200, "text/event-stream", b"data: {broken\n\n") as assistant:
        on_stage(tmp_path, broken, assistant=assistant)
    on_stage(tmp_path, absent, assistant=Assistant("http://127.0.0.1:9/v1"))


def test_a_stopped_answer_is_silent(tmp_path: Path) -> None:
    async def tell(stage: Stage) -> None:
        stage.performer.perform(Chat(TAG, ()))
        await stage.until(lambda: stage.text() == "one")
        stage.performer.perform(StopCommand(TAG))
        Model.goes_on.set()
        await asyncio.sleep(0.05)
        assert stage.text() == "one"
        assert stage.performer.pending == 0

    with model(200, "text/event-stream", delta(content="one"), b"wait", delta(content="two")) as assistant:
        on_stage(tmp_path, tell, assistant=assistant)
