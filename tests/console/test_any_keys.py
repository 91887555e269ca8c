"""Whatever is pressed and whatever happens, the screen draws, and Esc leads home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import casparian_sentinel
from casparian_console.messages import (
    Answer,
    Chat,
    Click,
    Effect,
    Ended,
    Failed,
    FollowLog,
    Gone,
    Heard,
    ListDirectory,
    Listing,
    LoadPast,
    Output,
    Paste,
    PastEvents,
    Quit,
    RunCommand,
    RunOperation,
    RunQuery,
    Scroll,
    ToolCalls,
)
from casparian_protocol.feed import Gap, Silence
from casparian_sentinel.projection.answers import rows_of, table_of
from tests.console.driving import Driver, complete, fail, queued, run_job

HOSTILE = "evil\x1b[2J\u202egnp.\u200b界\n\x07"
# fmt: off
NAMED = [
    "enter", "esc", "tab", "s-tab", "up", "down", "left", "right", "pgup", "pgdn", "home", "end", "backspace", "delete", "ctrl-p",
    "ctrl-t", "ctrl-j", "ctrl-r", "ctrl-u", "ctrl-w", "ctrl-x", "ctrl-y", "ctrl-up", "ctrl-down", "ctrl-left", "ctrl-right",
    "alt-h", "alt-d", "alt-p", "alt-j", "alt-i", "alt-a", "alt-enter", "f5",
]
# fmt: on
KEYS = st.one_of(st.sampled_from(NAMED), st.characters(min_codepoint=33, max_codepoint=126), st.just(" "))
# fmt: off
HAPPENINGS = [
    "queue", "run", "complete", "partial", "fail", "dead", "cancel", "progress", "scan", "parser", "contract", "approve", "pause",
    "resume", "gap", "snapshot", "silence", "gone", "metrics", "tick", "answer", "refuse", "output",
]
# fmt: on
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("key"), KEYS),
        st.tuples(st.just("happens"), st.sampled_from(HAPPENINGS)),
        st.tuples(st.just("click"), st.tuples(st.integers(0, 30), st.integers(0, 130))),
        st.tuples(st.just("paste"), st.sampled_from(["text", HOSTILE])),
    ),
    max_size=40,
)


@pytest.fixture(scope="module")
def tables() -> Iterator[duckdb.DuckDBPyConnection]:
    """The projection's tables, empty: every query that a screen asks is held against the real schema."""
    schema = Path(casparian_sentinel.__file__).parent / "projection" / "schema.sql"
    with duckdb.connect() as db:
        db.execute(schema.read_text(encoding="utf-8"))
        yield db


#: What comes of an operation, beside its sequence.
_DONE: dict[str, dict[str, Any]] = {
    "retry": {"job_id": HOSTILE}, "cancel": {"job_id": HOSTILE}, "rerun": {"job_id": HOSTILE}, "replay": {"replayed": 1},
    "cancel_jobs": {"cancelled": 1, "requested": 1, "refused": [{"reason": HOSTILE, "jobs": 1}]},
    "retry_jobs": {"queued": 1, "refused": [{"reason": HOSTILE, "jobs": 1}]}, "rerun_jobs": {"queued": 1},
    "pause": {}, "resume": {}, "decide_contract": {"decided": []}, "tag": {"tag": HOSTILE, "files": 1},
    "rescan": {"source_id": "s1", "name": HOSTILE, "job_id": HOSTILE},
}  # fmt: skip


