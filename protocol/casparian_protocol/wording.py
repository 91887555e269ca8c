"""Sentences and names shared by the front ends and the daemon's refusals.

The module has the names of a job's columns in documents, the times that users type, why a version of a parser waits and the
remedy, which files will not run, and the troubles of a running daemon. The facts come from events, tables and the operation
`status`.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeVar

from casparian_shim.safe import scrub

if TYPE_CHECKING:
    from casparian_protocol.wire.operations.daemon import InternalErrors, ParkedCommit, StatusResult

V = TypeVar("V")

# --- commands to paste ------------------------------------------------------------------------------------------------


def command_line(*words: str) -> str:
    """The command `casparian` with these arguments, to paste into a shell.

    The arguments may be names that strangers chose. What a terminal might obey or hide is written as `$'…'` with octal escapes.
    """
    return " ".join(["casparian", *map(shell_word, words)])


def shell_word(word: str) -> str:
    """One argument of a command to paste."""
    if scrub(word) == word:
        return shlex.quote(word)
    return f"$'{''.join(map(_spelled, word))}'"


def _spelled(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if scrub(character) == character:
        return character
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "surrogateescape"))


# --- names in documents -----------------------------------------------------------------------------------------------


#: Column of `cf_processing_queue` → its name in documents.
JOB_WORDS = {
    "job_type": "type",
    "plugin_name": "parser",
    "parser_version": "version",
    "input_file": "input",
    "file_version_id": "file_id",
    "claim_time": "leased_at",
    "end_time": "ended_at",
    "rows_valid": "rows",
    "rows_received": "received",
    "rows_skipped": "skipped",
    "quarantine_rows": "quarantined",
    "error_fingerprint": "fingerprint",
    "artifact_hash": "artifact",
    "job_key": "key",
}
_JOB_COLUMNS = {word: column for column, word in JOB_WORDS.items()}


def in_words(row: Mapping[str, V]) -> dict[str, V]:
    """A row of `cf_processing_queue` with the names that documents use."""
    return {JOB_WORDS.get(name, name): value for name, value in row.items()}


def in_columns(document: Mapping[str, V]) -> dict[str, V]:
    """The opposite of `in_words`."""
    return {_JOB_COLUMNS.get(name, name): value for name, value in document.items()}


# --- violations -------------------------------------------------------------------------------------------------------


#: The value of `contract.ViolationCode.PARSER_REJECTED`, repeated here to avoid importing that package.
_PARSER_REJECTED = "parser_rejected"


def say_violated(code: str, column: str | None) -> str:
    """The violation and its column: `type_mismatch in price`. A row that the parser itself rejected has no column."""
    words = "rejected by the parser" if code == _PARSER_REJECTED else code
    return f"{words} in {column}" if column else words


def say_violation(code: str, column: str | None, got: object, expected: str | None) -> str:
    """The violation with its values: `type_mismatch in price: got 'x', expected int64`. A parser's reason is a sentence."""
    sentence = say_violated(code, column)
    if code == _PARSER_REJECTED:
        return f"{sentence}: {got}" if got else sentence
    given = f": got {got!r}" if got is not None else ""
    return f"{sentence}{given}" + (f", expected {expected}" if expected else "")


# --- versions that wait -----------------------------------------------------------------------------------------------


#: A version waits because jobs of another version are open; it becomes current if they end without rows.
JOBS_OPEN = "JOBS_OPEN"
#: A version waits because existing rows do not satisfy its contract.
CONTRACT = "CONTRACT"
#: A version waited before contracts were compared; its contracts are checked when it is chosen.
NOT_COMPARED = "NOT_COMPARED"
_SHOWN = 3


def why_waits(problems: Sequence[Mapping[str, object]], left_out: int = 0) -> str:
    """The first reasons in words: `orders.price: its type was string and is int64; …`."""
    sentences = [f"{_place(problem)}{problem['what']}" for problem in problems[:_SHOWN]]
    more = len(problems) - len(sentences) + left_out
    return "; ".join(sentences) + (f"; {more} more" if more else "")


def _place(problem: Mapping[str, object]) -> str:
    place = ".".join(str(part) for part in (problem["output"], problem["column"]) if part)
    return f"{place}: " if place else ""


def what_to_do(
    parser: str, version: str, problems: Sequence[Mapping[str, object]], *, may_be_chosen: bool, like: str = ""
) -> str:
    """The remedy for a version that waits, as commands. `like`: a version with the contract of the live rows."""
    if problems and all(problem["code"] == JOBS_OPEN for problem in problems):
        return "It becomes current by itself when the open jobs have ended, unless they publish rows."
    use = f"`casparian parser use {parser}@{version} --reason TEXT` makes it current"
    if any(problem["code"] == NOT_COMPARED for problem in problems):
        return f"{use}, if its contracts match the existing rows."
    if may_be_chosen:
        return f"{use}: its contracts are stricter, so new rows fit; existing rows stay as they are."
    outputs = sorted({str(problem["output"]) for problem in problems if problem["output"]})
    named = f"the output {outputs[0]} has" if len(outputs) == 1 else f"the outputs {', '.join(outputs)} have"
    contract = f"the contract of {parser}@{like}" if like else "the contract of the existing rows"
    return f"Register another version in which {named} a new name, or {contract}; looser checks are allowed."


# --- files that will not run ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class RegisteredVersion:
    """A registered version of a parser: `contracts` maps each output to `approved`, `proposed`, `rejected` or "" (none)."""

    name: str
    version: str
    topics: frozenset[str]
    contracts: Mapping[str, str]
    is_retired: bool = False

    @property
    def obstacle(self) -> str:
        """Why it cannot run; empty if it can."""
        if self.is_retired:
            return "is retired"
        if not self.contracts:
            return "declares no outputs"
        for state, words in (
            ("rejected", "was rejected"),
            ("proposed", "is not approved yet"),
            ("", "does not exist"),
        ):
            outputs = sorted(output for output, found in self.contracts.items() if found == state)
            if outputs:
                return f"cannot run: the contract of {', '.join(outputs)} {words}"
        return ""


