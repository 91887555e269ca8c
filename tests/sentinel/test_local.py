"""The sentinel without a daemon."""

from __future__ import annotations

from pathlib import Path

from casparian_protocol.home import Home
from casparian_sentinel import LocalSentinel
from casparian_sentinel import core as c
from tests.sentinel.core.play import ANN, ARTIFACT, CONTRACT, spec


def test_keys_of_queued_jobs_are_kept_until_the_tables_know_them(tmp_path: Path) -> None:
    facts = c.ContractFacts("advice-1.0", "scope", "orders", CONTRACT, 3)
    with LocalSentinel(Home(tmp_path / "home")) as sentinel:
        submit, state = sentinel._engine.submit, sentinel._booted.state
        sentinel._record_start()
        outputs, contracts = {"orders": CONTRACT}, (facts,)
        submit(
            c.RegisterParser("p" * 16, "advice", "1.0", ARTIFACT, ANN, outputs=outputs, contracts=contracts, entry="a")
        )
        submit(c.DecideContract("advice", True, "looks right", ANN))
        queued = submit(c.QueueJobs([spec()], sentinel.seq))
        sentinel.request("ping")
        assert state.recent_keys == {spec().key: queued.first_seq}  # no table has been asked, so none knows it

        sentinel.query("select 1")
        sentinel.request("ping")
        assert state.recent_keys == {}
        assert submit(c.QueueJobs([spec()], sentinel.seq)).events == []  # it is open
