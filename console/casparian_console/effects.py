"""What the console wants done: named here, performed by `terminal`, answered by `messages`.

A `tag` says who asked: `(screen, what, detail…)`; the answer carries it back. Frozen data, no behaviour.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import Any

from casparian_protocol.queries import Query

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
    op: str
    args: dict[str, Any]
    cli: str
    #: What the message line says when it is done; `{name}`s are taken from the result.
    said: str = ""
    #: The operation and arguments that take it back, where there is one, and their command line.
    undo: RunOperation | None = None


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


@dataclass(frozen=True, slots=True)
class Chat:
    """A turn of the assistant: messages in the OpenAI-compatible form. Answered by `Output`s (text), `ToolCalls`, `Ended`."""

    tag: Tag
    messages: tuple[dict[str, Any], ...]
    tools: tuple[dict[str, Any], ...] = ()


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
