"""What reaches the console: keys, clicks, the feed, answers to its effects, the passing of time. Frozen data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from casparian_console.effects import Tag
from casparian_protocol.feed import FeedEvent, Gap, Metric, Silence, Snapshot


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
    """An `Ask` was carried out."""

    tag: Tag
    result: dict[str, Any]


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
