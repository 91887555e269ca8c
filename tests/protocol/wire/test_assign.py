"""An `assign` has what its jobs share once; whoever reads it gets whole jobs, each checked, whatever the frame says."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.jobs import JobSpec
from casparian_protocol.jobs.kinds import (
    Briefing,
    JobInput,
    ParseBriefing,
    ParseWork,
    ScanBriefing,
    ScanWork,
    Work,
    facts_of_work,
    work_of,
)
from casparian_protocol.packing import MalformedMessage
from casparian_protocol.wire import messages as m
from casparian_protocol.wire.messages import decode, encode

_policies = st.sampled_from(
    [{}, {"orders": {"allow": True, "max_pct": 10.0, "max_count": None}}, {"orders": {"allow": False}}]
)
_files = st.builds(JobInput, path=st.sampled_from(["/a", "/ü/b"]), content_hash=st.sampled_from(["", "f" * 64]))
_parses = st.builds(
    ParseWork,
    input=_files,
    parser=st.sampled_from(["advice", "fix"]),
    artifact=st.sampled_from(["", "a" * 64]),
    contracts=st.sampled_from([{}, {"orders": "b" * 64}]),
    params=st.sampled_from([{}, {"venue": [1, None, {"a": 2.5}]}]),
    policies=_policies,
    tag=st.sampled_from(["", "t"]),
    on_change=st.sampled_from(["replace", "append"]),
)
_scans = st.builds(
    ScanWork, root=st.sampled_from(["/data", "/more"]), options=st.sampled_from([{}, {"excludes": ["*.x"]}])
)
_briefings = st.sampled_from([None, ParseBriefing(entry="a.py"), ParseBriefing(entry="b.py")])


@st.composite
def _assignments(draw: st.DrawFn) -> m.Assignment:
    work: Work = draw(_parses | _scans)
    briefing: Briefing | None = draw(_briefings)
    if isinstance(work, ScanWork):
        briefing = ScanBriefing(wanted_tags=["t"]) if briefing is not None else None
    job = JobSpec(
        job_id=f"{draw(st.integers(0, 2**64 - 1)):016x}",
        key="k",
        work=work,
        priority=draw(st.integers(-1, 1)),
        generation=draw(st.integers(0, 2)),
        rerun_of=draw(st.sampled_from(["", "0" * 16])),
        queued_at=draw(st.integers(0, 5)),
    )
    return m.Assignment(job=job, attempt=1, epoch=7, leased_at=8, briefing=briefing, is_alone=draw(st.booleans()))


@given(st.lists(_assignments(), max_size=12))
def test_any_jobs_survive_the_wire_and_share_their_maps(jobs: list[m.Assignment]) -> None:
    message, _ = decode(encode(m.Assign(jobs=jobs)))

    assert message == m.Assign(jobs=jobs)
    assert isinstance(message, m.Assign)
    seen: dict[str, ParseWork] = {}
    for read in message.jobs:
        work = read.job.work
        if isinstance(work, ParseWork):
            place = repr((work.parser, work.artifact, work.contracts, work.params, work.policies, read.briefing))
            first = seen.setdefault(place, work)
            assert first.policies is work.policies


_CHANGES = st.dictionaries(
    st.sampled_from(["input", "tag", "on_change", "parser", "more"]),
    st.none()
    | st.integers(-(2**63), 2**63)
    | st.text(max_size=3)
    | st.dictionaries(st.sampled_from(["path", "size"]), st.text() | st.integers(-(2**63), 2**63)),
    max_size=3,
)


@given(_CHANGES)
def test_the_second_of_alike_jobs_is_checked_as_strictly_as_a_whole_work(changes: dict[str, Any]) -> None:
    work = ParseWork(input=JobInput(path="/a"), parser="advice")
    facts = facts_of_work(work)
    body = _body(work)
    own = body["jobs"][1]["own"] = {**body["jobs"][1]["own"], **{k: v for k, v in changes.items() if k != "parser"}}
    try:
        expected = work_of({**facts, **own})
    except ValueError:
        with pytest.raises(MalformedMessage, match=r"jobs\.1"):
            decode([b"assign", msgpack.packb(body)])
    else:
        message, _ = decode([b"assign", msgpack.packb(body)])
        assert isinstance(message, m.Assign)
        assert message.jobs[1].job.work == expected


def _body(work: Work) -> dict[str, Any]:
    jobs = [
        m.Assignment(job=JobSpec(job_id=f"{n:016x}", key="k", work=work), attempt=1, epoch=n + 1, leased_at=1)
        for n in range(2)
    ]
    body: dict[str, Any] = msgpack.unpackb(encode(m.Assign(jobs=jobs))[1])
    assert len(body["works"]) == 1
    return body


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda body: body.pop("works"), "jobs and works"),
        (lambda body: body.update(jobs=5), "jobs and works"),
        (lambda body: body["jobs"].append(1), r"jobs\.2"),
        (lambda body: body["jobs"][1].update(like=1), r"jobs\.1: 1 is not"),
        (lambda body: body["jobs"][1].update(like=-1), r"jobs\.1: -1 is not"),
        (lambda body: body["jobs"][1].update(like=True), r"jobs\.1: True is not"),
        (lambda body: body["jobs"][1].pop("like"), r"jobs\.1: None is not"),
        (lambda body: body["jobs"][1].update(own=[]), r"jobs\.1: the fields"),
        (lambda body: body["jobs"][0]["own"]["input"].update(path=""), r"jobs\.0\.own\.input\.path"),
        (lambda body: body["jobs"][1]["own"]["input"].update(path=""), r"jobs\.1\.own\.input\.path"),
        (lambda body: body["jobs"][1]["own"].update(tag=5), r"jobs\.1\.own\.tag"),
        (lambda body: body["works"].__setitem__(0, 5), r"jobs\.0: a shared work"),
        (lambda body: body["works"][0].update(work={"kind": "FLY"}), r"jobs\.0: 'FLY' is not"),
        (lambda body: body["works"][0].update(briefing=5), r"jobs\.0: 'None' is not"),
        (lambda body: body["jobs"][1].update(epoch=-1), r"jobs\.1\.epoch"),
        (lambda body: body["jobs"][1]["job"].update(job_id="x"), r"jobs\.1\.job\.job_id"),
        (lambda body: body["jobs"][1]["job"].update(work=5, key=5), r"jobs\.1\.job\.key"),
    ],
)
def test_what_is_wrong_in_an_assignment_is_named(change: Any, words: str) -> None:
    body = _body(ParseWork(input=JobInput(path="/a")))
    change(body)
    with pytest.raises(MalformedMessage, match=words) as raised:
        decode([b"assign", msgpack.packb(body)])
    assert raised.value.of_kind == "assign"