@dataclass(frozen=True, slots=True)
class WaitingFiles:
    """How many files with this tag wait; `parser` would take them, empty if none would."""

    tag: str
    files: int
    parser: str
    reason: str


def waiting_files(counts: Mapping[str, int], registered: Iterable[RegisteredVersion]) -> list[WaitingFiles]:
    """The entries of `counts` (tag → files without a job) that no version of a parser may take, in the order of the tags.

    `registered` is in the order of registration.
    """
    versions = list(registered)
    topics = {topic for each in versions if not each.is_retired for topic in each.topics}
    found = []
    for tag, files in sorted(counts.items()):
        takers = [each for each in versions if tag in each.topics and not each.is_retired]
        if not files or any(not each.obstacle for each in takers):
            continue
        if takers:
            newest = takers[-1]
            found.append(WaitingFiles(tag, files, newest.name, f"{newest.name} {newest.version} {newest.obstacle}"))
        else:
            near = get_close_matches(tag, topics, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            found.append(WaitingFiles(tag, files, "", f"no parser takes the tag {tag}{hint}"))
    return found


# --- a daemon in trouble ----------------------------------------------------------------------------------------------


#: How many waiting commits are named; the rest are counted.
_PARKED_NAMED = 5


def say_parked(parked: Sequence[ParkedCommit]) -> list[str]:
    """Sentences about commits whose files cannot be put in place."""
    sentences = [
        f"job {one.job_id} is committed, but its files cannot be put in place: "
        f"{one.path + ': ' if one.path else ''}{one.reason} (tried {one.tries} times; it is tried again)"
        for one in parked[:_PARKED_NAMED]
    ]
    if len(parked) > _PARKED_NAMED:
        sentences.append(f"and {len(parked) - _PARKED_NAMED} more jobs like that")
    return sentences


def say_poison(count: int) -> list[str]:
    """A sentence about events that could not be applied to the tables."""
    if not count:
        return []
    what = "1 event is" if count == 1 else f"{count:,} events are"
    return [f'{what} left out of the tables: `casparian sql "from cf_poison_events"` says which and why']


def say_internal(errors: InternalErrors) -> list[str]:
    """A sentence about internal errors."""
    if not errors.count:
        return []
    what = "1 internal error" if errors.count == 1 else f"{errors.count:,} internal errors"
    return [f"{what} since the start, the last in {errors.last}; logs/daemon.log has the tracebacks"]


def say_trouble(status: StatusResult, poison_events: int) -> list[str]:
    """All sentences about trouble; `poison_events` comes from the tables, which need no daemon."""
    return [*say_parked(status.parked), *say_poison(poison_events), *say_internal(status.internal_errors)]


# --- moments for `--as-of` and the console's time travel --------------------------------------------------------------

_SEQUENCE = re.compile(r"@?([0-9][0-9,]{0,25})\Z")
_AGO = re.compile(r"-\s*((?:[0-9]+(?:\.[0-9]+)?\s*[smhd]\s*)+)(?:ago)?\Z", re.IGNORECASE)
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([smhd])", re.IGNORECASE)
_CLOCK = re.compile(r"([0-9]{1,2}):([0-9]{2})(?::([0-9]{2}))?Z?\Z", re.IGNORECASE)
_FRACTION = re.compile(r"[.,][0-9]")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
MOMENT_HINT = "4711, 14:05, 2026-03-05T14:05 (UTC), -15m (before now)"


class NotAMoment(ValueError):
    """The text is neither an event's number nor a time; the message shows valid forms."""

    def __init__(self, text: str) -> None:
        super().__init__(f"{text[:40]!r} is not a valid event number or time; write {MOMENT_HINT}")


@dataclass(frozen=True, slots=True)
class Moment:
    """The sequence of an event, or else a time in µs UTC."""

    seq: int | None = None
    at_us: int | None = None


def read_moment(text: str, now_us: int, day_us: int) -> Moment:
    """Read a moment. A time of day is on the (UTC) day of `day_us`. Raises `NotAMoment`.

    A time without a fraction includes its whole second, because lists show times to the second.
    """
    stripped = text.strip()
    if found := _SEQUENCE.match(stripped):
        return Moment(seq=int(found[1].replace(",", "")))
    try:
        if found := _AGO.match(stripped):
            seconds = sum(float(number) * _SECONDS[unit.lower()] for number, unit in _PART.findall(found[1]))
            return Moment(at_us=max(0, now_us - round(seconds * 1_000_000)))
        if found := _CLOCK.match(stripped):
            hour, minute, second = int(found[1]), int(found[2]), int(found[3] or 0)
            day = datetime.fromtimestamp(day_us / 1_000_000, UTC)
            moment = day.replace(hour=hour, minute=minute, second=second, microsecond=0)
        else:
            moment = datetime.fromisoformat(stripped)
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        if not _FRACTION.search(stripped):
            moment = moment.replace(microsecond=999_999)
        return Moment(at_us=round(moment.timestamp() * 1_000_000))
    except (ValueError, OverflowError, OSError) as cause:
        raise NotAMoment(stripped) from cause


def last_event_at(stamps: Iterable[tuple[int, int]], at_us: int) -> int:
    """Of events in order (sequence, time), the last one that is not newer than that time; 0 if all are newer.

    Clocks may be set back. Then the answer contains events with a later time, but always the event whose time was asked for.
    """
    return max((seq for seq, ts in stamps if ts <= at_us), default=0)
