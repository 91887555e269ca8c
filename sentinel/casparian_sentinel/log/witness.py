"""Witnesses of the log: whoever knows how far it once was, and what follows when the log says less.

A witness only ever saw what was durable. So a log that ends before one of them, or holds other events where it stood, is
not the log that was written: part of it is gone, or another lies in its place. Where witnesses are kept is known to those who
gather them; here they are held against the log. Nothing is changed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from casparian_protocol.errors import CasparianError
from casparian_sentinel.log.errors import LogCorrupt
from casparian_sentinel.log.format import Head, Position
from casparian_sentinel.log.reader import LogReader, segment_name
from casparian_sentinel.ports import Fs

_SHOWN_WITNESSES = 4
#: For a witness that knows an event, but not at which byte.
NOWHERE = Position(0, 0)


@dataclass(frozen=True, slots=True)
class Witness:
    """Somebody who saw the log reach a place."""

    #: As a person would name it: `the tables (state.duckdb)`.
    who: str
    #: None when it knows that there was more, but not where.
    head: Head | None
    #: None when it does not know.
    chain_id: bytes | None = None
    #: What a witness without a head has to say.
    knows: str = "knows of more"

    @property
    def said(self) -> str:
        if self.head is None:
            return f"{self.who} {self.knows}"
        return f"{self.who} knew event {self.head.seq:,}"


class LogShorter(CasparianError):
    """The log is missing, or ends before something that was seen of it."""

    def __init__(self, directory: Path, end: Head | None, witnesses: Sequence[Witness]) -> None:
        ends = "is missing" if end is None else f"ends with event {end.seq:,} ({_place(end.position)})"
        longer = any(w.head is None or end is None or w.head.seq > end.seq for w in witnesses)
        told = _told(witnesses) if longer else f"a segment is missing behind it that {witnesses[0].who} knew"
        super().__init__(f"The event log in {directory} {ends}, but {told}.", remedy=remedy(directory))
        self.end_seq = end.seq if end is not None else 0
        self.witnesses = tuple(witnesses)


class LogReplaced(CasparianError):
    """The log is not the one that was written in this home."""

    def __init__(self, directory: Path, end: Head, witnesses: Sequence[Witness]) -> None:
        super().__init__(
            f"The event log in {directory} (it ends with event {end.seq:,}) is not the one that was written here: "
            f"{_told(witnesses)}, and it was another.",
            remedy=remedy(directory),
        )
        self.end_seq = end.seq
        self.witnesses = tuple(witnesses)


def remedy(directory: Path) -> str:
    return (
        f"Nothing was changed. Put the missing files back into {directory} from the newest copy. If there is none: "
        "`casparian log repair --accept-loss` shows what is lost; with --yes it is given up, and what was processed after "
        "the log's end is processed again."
    )


def durable_upto(witnesses: Sequence[Witness]) -> Position | None:
    return max((witness.head.position for witness in witnesses if witness.head is not None), default=None)


def hold_against(
    fs: Fs, directory: Path, chain_id: bytes, end: Head, witnesses: Sequence[Witness]
) -> LogShorter | LogReplaced | None:
    """What is wrong with a whole log that ends at `end`; None when every witness is content."""
    others = [witness for witness in witnesses if witness.chain_id not in (None, chain_id)]
    if others:
        return LogReplaced(directory, end, others)
    beyond = [w for w in witnesses if w.head is None or w.head.seq > end.seq or w.head.position > end.position]
    if beyond:
        return LogShorter(directory, end, beyond)
    placed = [w for w in witnesses if w.head is not None and w.head.position != NOWHERE]
    strangers = [w for w in placed if w.head is not None and not _is_on_chain(fs, directory, w.head, end)]
    return LogReplaced(directory, end, strangers) if strangers else None


def _is_on_chain(fs: Fs, directory: Path, head: Head, end: Head) -> bool:
    """Whether what follows the place in the log continues the batch that the witness saw before it."""
    if head.position == end.position:
        return (head.seq, head.sha256) == (end.seq, end.sha256)
    with LogReader(fs, directory) as reader:
        try:
            return next(reader.batches(head, end.position), None) is not None or _begins_at(reader, head, end)
        except LogCorrupt:
            return False


def _begins_at(reader: LogReader, head: Head, end: Head) -> bool:
    """At the border of two segments nothing need follow: the new one has no batch yet."""
    begin = reader.segment_start(end.position.segment)
    return begin.position == end.position and (begin.seq, begin.sha256) == (head.seq, head.sha256)


def _told(witnesses: Sequence[Witness]) -> str:
    told = [witness.said for witness in sorted(witnesses, key=_weight, reverse=True)]
    shown = told[:_SHOWN_WITNESSES]
    if len(told) > len(shown):
        shown.append(f"{len(told) - len(shown)} more")
    return shown[0] if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]}"


def _weight(witness: Witness) -> int:
    return witness.head.seq if witness.head is not None else 0


def _place(position: Position) -> str:
    return f"offset {position.offset:,} of {segment_name(position.segment)}"
