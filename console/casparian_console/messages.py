"""What reaches the console (`Message`) and what it wants done (`Effect`): frozen data without behaviour.

`terminal` performs effects and answers them with messages. A `tag` `(screen, what, detail…)` names the caller; the answer
carries it back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NotRequired, TypedDict

from casparian_protocol.feed import FeedEvent, Gap, Metric, Silence
from casparian_protocol.queries import Query
from casparian_protocol.wire.operations import Call, Result
from casparian_protocol.wire.operations.daemon import Snapshot
from casparian_protocol.wording import command_line

Tag = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RunQuery:
    """A named query, as of at least a sequence; None: that of the screen. Answered by `Answer`."""

    tag: Tag
    query: Query[Any]
    at_least_seq: int | None = None


@dataclass(frozen=True, slots=True)
class RunOperation:
    """An operation of the protocol. Answered by `Done`; `cli` is the command line it stands for."""

    tag: Tag
    call: Call[Result]
    cli: str
    #: The text of the message line when the operation is done; `{name}` is replaced from the result.
    done_text: str = ""
    #: The operation and arguments that undo this one, if there is one, and their command line.
    undo: RunOperation | None = None

    @property
    def op(self) -> str:
        return self.call.operation.name


@dataclass(frozen=True, slots=True)
class RunCommand:
    """Run `casparian ARGS…` as a process, for what only the command line can do. Answered by `Output`s, then `Ended`.

    The performer adds `--home`. Output beyond `limit_bytes` is cut, and `Ended.is_cut` says so.
    """

    tag: Tag
    args: tuple[str, ...]
    limit_bytes: int = 16 * 1024 * 1024
    #: Whether it appears in the command log: what a user asked for does, what a screen loads by itself does not.
    is_logged: bool = True

    @property
    def cli(self) -> str:
        """The command line as a user would type it."""
        return command_line(*self.args)


@dataclass(frozen=True, slots=True)
class WarmUp:
    """Start a process in advance for the next query."""


@dataclass(frozen=True, slots=True)
class StopCommand:
    """Interrupt a running command or a followed log, and drop its remaining output."""

    tag: Tag


@dataclass(frozen=True, slots=True)
class FollowLog:
    """The last `tail_bytes` of a job's log, then what is appended. Answered by `Output`s until stopped."""

    tag: Tag
    job_id: str
    tail_bytes: int = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ListDirectory:
    """The entries of a directory (for path completion and `parsers/`). Answered by `Listing`."""

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
    """All events of the log, for time travel. Answered by `PastEvents`, then `Ended`."""

    tag: Tag
    from_seq: int = 1


@dataclass(frozen=True, slots=True)
class Copy:
    """Copy text to the terminal's clipboard (OSC 52)."""

    text: str


@dataclass(frozen=True, slots=True)
class OpenFolder:
    path: str


@dataclass(frozen=True, slots=True)
class Watch:
    """Send an `Output` whenever the file's content changes, until stopped."""

    tag: Tag
    path: str


@dataclass(frozen=True, slots=True)
class Suspend:
    """Give the terminal back to the shell that started the console, until `fg`."""


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
    """The wheel was turned over a cell; a negative `lines` scrolls up."""

    row: int
    column: int
    lines: int


@dataclass(frozen=True, slots=True)
class Heard:
    """One item of the feed."""

    item: Snapshot | FeedEvent | Metric | Gap | Silence


@dataclass(frozen=True, slots=True)
class Gone:
    """The daemon cannot be reached; the terminal keeps trying."""

    problem: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """The rows of a `RunQuery` as of event `seq`, each of the `TypedDict` that the query names."""

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
    """Text that a command wrote to stdout, or that was appended to a followed log: whole lines, except for chat."""

    tag: Tag
    text: str
    #: For the first text of a followed log: the number of older lines that are not read.
    lines_before: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """A command ended with `code`; `stderr` holds its messages."""

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
    """The tools that the assistant wants to call: (id, name, arguments as JSON text)."""

    tag: Tag
    calls: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True)
class PastEvents:
    """A stretch of the log."""

    tag: Tag
    events: tuple[FeedEvent, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """The current time, µs UTC; sent once a second and before every other message."""

    now_us: int


#: The messages that answer an effect; the tag names the recipient.
Tagged = Answer | Done | Failed | Output | Ended | Listing | ToolCalls | PastEvents
Message = Key | Paste | Click | Scroll | Heard | Gone | Tick | Tagged
