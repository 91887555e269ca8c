"""Names typed by users: parsers, tags, outputs and others; shortened ids of jobs and causes; the ids of all open jobs; and
suggestions for mistyped names.

An unknown name is refused with the same message everywhere, which suggests the most similar known name.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator
from typing import Literal

from casparian_app.gateway import Gateway
from casparian_app.texts import UsageProblem
from casparian_protocol.jobs import JobState
from casparian_protocol.queries.jobs import (
    FilesWithJobs,
    JobGroups,
    JobRow,
    JobsInQueue,
    JobsWithPrefix,
    RecentJobIds,
)
from casparian_protocol.queries.outputs import FingerprintsWithPrefix
from casparian_protocol.queries.registry import KnownNames
from casparian_protocol.wire.operations.jobs import JOBS_PER_REQUEST
from casparian_shim.safe import is_utf8, scrub

Kind = Literal["parser", "source", "rule", "output", "tag", "contract", "error code", "violation"]

#: How similar two names must be: one letter in four may differ.
_LIKENESS = 0.6
_JOB_ID_DIGITS = 16
#: Files of one name that a refusal lists.
_FILES_NAMED = 4
#: The size of a page of ids.
_PAGE_IDS = 5 * JOBS_PER_REQUEST
_GLOB_CHARACTERS = re.compile(r"[*?\[\\]")
_JOB_ID = re.compile(r"[0-9a-f]{4,16}\Z")
_FINGERPRINT = re.compile(r"(?:err-)?([0-9a-f]{8,16})\Z")

#: Kind → the command that lists the known names.
_LISTINGS: dict[Kind, str] = {
    "parser": "casparian parser list",
    "source": "casparian source list",
    "rule": "casparian rule list",
    "output": "casparian outputs list",
    "tag": "casparian files",
    "contract": "casparian contract list",
    "error code": "casparian errors explain",
    "violation": "casparian quarantine summary",
}


class UnknownName(UsageProblem):
    """The name is unknown; the message suggests the most similar known one."""

    def __init__(self, kind: str, name: str, known: Iterable[str], listing: str) -> None:
        """`listing` is the command that lists the known names, such as `casparian parser list`."""
        shown = scrub(name) if len(name) <= 80 else f"{scrub(name[:80])}…"
        where = f"`{listing}` lists them."
        if kind == "tag":
            where = f"`{listing}` shows the tags of files, `casparian parser list` those that parsers take."
        super().__init__(f"There is no {kind} {shown}.", remedy=hint(name, known) + where)


class UnknownJob(UsageProblem):
    """No job has this id."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most similar to this one, ignoring case; None when none is similar."""
    by_folded: dict[str, str] = {}
    for one in known:
        by_folded.setdefault(one.casefold(), one)
    found = difflib.get_close_matches(name[:100].casefold(), by_folded, n=1, cutoff=_LIKENESS)
    return by_folded[found[0]] if found else None


def hint(name: str, known: Iterable[str]) -> str:
    """`Did you mean fix? `, or nothing."""
    near = nearest(name, known)
    return f"Did you mean {near}? " if near is not None else ""


def known(gateway: Gateway, kind: Kind) -> list[str]:
    """Every name of this kind, sorted."""
    if kind == "error code":
        from casparian_shim.errors import ErrorCode

        return sorted(code.value for code in ErrorCode)
    if kind == "violation":
        from casparian_protocol.contract import ViolationCode

        return sorted(code.value for code in ViolationCode)
    return sorted(row["name"] for row in gateway.query(KnownNames(kind)))


def unknown(gateway: Gateway, kind: Kind, name: str) -> UnknownName:
    """The refusal, with a suggestion if there is one."""
    return UnknownName(kind, name, known(gateway, kind), _LISTINGS[kind])


def need(gateway: Gateway, kind: Kind, name: str | None) -> None:
    """Refuse an unknown name; None is always accepted. Ids of sources and rules may be shortened to four digits."""
    if name is None:
        return
    names = known(gateway, kind)
    is_id = kind in ("source", "rule") and len(name) >= 4
    if name not in names and not (is_id and any(one.startswith(name) for one in names)):
        raise unknown(gateway, kind, name)


def is_job_id(text: str) -> bool:
    """Whether this can be a job's id or a prefix of one."""
    return bool(_JOB_ID.match(text))


def is_whole_job_id(text: str) -> bool:
    """Whether this is a job's id with all its digits."""
    return is_job_id(text) and len(text) == _JOB_ID_DIGITS


