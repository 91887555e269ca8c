"""What reaches the console (`Message`) and what it wants done (`Effect`): frozen data, no behaviour.

Effects are performed by `terminal` and answered by messages. A `tag` says who asked, `(screen, what, detail…)`; the answer
carries it back.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

from casparian_protocol.feed import FeedEvent, Gap, Metric, Silence
from casparian_protocol.queries import Query
from casparian_protocol.wire.operations import Call, Result
from casparian_protocol.wire.operations.daemon import Snapshot

Tag = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunQuery:
    """A named query to the tables, as of at least the sequence that the screen shows. Answered by `Answer`."""

    tag: Tag
    query: Query[Any]


@dataclass(frozen=True, slots=True)
class RunOperation:
    """An operation of the protocol. Answered by `Done`; `cli` is the command line it stands for."""

    tag: Tag
    call: Call[Result]
    cli: str
    #: What the message line says when it is done; `{name}`s are taken from the result.
    said: str = ""
    #: The operation and arguments that take it back, where there is one, and their command line.
    undo: RunOperation | None = None

    @property
    def op(self) -> str:
        return self.call.operation.name


@dataclass(frozen=True, slots=True)
class RunCommand:
    """`casparian ARGS…` as a process of its own, for what only the command line can do. Answered by `Output`s, `Ended`.

    `--home` is added by whoever runs it. Output beyond `limit_bytes` is cut, and `Ended.is_cut` says so.
    """

    tag: Tag
    args: tuple[str, ...]
    limit_bytes: int = 16 * 1024 * 1024
    #: Whether it belongs into the command log: what a person asked for does, what a screen loads for itself does not.
    is_logged: bool = True

    @property
    def cli(self) -> str:
        """As a person would type it."""
        return shlex.join(["casparian", *self.args])


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Queries will be asked: have a process ready for the next one."""


@dataclass(frozen=True, slots=True)
class StopCommand:
    """Interrupt a running command, or a followed log, and drop what it still says."""

    tag: Tag


@dataclass(frozen=True, slots=True)
class FollowLog:
    """The log of a job from its end backwards `tail_bytes`, then what is appended. Answered by `Output`s until stopped."""

    tag: Tag
    job_id: str
    tail_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ListDirectory:
    """Names below a directory (for path completion and `parsers/`). Answered by `Listing`."""

    tag: Tag
    path: str


class CalledFunction(TypedDict):
    name: str
    #: A JSON document, as the model wrote it.
    arguments: str


class CalledTool(TypedDict):
    id: str
    type: Literal["function"]
    function: CalledFunction


class ChatMessage(TypedDict):
    """A message of a conversation, in the OpenAI-compatible form."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str
    tool_calls: NotRequired[list[CalledTool]]
    tool_call_id: NotRequired[str]


class OfferedFunction(TypedDict):
    name: str
    description: str
    #: A JSON Schema.
    parameters: dict[str, object]


class OfferedTool(TypedDict):
    """A tool that the model may call, in the OpenAI-compatible form."""

    type: Literal["function"]
    function: OfferedFunction


@dataclass(frozen=True, slots=True)
class Chat:
    """A turn of the assistant. Answered by `Output`s (text), `ToolCalls`, `Ended`."""

    tag: Tag
    messages: tuple[ChatMessage, ...]
    tools: tuple[OfferedTool, ...] = ()


@dataclass(frozen=True, slots=True)
class LoadPast:
    """The events of the log up to its end, for time travel. Answered by `PastEvents`, then `Ended`."""

    tag: Tag
    from_seq: int = 1


@dataclass(frozen=True, slots=True)
class Copy:
    """To the terminal's clipboard (OSC 52)."""

    text: str


@dataclass(frozen=True, slots=True)
class OpenFolder:
    path: str


@dataclass(frozen=True, slots=True)
class Watch:
    """Say `Output` whenever the file's content changes, until stopped."""

    tag: Tag
    path: str


@dataclass(frozen=True, slots=True)
class Suspend:
    """Give the terminal back to the shell that started the console, until it is brought back (`fg`)."""


@dataclass(frozen=True, slots=True)
class Quit:
    pass


Effect = (
    RunQuery
    | RunOperation
    | RunCommand
    | WarmUp
    | StopCommand
    | FollowLog
    | ListDirectory
    | Chat
    | LoadPast
    | Copy
    | OpenFolder
    | Watch
    | Suspend
    | Quit
)
Effects = list[Effect]


@dataclass(frozen=True, slots=True)
class Key:
    """One key: `a`, `A`, ` `, `enter`, `esc`, `tab`, `s-tab`, `up`, `pgdn`, `home`, `backspace`, `ctrl-p`, `alt-h`, `f5`…"""

    name: str


@dataclass(frozen=True, slots=True)
class Paste:
    """Text that was pasted: data, never keys."""

    text: str


@dataclass(frozen=True, slots=True)
class Click:
    """A click on a cell of the frame; `clicks` is 2 for a double click."""

    row: int
    column: int
    clicks: int = 1


@dataclass(frozen=True, slots=True)
class Scroll:
    """The wheel over a cell; `lines` is negative upwards."""

    row: int
    column: int
    lines: int


@dataclass(frozen=True, slots=True)
class Heard:
    """One item of the feed."""

    item: Snapshot | FeedEvent | Metric | Gap | Silence


@dataclass(frozen=True, slots=True)
class Gone:
    """The sentinel cannot be asked; the terminal keeps trying."""

    problem: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """Rows of a `RunQuery`, as of event `seq`: of the `TypedDict` that its query names."""

    tag: Tag
    seq: int
    rows: list[Any]


@dataclass(frozen=True, slots=True)
class Done:
    """A `RunOperation` was carried out; `op` names the operation."""

    tag: Tag
    op: str
    result: Result


@dataclass(frozen=True, slots=True)
class Failed:
    """An effect could not be carried out; two sentences for the message line."""

    tag: Tag
    problem: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """Text that a command wrote to stdout, or that a followed log gained: whole lines, but for chat."""

    tag: Tag
    text: str
    #: Of a followed log, with its first text: so many older lines are not read.
    lines_before: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """A command ended with `code`; `stderr` is its talk."""

    tag: Tag
    code: int
    stderr: str = ""
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Listing:
    """Entries of a directory: (name, is_directory, is_broken_link, size_bytes, modified_us)."""

    tag: Tag
    path: str
    entries: tuple[tuple[str, bool, bool, int, int], ...]


@dataclass(frozen=True, slots=True)
class ToolCalls:
    """The assistant wants these called: (id, name, arguments as JSON text)."""

    tag: Tag
    calls: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class PastEvents:
    """A stretch of the log."""

    tag: Tag
    events: tuple[FeedEvent, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """Once a second, and before every other message: the time now, µs UTC."""

    now_us: int


#: What answers an effect, to whoever its tag names.
Tagged = Answer | Done | Failed | Output | Ended | Listing | ToolCalls | PastEvents
Message = Key | Paste | Click | Scroll | Heard | Gone | Tick | Tagged
