"""Whole events, as a sentinel records them: what a test does not name has a neutral value."""

from __future__ import annotations

from functools import cache
from typing import Any

from casparian_protocol.events import CATALOGUE, VERSIONS, decode
from casparian_protocol.feed import FeedEvent

_NOTHING: dict[str, Any] = {
    "epoch": 1, "worker_id": "w1", "attempt": 1, "guest_pid": 4242, "sandbox": "none", "is_loss": True,
    "rows": 0, "quarantined": 0, "skipped": 0, "seconds": 0.0, "versions": {}, "part_names": 2, "status": "COMPLETED",
    "damaged": [], "error": {"code": "INTERNAL"}, "retry_count": 1, "not_before": 0, "delay_seconds": 1.0,
    "from_state": "FAILED", "reason": "",
    "parser_id": "", "artifact": "", "sha256": "", "source_hash": "", "lock_hash": "", "topics": [], "outputs": {},
    "params": {}, "entry": "parser.py", "kind": "function", "signed_by": "", "signature": "", "findings": [],
    "previous": "", "by": "hand", "problems": [], "left_out": 0, "may_be_chosen": False, "like": "",
    "contract_id": "c" * 16, "scope_id": "", "contract_hash": "", "logic_hash": "", "columns": 1, "carried_from": "",
    "source_id": "s1", "poll_seconds": 0, "options": {}, "scan_id": "x", "roots": [], "blob": "", "new": 0, "changed": 0,
    "vanished": 0, "renamed": 0, "tagged": 0, "retagged": 0, "rehashed": 0, "complete": True, "files": 0, "bytes": 0,
    "unchanged": 0, "unreadable": 0, "tag": "fix", "is_removed": False, "tag_source": "manual",
    "pid": 1, "version": "1.0.0", "host": "here", "boot_id": "", "mode": "daemon", "slots": 1, "labels": {},
}  # fmt: skip


@cache
def _fields(kind: str) -> tuple[frozenset[str], dict[str, Any]]:
    """The fields of a type, and neutral values of those that must be there."""
    fields = CATALOGUE[kind].about.fields
    needed = {
        field.name: _NOTHING[field.name] for field in fields if not field.may_be_missing and field.name in _NOTHING
    }
    return frozenset(field.name for field in fields), needed


def whole(seq: int, at: int, kind: str, data: dict[str, Any], actor: str = "test") -> FeedEvent:
    """The event as it is on the feed. A field that the type does not have, or of another type, fails the test."""
    names, needed = _fields(kind)
    assert data.keys() <= names, f"{kind} has no {', '.join(data.keys() - names)}"
    told = decode(kind, VERSIONS[kind], needed | data).to_data()
    return FeedEvent(seq, at, kind, VERSIONS[kind], actor, told)
