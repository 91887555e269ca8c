"""Which worker gets which job, in messages of bounded size."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.jobs import JobInput, JobSpec, ParseWork
from casparian_protocol.jobs.kinds import ParseBriefing, facts_of_work
from casparian_protocol.packing import pack
from casparian_protocol.wire import messages as m
from casparian_sentinel.core.kinds import kind_of
from casparian_sentinel.core.leasing import FIXED_BYTES
from casparian_sentinel.core.state import State

maps = st.dictionaries(st.text(max_size=8), st.text(max_size=8), max_size=3)
SHARED = {"contracts": {"orders": "c" * 64}, "params": {"limit": 3}}
works = st.builds(
    ParseWork,
    parser=st.just("advice"),
    parser_version=st.just("1.0"),
    input=st.builds(
        JobInput,
        path=st.text(min_size=1, max_size=300),
        file_id=st.text(max_size=40),
        content_hash=st.text("abcdef0123456789", max_size=64),
        size=st.integers(0, 2**62),
    ),
    tag=st.text(max_size=300),
    on_change=st.sampled_from(["replace", "append"]),
    contracts=st.just(SHARED["contracts"]) | maps,
    params=st.just(SHARED["params"]) | maps,
)


@given(works, works)
def test_the_size_of_a_work_is_never_estimated_too_low(first: ParseWork, second: ParseWork) -> None:
    briefing = ParseBriefing(entry="advice.py")
    state = State()
    folded = [kind_of(work).folded(state, work) for work in (first, second)]  # the second may share maps with the first
    folded.append(replace(first, params={"not": "measured"}))
    for work in folded:
        packed = len(pack([facts_of_work(work), facts_of_work(briefing)]))
        assert (
            packed
            <= kind_of(work).packed_bytes(state, work, briefing)
            <= packed + 4 * len(work.input.path + work.tag) + 512
        )


plain_texts = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=100)
inputs = st.builds(
    JobInput, path=plain_texts, file_id=st.just("f" * 64), content_hash=st.just("a" * 64), size=st.just(2**53 - 1)
)
alike_works = st.builds(
    ParseWork,
    parser=st.just("advice"),
    input=inputs,
    tag=plain_texts,
    on_change=st.sampled_from(["replace", "append"]),
    params=st.just({"limit": 3}),
)


@given(alike_works, alike_works, st.text(max_size=255))
def test_the_size_of_one_more_job_is_never_estimated_too_low(first: ParseWork, second: ParseWork, key: str) -> None:
    state = State()
    before, work = (kind_of(each).folded(state, each) for each in (first, second))
    kind = kind_of(work)
    assert kind.shares(work, before)
    given = [
        m.Assignment(
            job=JobSpec(
                job_id="f" * 16,
                key=key,
                work=each,
                priority=2**31 - 1,
                generation=2**31 - 1,
                rerun_of="f" * 16,
                queued_at=253_402_300_799_000_000,
            ),
            attempt=2**31 - 1,
            epoch=2**53 - 1,
            leased_at=253_402_300_799_000_000,
            is_alone=True,
        )
        for each in (before, work)
    ]
    alone, both = (len(m.encode(m.Assign(jobs=jobs))[1]) for jobs in (given[:1], given))
    assert both - alone <= FIXED_BYTES + 4 * len(key) + kind.own_bytes(work)
