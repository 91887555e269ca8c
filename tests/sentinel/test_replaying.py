"""The operation `replay`: bounded parts, one selection, and what it asks and decides on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from casparian_protocol.client import Rows
from casparian_protocol.home import Home, make_home
from casparian_protocol.settings import Settings
from casparian_protocol.wire.operations import BadArguments
from casparian_protocol.wire.operations.jobs import RefusedJobs, ReplayResult
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.core.answers import Replayed
from casparian_sentinel.core.commands import Now, ReplayJobs
from casparian_sentinel.operations.steps import Ask, Context, Decide, InThread, OperationRefused
from casparian_sentinel.operations.table import begin
from casparian_sentinel.ports import RealFs
from casparian_sentinel.projection.queries.planning import DEAD_LETTERS, FILE_FACTS
from tests.sentinel.core.play import ANN, Table, spec


@pytest.fixture
def context(tmp_path: Path) -> Context:
    home = Home(tmp_path)
    make_home(home)
    table = Table().with_parser()
    return Context(
        home=home, settings=Settings(), blobs=BlobStore(RealFs(), home.blobs), state=table.state, presence=table.presence,
        mode="daemon", version="0", pid=1, now=lambda: Now(0, 0.0), durable_seq=lambda: 7, projection=lambda: (7, ""),
    )  # fmt: skip


def replay(context: Context, dead: int, **args: Any) -> tuple[ReplayResult, list[int]]:
    """Perform it over so many dead letters; its result and the sizes of the decisions."""
    steps = begin(context, "replay", args, ANN)
    sizes: list[int] = []
    answer: Any = None
    try:
        while True:
            step = steps.send(answer)
            if isinstance(step, InThread):
                answer = {}  # the contracts' policies: there are no blobs here
            elif isinstance(step, Ask) and step.sql == FILE_FACTS:
                answer = Rows(7, ["id", "source_id", "rel_path", "kind", "path", "content_hash"], [])
            elif isinstance(step, Ask):
                assert step.sql == DEAD_LETTERS
                _fingerprint, after, limit = step.params
                assert isinstance(after, str) and isinstance(limit, int)
                found = [spec(n) for n in range(1, dead + 1) if spec(n).job_id > after][:limit]
                answer = Rows(7, ["id", "spec_json"], [[job.job_id, job.model_dump_json()] for job in found])
            else:
                assert isinstance(step, Decide)
                assert isinstance(step.command, ReplayJobs)
                assert step.command.position == 7
                assert {job.work.output_versions["orders"] for job, _ended_as in step.command.jobs} == {1}
                sizes.append(len(step.command.jobs))
                answer = Replayed(len(step.command.jobs) - 1, {"its work is queued already": 1})
    except StopIteration as stop:
        return stop.value, sizes


def test_many_dead_letters_are_replayed_in_bounded_decisions_and_bounded_requests(context: Context) -> None:
    first, sizes = replay(context, 1700, all_dead=True)
    assert sizes == [500, 500]
    assert (first.replayed, first.next_after) == (998, spec(1000).job_id)
    assert first.refused == [RefusedJobs(reason="its work is queued already", jobs=2)]

    rest, sizes = replay(context, 1700, all_dead=True, after=first.next_after)
    assert sizes == [500, 200]
    assert (rest.replayed, rest.next_after) == (698, "")


def test_nothing_dead_is_no_decision(context: Context) -> None:
    result, sizes = replay(context, 0, fingerprint="f" * 16)
    assert (result.replayed, result.next_after, sizes) == (0, "", [])


@pytest.mark.parametrize(
    "args", [{}, {"all_dead": True, "job_id": "abcd"}, {"fingerprint": "f" * 16, "all_dead": True}]
)
def test_exactly_one_selection_is_needed(context: Context, args: dict[str, Any]) -> None:
    with pytest.raises(OperationRefused, match="No dead letters are named"):
        replay(context, 1, **args)


@pytest.mark.parametrize("args", [{"fingerprint": "xyz"}, {"all_dead": 1}, {"all_dead": True, "limit": 10**9}])
def test_arguments_are_held_to_their_limits(context: Context, args: dict[str, Any]) -> None:
    with pytest.raises(BadArguments):
        replay(context, 1, **args)
