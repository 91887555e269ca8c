"""Requests are refused under the codes that the reference explains, each provoked on a home that has lived."""

from __future__ import annotations

from typing import Any

import pytest

from casparian_protocol.errors import CasparianError, ErrorCode, code_of
from casparian_protocol.home import Home
from casparian_sentinel.local import LocalSentinel
from tests.cli.calls import Caller

NOBODY = "0" * 16
#: code, operation, arguments; `{good}` and `{failed}` are jobs.
REFUSED: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("ENDED", "cancel", {"job_id": "{good}"}),
    ("UNKNOWN_JOB", "cancel", {"job_id": NOBODY}),
    ("BAD_ARGUMENTS", "cancel", {"jobid": "{good}"}),
    ("NOT_FAILED", "close", {"job_id": "{good}", "reason": "known"}),
    ("BAD_ARGUMENTS", "close", {"reason": "known"}),
    ("WRONG_STATE", "retry", {"job_id": "{good}"}),
    ("BAD_ARGUMENTS", "replay", {"all_dead": True, "job_id": "{failed}"}),
    ("BAD_PATH", "add_source", {"name": "inbox", "path": "inbox"}),
    ("NOT_FOUND", "remove_source", {"source": "inbox"}),
    ("NOT_FOUND", "remove_rule", {"rule": "by-client"}),
    ("BAD_RULE", "add_rule", {"rule": {"tag": "advice"}}),
    ("BAD_POLICY", "set_policy", {"parser": "advice", "policy": {"max_pct": "much"}}),
    ("BAD_POLICY", "set_policy", {"parser": "advice", "policy": {"max_share": 1}}),
    ("DECIDED", "decide_contract", {"selector": "advice", "approve": False}),
    ("NOT_FOUND", "pause", {"parser": "advise"}),
    ("NO_SCAN", "end_scan", {"scan_id": NOBODY, "complete": True}),
    ("INVALID_PARAMETER", "set_parameters", {"parser": "advice", "values": {"tz": "UTC"}}),
    ("NO_DAEMON", "stop", {}),
    ("UNKNOWN_OPERATION", "frobnicate", {}),
)


def refusal(sentinel: LocalSentinel, op: str, args: dict[str, Any]) -> str:
    with pytest.raises(CasparianError) as refused:
        sentinel.request(op, args, "user:test@cli")
    return code_of(refused.value)


def test_requests_are_refused_under_the_codes_that_the_reference_explains(lived: Caller) -> None:
    jobs = {job["status"]: job["id"] for job in lived("jobs", "--json").document}
    names = {"{good}": jobs["COMPLETED"], "{failed}": jobs["FAILED"]}
    with LocalSentinel(Home(lived.home)) as sentinel:
        for code, op, args in REFUSED:
            named = {name: names.get(value, value) if isinstance(value, str) else value for name, value in args.items()}
            assert (refusal(sentinel, op, named), op, args) == (code, op, args)

        sentinel.request("add_source", {"name": "inbox", "path": "/inbox"}, "user:test@cli")
        assert refusal(sentinel, "add_source", {"name": "inbox", "path": "/other"}) == "NAME_TAKEN"
        on_change = {"options": {"on_change": "append"}}
        assert refusal(sentinel, "add_source", {"name": "x", "path": "/inbox", **on_change}) == "OTHER_OPTIONS"
        sentinel.request("retry", {"job_id": jobs["FAILED"]}, "user:test@cli")
        assert refusal(sentinel, "retry", {"job_id": jobs["FAILED"]}) == "OPEN"
        sentinel.request("cancel", {"job_id": jobs["FAILED"]}, "user:test@cli")
        sentinel.request("rerun", {"job_id": jobs["COMPLETED"]}, "user:test@cli")
        assert refusal(sentinel, "rerun", {"job_id": jobs["COMPLETED"]}) == "ALREADY_QUEUED"
        sentinel.request("retire", {"parser": "advice", "version": "1.0.0"}, "user:test@cli")
        assert refusal(sentinel, "retry", {"job_id": jobs["FAILED"]}) == "NOT_RUNNABLE"
        use = {"parser": "advice", "version": "1.0.0", "reason": "back"}
        assert refusal(sentinel, "use_version", use) == "RETIRED"


def test_an_error_without_a_code_is_called_by_its_class() -> None:
    class NotAHome(CasparianError):
        pass

    full = CasparianError("no space")
    full.code = ErrorCode.DISK_FULL
    assert [code_of(NotAHome("")), code_of(CasparianError("")), code_of(full)] == [
        "NOT_A_HOME",
        "CASPARIAN_ERROR",
        "DISK_FULL",
    ]


def test_a_code_is_explained_on_the_terminal(lived: Caller) -> None:
    told = lived("errors", "explain", "timeout", "--json").document
    assert (told["code"], told["retried"], told["counts_against_parser"]) == ("TIMEOUT", "yes", "yes")
    assert "limits.wall_seconds" in lived("errors", "explain", "TIMEOUT").out
    assert lived("errors", "explain", "not_unique", "--json").document["meaning"].startswith("An earlier row")
    assert {one["code"] for one in lived("errors", "explain", "--json").document} == set(ErrorCode)

    unknown = lived("errors", "explain", "TIMEOUTS")
    assert (unknown.code, "Did you mean TIMEOUT?" in unknown.err) == (2, True)