def find_job(gateway: Gateway, prefix: str) -> JobRow:
    """The one job with this id prefix. Raises `UsageProblem` for none or several."""
    if not is_job_id(prefix):
        raise UsageProblem(
            f"{prefix!r} is not a valid job id.",
            remedy="Give 4 to 16 hex digits; `casparian jobs` lists ids, `casparian jobs --file PATTERN` those of files.",
        )
    found = gateway.query(JobsWithPrefix(prefix))
    if not found:
        near = hint(prefix, [row["id"][: len(prefix)] for row in gateway.query(RecentJobIds())])
        raise UnknownJob(f"There is no job {prefix}.", remedy=f"{near}`casparian jobs` lists ids.")
    if len(found) > 1:
        raise UsageProblem(f"More than one job begins with {prefix}.", remedy="Give more digits.")
    return found[0]


def find_job_or_file(gateway: Gateway, named: str) -> tuple[JobRow, int]:
    """The one job with this id prefix, or the newest job of the file with this path or the end of one; and of how many.

    Raises `UsageProblem` for none, or when several files are named so.
    """
    if is_job_id(named) and (found := gateway.query(JobsWithPrefix(named))):
        return (found[0], 1) if len(found) == 1 else (find_job(gateway, named), 1)
    path = as_indexed(os.path.abspath(named))
    ending = path if os.path.isabs(named) else f"/{as_indexed(os.path.normpath(named))}"
    files = gateway.query(FilesWithJobs(path, ending, _FILES_NAMED + 1))
    if not files:
        if is_job_id(named):
            find_job(gateway, named)  # says which id was perhaps meant
        raise UnknownJob(
            f"{named[:200]!r} is neither a job's id nor a file with a job.",
            remedy="`casparian jobs` lists jobs, `casparian files` files, `casparian process --dry-run` why one has no job.",
        )
    if len(files) > 1 and files[0]["path"] != path:
        paths = ", ".join(scrub(each["path"]) for each in files[:_FILES_NAMED])
        raise UsageProblem(
            f"Several files end with {named[:200]!r}: {paths}{', …' if len(files) > _FILES_NAMED else ''}.",
            remedy="Give more of the path, or a job's id; `casparian jobs --file PATTERN` lists the jobs of files.",
        )
    return find_job(gateway, files[0]["job_id"]), files[0]["jobs"]


def as_indexed(name: str) -> str:
    """A file's name from the command line as the file index writes it, where bytes that are not UTF-8 are `\\xNN`.

    Text with such an escape that names no file here was copied from a list, and stays as it is.
    """
    from casparian_worker import path_text

    return path_text(name) if os.path.lexists(name) or not is_utf8(name) else name


def as_pattern(pattern: str) -> str:
    """Like `as_indexed`, for a part of a path or a glob; in a glob a backslash escapes what follows it."""
    if not is_glob(pattern):
        return as_indexed(pattern)
    return "".join(one if is_utf8(one) else as_indexed(one).replace("\\", "\\\\") for one in pattern)


def exact_pattern(path: str) -> str:
    """The glob that matches this absolute path of the file index, whatever characters it has."""
    return "*" + _GLOB_CHARACTERS.sub(r"[\g<0>]", path)


def is_glob(pattern: str) -> bool:
    """Whether `jobs --file` takes this as a glob."""
    return any(character in pattern for character in "*?[")


def find_fingerprint(gateway: Gateway, text: str) -> str:
    """The one known fingerprint with this prefix, with or without `ERR-`. Raises `UsageProblem` for none or several."""
    match = _FINGERPRINT.match(text.lower())
    if match is None:
        raise UsageProblem(
            f"{text!r} is not a valid fingerprint.",
            remedy="Give 8 to 16 hex digits; `casparian errors list` lists them.",
        )
    found = gateway.query(FingerprintsWithPrefix(match[1]))
    if not found:
        raise UsageProblem(f"No failure has the fingerprint {text}.", remedy="`casparian errors list` lists them.")
    if len(found) > 1:
        raise UsageProblem(f"More than one fingerprint begins with {text}.", remedy="Give more digits.")
    return found[0]["fingerprint"]


# --- all open jobs ---


def count_open_jobs(gateway: Gateway, states: frozenset[JobState], parser: str | None) -> int:
    """The number of jobs in these states, of one parser or of all."""
    need(gateway, "parser", parser)
    groups = gateway.query(JobGroups())
    return sum(each["jobs"] for each in groups if each["status"] in states and parser in (None, each["parser"]))


def open_job_ids(
    gateway: Gateway, states: frozenset[JobState], parser: str | None, until_seq: int
) -> Iterator[list[str]]:
    """The ids of these jobs in the order of the queue, as many at a time as fit into a request. Jobs that are queued after event
    `until_seq` are left out."""
    values, after_seq = tuple(sorted(state.value for state in states)), 0
    while True:
        page = JobsInQueue(values, parser=parser or "", after_seq=after_seq, until_seq=until_seq, limit=_PAGE_IDS)
        rows = gateway.query(page)
        for start in range(0, len(rows), JOBS_PER_REQUEST):
            yield [row["id"] for row in rows[start : start + JOBS_PER_REQUEST]]
        if len(rows) < _PAGE_IDS:
            return
        after_seq = rows[-1]["queued_seq"] or 0
