"""Logs of before output versions and `ParserCurrentChanged`: the same current version, then events that say so."""

from __future__ import annotations

from typing import Any

from casparian_protocol.wire import messages as m
from casparian_sentinel import core as c
from casparian_sentinel.core.folding import evolve
from casparian_sentinel.core.snapshot import dump, load
from casparian_sentinel.core.state import State
from casparian_sentinel.log.format import LogRecord, current_events
from tests.sentinel.core.play import ANN, ARTIFACT, CONTRACT, Table, spec, types

OTHER = "e" * 64


class OldLog:
    """Events as the program of before wrote them, all of version 1."""

    def __init__(self) -> None:
        self.events: list[LogRecord] = []

    def add(self, kind: str, /, **data: Any) -> int:
        self.events.append(LogRecord(len(self.events) + 1, 1_000 + len(self.events), kind, 1, ANN, data))
        return len(self.events)

    def version(self, version: str, contract: str, *, artifact: str = ARTIFACT) -> None:
        facts = {"parser_id": f"p{version}", "name": "advice", "version": version, "artifact": artifact}
        self.add(
            "ParserRegistered",
            **facts,
            entry="a.py",
            kind="function",
            topics=["advice"],
            outputs={"orders": contract},
            params={"tz": "UTC"},
            **dict.fromkeys(("sha256", "source_hash", "lock_hash", "signed_by", "signature"), ""),
            findings=[],
        )
        proposed = {"contract_id": f"c{version}", "scope_id": "s", "parser": "advice", "version": version}
        self.add("ContractProposed", **proposed, output="orders", contract_hash=contract, logic_hash="", columns=3)
        self.add("ContractApproved", contract_id=f"c{version}", reason="")

    def job(self, number: int, *, committed: bool) -> None:
        old = spec(number).flat()
        old = {**old, "input": dict(old["input"]), "source_id": "", "topic": old.pop("tag"), "options": {}}
        del old["output_versions"], old["param_origins"], old["on_change"]
        self.add("JobQueued", job=old)
        job_id = old["job_id"]
        epoch = self.add("JobLeased", job_id=job_id, worker_id="w1", attempt=1, sandbox="none")
        counts = {"rows": 3, "quarantined": 0, "skipped": 0, "seconds": 0.1}
        if committed:
            manifest: dict[str, Any] = {"files": [], "outputs": {}}
            self.add(
                "JobOutputsCommitted", job_id=job_id, epoch=epoch, versions={"orders": 1}, manifest=manifest, **counts
            )
            self.add("JobCompleted", job_id=job_id, epoch=epoch, status="COMPLETED", damaged=[], **counts)

    def fold(self) -> State:
        state = State()
        for event in current_events(self.events):
            evolve(state, event)
        return state


def start(state: State) -> Table:
    """The program of today opens the home."""
    table = Table()
    table.restart(state)
    table.do(c.RecordStart(1, "2", "h", "", "daemon"))
    return table


def two_versions(*, committed: bool) -> OldLog:
    log = OldLog()
    log.version("1.0", CONTRACT)
    log.job(1, committed=committed)
    log.version("2.0", OTHER, artifact="b" * 64)
    return log


def test_an_old_home_with_two_approved_versions_keeps_its_current_one_and_events_say_so_from_then_on() -> None:
    old = two_versions(committed=True).fold()
    assert old.parsers["advice"].current == "1.0"
    table = start(old)

    line, live = table.state.parsers["advice"], table.state.outputs["orders"].live
    assert (line.current, line.is_derived) == ("1.0", False)
    assert live is not None
    assert (live.number, live.contract_hash, live.has_rows) == (1, CONTRACT, True)
    assert "before contracts were compared" in line.versions["2.0"].waits[0]["what"]
    recorded = [event.type for event in table.log]
    assert recorded == [
        "SentinelStarted",
        "OutputVersionCreated",
        "OutputVersionSetLive",
        "ParserCurrentChanged",
        "ParserVersionWaits",
    ]
    assert types(table.do(c.RecordStart(1, "2", "h", "", "daemon"))) == ["SentinelStarted"]  # once


def test_a_version_that_took_over_in_an_old_log_because_nothing_was_processed_is_current() -> None:
    log = OldLog()
    log.version("1.0", CONTRACT)
    log.version("2.0", OTHER, artifact="b" * 64)

    assert log.fold().parsers["advice"].current == "2.0"
    assert start(log.fold()).state.parsers["advice"].current == "2.0"


def test_an_old_log_in_which_the_last_open_job_was_cancelled_gives_the_newer_version_its_turn() -> None:
    log = two_versions(committed=False)
    assert log.fold().parsers["advice"].current == "1.0"
    log.add("LeaseExpired", job_id=spec(1).job_id, epoch=5, worker_id="w1", reason="lost", is_loss=False)
    log.add("JobCancelled", job_id=spec(1).job_id, reason="")

    assert log.fold().parsers["advice"].current == "2.0"


def test_a_job_that_is_open_in_an_old_log_goes_to_version_1_and_is_committed_by_the_program_of_today() -> None:
    table = start(two_versions(committed=False).fold())
    job = table.job()
    assert job.work.output_versions == {"orders": 1}
    lease = m.Held(job_id=job.job_id, epoch=job.epoch)
    table.hello("w1", lease)
    decision = table.finish(lease)
    assert decision.events[0].about.name == "JobOutputsCommitted"


def test_a_retirement_in_an_old_log_lets_only_the_very_same_contracts_follow() -> None:
    log = two_versions(committed=True)
    log.add("ParserRetired", name="advice", version="1.0")
    assert log.fold().parsers["advice"].current == ""
    log.version("1.5", CONTRACT, artifact="c" * 64)

    assert log.fold().parsers["advice"].current == "1.5"


def test_the_snapshot_of_an_old_log_is_its_fold() -> None:
    state = two_versions(committed=True).fold()
    assert dump(load(dump(state))) == dump(state)