class Operator:
    """Somebody who presses anything, beside a sentinel that does anything."""

    def __init__(self, tables: duckdb.DuckDBPyConnection) -> None:
        self.tables = tables
        self.driver = Driver(has_assistant=True)
        self.driver.snapshot()
        self.jobs: list[str] = []
        self.asked: list[Effect] = []

    def step(self, kind: str, what: Any) -> None:
        driver = self.driver
        if kind == "key":
            self.asked += driver.press(what)
        elif kind == "paste":
            self.asked += driver.send(Paste(what))
        elif kind == "click":
            row, column = what
            self.asked += driver.send(Click(row, column, 1 + column % 2), Scroll(row, column, row - 10))
        else:
            getattr(self, f"_{what}")()

    def _new(self, **queue: Any) -> str:
        self.jobs.append(run_job(self.driver, len(self.jobs) + 1, **queue))
        return self.jobs[-1]

    def _queue(self) -> None:
        self.jobs.append(f"{len(self.jobs) + 1:016x}")
        self.driver.event("JobQueued", **queued(self.jobs[-1], path=f"/data/{HOSTILE}.log", parser="fix"))

    def _run(self) -> None:
        self._new(path="/data/" + "long" * 100)

    def _complete(self) -> None:
        complete(self.driver, self._new())

    def _partial(self) -> None:
        complete(self.driver, self._new(), bad=3)

    def _fail(self) -> None:
        fail(self.driver, self._new(), message=HOSTILE)

    def _dead(self) -> None:
        error = {"code": "TIMEOUT", "message": HOSTILE, "fingerprint": "b" * 16}
        made = self._new()
        self.driver.event("JobDeadLettered", job_id=made, epoch=1, reason="retries", error=error, retry_count=3)

    def _cancel(self) -> None:
        self.driver.event("JobCancelled", job_id=self._new(), reason=HOSTILE)

    def _progress(self) -> None:
        progress = {"items_done": 5, "items_total": 0, "unit": "rows", "throughput_per_sec": 1.5, "eta_seconds": None}
        self.driver.event(
            "JobProgressed", job_id=self._new(), epoch=1, progress={**progress, "updated_at": 1, "payload": {}}
        )

    def _scan(self) -> None:
        made = f"{len(self.jobs) + 1:016x}"
        self.jobs.append(made)
        self.driver.event("JobQueued", **queued(made, kind="SCAN", path="/data"))
        self.driver.event("SourceAdded", source_id="s1", name=HOSTILE, path="/data", poll_seconds=0, options={})

    def _parser(self) -> None:
        facts = {"artifact": "", "topics": ["fix"], "outputs": {"fix_orders": ""}}
        self.driver.event("ParserRegistered", name="fix", version="1.0.0", **facts)

    def _contract(self) -> None:
        ids = {"contract_id": "c" * 16, "scope_id": "", "contract_hash": "", "logic_hash": ""}
        self.driver.event("ContractProposed", **ids, parser="fix", version="1.0.0", output="fix_orders", columns=2)

    def _approve(self) -> None:
        self.driver.event("ContractApproved", contract_id="c" * 16, reason="")

    def _pause(self) -> None:
        self.driver.event("ParserPaused", name="fix", version="1.0.0", reason=HOSTILE, cooldown_seconds=0)

    def _resume(self) -> None:
        self.driver.event("ParserResumed", name="fix", reason="")

    def _gap(self) -> None:
        self.driver.hear(Gap(1, 9))

    def _snapshot(self) -> None:
        self.driver.snapshot()

    def _silence(self) -> None:
        self.driver.hear(Silence(4.0))

    def _gone(self) -> None:
        self.driver.send(Gone("No daemon answers."))

    def _metrics(self) -> None:
        job = {"job_id": (self.jobs or ["0" * 16])[-1], "epoch": 1, "parser": "fix", "input": HOSTILE, "seconds": 1.0}
        worker = {
            "id": "w1",
            "pid": 1,
            "host": "h",
            "state": "stalled",
            "slots": 1,
            "sandbox": "none",
            "cpu_percent": 3.0,
        }
        live = {"rss_bytes": 1, "last_beat_seconds_ago": 0.5, "jobs": [{**job, "guest_pid": 2, "progress": None}]}
        self.driver.metric("workers", workers=[{**worker, **live}], local_workers=1, given_up=[])
        self.driver.metric("throughput", rows_per_second=5.0, bytes_per_second=0.0)
        self.driver.metric("queue", queued=1, running=1, retrying=0, dead_letter=0)
        sink = {"uri": HOSTILE, "output": HOSTILE, "rows": 1, "bytes": 2, "errors": 3, "p50_ms": None, "p99_ms": 0.1}
        self.driver.metric("sinks", sinks=[sink])
        self.driver.metric("projection", applied=1, state="")

    def _tick(self) -> None:
        self.asked += self.driver.tick(40)

    def _answer(self) -> None:
        """Whatever was asked comes to an end, well."""
        asked, self.asked = self.asked, []
        for effect in asked:
            if isinstance(effect, RunQuery):
                rows = rows_of(table_of(self.tables, effect.query))
                self.asked += self.driver.send(Answer(effect.tag, self.driver.seq, rows))
            elif isinstance(effect, RunOperation):
                self.asked += self.driver.done(effect, **_DONE[effect.op])
            elif isinstance(effect, LoadPast):
                self.driver.send(PastEvents(effect.tag, tuple(self.driver.log[effect.from_seq - 1 :])))
                self.asked += self.driver.send(Ended(effect.tag, 0))
            elif isinstance(effect, Chat):
                wanted = ("a", "request_retry", '{"job_id": "0000000000000001"}'), ("b", HOSTILE, HOSTILE)
                self.driver.send(Output(effect.tag, HOSTILE), ToolCalls(effect.tag, wanted))
                self.asked += self.driver.send(Ended(effect.tag, 0))
            elif isinstance(effect, RunCommand | FollowLog):
                self.asked += self.driver.send(Ended(effect.tag, 0))
            elif isinstance(effect, ListDirectory):
                self.asked += self.driver.send(Listing(effect.tag, effect.path, ((HOSTILE, False, True, 0, 0),)))

    def _refuse(self) -> None:
        asked, self.asked = self.asked, []
        for effect in asked:
            if not isinstance(effect, Quit) and (tag := getattr(effect, "tag", None)) is not None:
                self.asked += self.driver.send(Failed(tag, HOSTILE, HOSTILE))

    def _output(self) -> None:
        for effect in self.asked:
            if isinstance(effect, RunCommand | FollowLog):
                self.driver.send(Output(effect.tag, f"{HOSTILE}\n" + "x" * 10_000 + "\n"))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, size=st.sampled_from([(80, 24), (120, 40), (200, 60)]))
def test_any_keys_and_events_leave_a_screen_that_draws_and_escape_leads_home(
    tables: duckdb.DuckDBPyConnection, steps: list[tuple[str, Any]], size: tuple[int, int]
) -> None:
    operator = Operator(tables)
    for kind, what in steps:
        operator.step(kind, what)
        shown = operator.driver.lines(*size)
        assert not any(bad in line for line in shown for bad in "\x1b\u202e\u200b\x07"), (kind, what)
        shell = operator.driver.shell
        keys = [key for action in shell.current.ACTIONS if shell.works(action) for key in action.keys]
        assert len(keys) == len(set(keys)), f"two actions of {shell.mode} for one key: {sorted(keys)}"
    for _ in range(12):
        operator.driver.press("esc")
    assert operator.driver.shell.mode == "home"
    assert operator.driver.shell.overlay is None
    assert operator.driver.shell.past_seq is None
    operator.driver.lines(*size)


def test_the_feed_item_of_every_kind_is_heard() -> None:
    driver = Driver()
    for item in (Gap(1, 2), Silence(3.0)):
        assert driver.send(Heard(item)) == []
