"""Ids as people type them: unique prefixes of at least four digits; fingerprints of at least eight."""

from __future__ import annotations

import re

from casparian.exits import UsageProblem
from casparian.gateway import Gateway, Row
from casparian.nearest import hint

_PREFIX = re.compile(r"[0-9a-f]{4,16}\Z")
_FINGERPRINT = re.compile(r"(?:err-)?([0-9a-f]{8,16})\Z")


class UnknownJob(UsageProblem):
    """No job has this id."""


def is_job_id(text: str) -> bool:
    """Whether this can be a job's id or the beginning of one."""
    return bool(_PREFIX.match(text))


def find_job(gateway: Gateway, prefix: str, columns: str = "*") -> Row:
    """The one job whose id starts so. Raises `UsageProblem` for none or several."""
    if not is_job_id(prefix):
        raise UsageProblem(
            f"{prefix!r} is not a job id.", remedy="Give 4 to 16 hex digits; `casparian jobs` lists ids."
        )
    found = gateway.rows(
        f"select {columns} from cf_processing_queue where starts_with(id, ?) order by id limit 2",
        [prefix],
    )
    if not found:
        latest = gateway.rows("select id from cf_processing_queue order by queued_at desc limit 500")
        near = hint(prefix, [row["id"][: len(prefix)] for row in latest])
        raise UnknownJob(f"There is no job {prefix}.", remedy=f"{near}`casparian jobs` lists ids.")
    if len(found) > 1:
        raise UsageProblem(f"More than one job begins with {prefix}.", remedy="Give more digits.")
    return found[0]


def find_fingerprint(gateway: Gateway, text: str) -> str:
    """The one known fingerprint that starts so, `ERR-` or not. Raises `UsageProblem` for none or several."""
    match = _FINGERPRINT.match(text.lower())
    if match is None:
        raise UsageProblem(
            f"{text!r} is not a fingerprint.", remedy="Give 8 to 16 hex digits; `casparian errors list` lists them."
        )
    found = gateway.rows(
        "select distinct fingerprint from cf_error_occurrences where starts_with(fingerprint, ?) order by 1 limit 2",
        [match[1]],
    )
    if not found:
        raise UsageProblem(f"No failure has the fingerprint {text}.", remedy="`casparian errors list` lists them.")
    if len(found) > 1:
        raise UsageProblem(f"More than one fingerprint begins with {text}.", remedy="Give more digits.")
    return str(found[0]["fingerprint"])
