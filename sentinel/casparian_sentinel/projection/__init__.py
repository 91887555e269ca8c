"""The projection: DuckDB tables computed from the log for queries and plans. They are disposable.

`schema.sql` defines the tables and `database` opens their file. `jobs` (with `job_rows`, and `kinds` for the differences between
kinds of jobs), `files`, `registry` and `liveness` (which rows are live) fold events. `tables` writes the rows of jobs, and
`store` writes everything that a batch changes, with its position in the log, in one transaction. `poison` describes events that
must be set aside. `queries` has every SELECT by name. `projector` is the process that owns all this while a sentinel runs, in the
rhythm of `pulse`; it reads questions with `answers` and runs them in `lanes`. `past` folds a log from its beginning, for
`--as-of` and for comparisons.
Nothing here makes decisions and dispatch does not depend on it, so the projector may be killed at any time.
"""

from __future__ import annotations

from typing import TypedDict

__all__ = ["LoopState", "Report", "Watermark"]


# --- messages between sentinel and projector on the control socket ---


class Watermark(TypedDict):
    """From the sentinel: the log is durable up to here. Only the latest counts."""

    #: Segment and offset.
    watermark: list[int]
    seq: int
    #: The identity with which the sentinel sends its own queries.
    asker: bytes


class LoopState(TypedDict):
    """The state of the projector's loop, in seconds."""

    #: Time since a long turn; 0 within one, None if there was none.
    busy_ago: float | None
    #: Time without CPU use in the current turn.
    idle: float


class Report(TypedDict, total=False):
    """From the projector: how far the tables are, the state of its loop, why it ends or cannot write."""

    applied: int
    poison: int
    #: For the first time everything durable is applied, up to event `seq`.
    ready: bool
    seq: int
    beat: LoopState
    error: str
