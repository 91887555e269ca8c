"""Events survive the log: each type becomes a map and is read back the same, and what does not fit is refused."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from enum import StrEnum
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints, is_typeddict

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from casparian_protocol import events
from casparian_protocol.events import CATALOGUE, VERSIONS, Event, MalformedEvent, Unknown, decode
from casparian_protocol.events.base import as_map, from_map
from casparian_protocol.events.packing import (
    CAUSE_KEY,
    STEPS,
    EventPacker,
    EventUnfit,
    fact_of,
    missing_steps,
    pack_event,
)
from casparian_protocol.jobs import (
    NEXT,
    JobError,
    JobInput,
    JobSpec,
    JobState,
    Manifest,
    OutputAccounting,
    ParseWork,
    RecordAccounting,
    StagedFile,
    ViolationCount,
)
from casparian_protocol.tagging import TagRule
from casparian_protocol.wire import Progress

SPEC = JobSpec(
    job_id="0" * 16,
    key="k",
    work=ParseWork(
        input=JobInput(path="/in/a.csv", content_hash="f" * 64, size=3),
        parser="advice",
        parser_version="1.0",
        contracts={"orders": "c" * 64},
        output_versions={"orders": 1},
        params={"tz": "UTC"},
    ),
)
MANIFEST = Manifest(
    files=[StagedFile(name="data.o.0.parquet", kind="data", output="o", rows=2, bytes=9, digest="d" * 64)],
    outputs={
        "o": OutputAccounting(
            status="partial_success",
            received=3,
            valid=2,
            quarantined=1,
            violations=[ViolationCount(code="TYPE", column="price", rows=1)],
        )
    },
    skipped={"comment": 4},
    records=RecordAccounting(is_counted=True, given=3),
)
MODELS: dict[type, BaseModel] = {
    JobSpec: SPEC,
    Manifest: MANIFEST,
    JobError: JobError(code="TIMEOUT", message="too slow", context={"seconds": 3.5}, left_out=2),
    Progress: Progress(items_done=3, unit="rows", payload={"rows": 3}),
    TagRule: TagRule(id="r1", name="late", tag="late", excludes=("*.tmp",), extensions=(".csv",)),
}
TEXT = st.text(max_size=8)
NUMBERS = st.integers(0, 2**40)


def values_of(hint: Any) -> st.SearchStrategy[Any]:
    """Values that an annotation allows."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return values_of(parts[0])
    if origin in (Union, UnionType):
        return st.one_of([values_of(part) for part in parts])
    if origin is Literal:
        return st.sampled_from(parts)
    if origin is tuple:
        return st.lists(values_of(parts[0]), max_size=3).map(tuple)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return st.dictionaries(TEXT, values_of(parts[1]), max_size=3)
    if is_typeddict(hint):
        return st.fixed_dictionaries({name: values_of(part) for name, part in get_type_hints(hint).items()})
    if hint in MODELS:
        return st.just(MODELS[hint])
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return st.sampled_from(list(hint))
    if isinstance(hint, type) and issubclass(hint, tuple):
        return st.tuples(*(values_of(part) for part in get_type_hints(hint).values())).map(lambda row: hint(*row))
    if origin is list:
        return st.lists(values_of(parts[0]), max_size=3)
    plain: dict[Any, st.SearchStrategy[Any]] = {
        str: TEXT, int: NUMBERS, bool: st.booleans(), float: st.floats(0, 1e6), Any: TEXT | NUMBERS, type(None): st.none()
    }  # fmt: skip
    return plain[hint]


def any_event(cls: type[Event]) -> st.SearchStrategy[Event]:
    hints = get_type_hints(cls, include_extras=True)
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    return st.fixed_dictionaries({name: values_of(hints[name]) for name in names}).map(lambda data: cls(**data))


@given(st.sampled_from(list(CATALOGUE.values())).flatmap(any_event))
def test_every_event_is_read_back_from_the_log_as_it_was_recorded(event: Event) -> None:
    stored = msgpack.unpackb(msgpack.packb(event.to_data()), strict_map_key=True)

    again = decode(event.about.name, event.about.version, stored)
    assert again == event
    assert again.to_data() == stored
    assert again.subject == event.subject


@given(
    st.sampled_from(list(CATALOGUE.values())).flatmap(any_event),
    st.integers(0, 2**53),
    st.sampled_from(["sentinel", "op:ada", "worker:w1"]),
    st.sampled_from([0, 7, "op:3f"]),
)
def test_an_events_bytes_give_its_time_actor_and_cause_back(
    event: Event, ts: int, actor: str, cause: int | str
) -> None:
    packed = pack_event(fact_of(ts, event, actor, cause), has_text_keys=event.about.has_text_keys)

    assert EventPacker().pack(ts, event, actor, cause) == packed
    stored_ts, name, version, stored_actor, data = msgpack.unpackb(packed, strict_map_key=True)
    assert (stored_ts, stored_actor, data.pop(CAUSE_KEY, 0)) == (ts, actor, cause)
    assert decode(name, version, data) == event


def test_the_catalogue_holds_every_event_and_its_text_is_made_of_sentences() -> None:
    assert set(CATALOGUE) <= set(events.__all__)
    for cls in CATALOGUE.values():
        assert cls.about.meaning[0].isupper() and cls.about.meaning.endswith("."), cls


def test_states_that_events_lead_to_are_those_of_the_table() -> None:
    by_event: dict[str, set[JobState]] = {}
    for targets in NEXT.values():
        for target, name in targets.items():
            by_event.setdefault(name, set()).add(target)
    assert {name: set(cls.about.leads_to) for name, cls in CATALOGUE.items() if cls.about.leads_to} == {
        **by_event,
        "JobQueued": {JobState.QUEUED},
    }


def test_fields_that_may_be_missing_are_left_out_and_read_as_their_defaults() -> None:
    started = events.ScanStarted(scan_id="s", roots=("/in",))

    assert started.to_data() == {"scan_id": "s", "roots": ["/in"]}
    assert decode("ScanStarted", 1, {"scan_id": "s", "roots": ["/in"], "source_id": ""}) == started


@pytest.mark.parametrize(
    "wrong",
    [
        events.JobDue(job_id=7),  # type: ignore[arg-type]
        events.JobStarted(job_id="a", epoch=1, guest_pid=True),
        events.JobQueued(job={"job_id": "a"}),  # type: ignore[arg-type]
        events.ScanStarted(scan_id="s", roots=["/in"]),  # type: ignore[arg-type]
    ],
    ids=lambda event: event.about.name,
)
def test_a_field_of_another_type_is_refused_before_anything_is_recorded(wrong: Event) -> None:
    with pytest.raises(MalformedEvent, match=wrong.about.name):
        wrong.to_data()
    with pytest.raises(EventUnfit, match=wrong.about.name):
        EventPacker().pack(1, wrong, "sentinel", 7)


def test_an_event_of_a_later_program_is_kept_as_it_is() -> None:
    data = {"job_id": "a", "moon": "full"}

    assert decode("JobEnchanted", 1, data) == Unknown("JobEnchanted", 1, data)
    assert decode("JobDue", 9, data) == Unknown("JobDue", 9, data)
    assert decode("JobDue", 9, data).subject == "a"
    assert decode("JobDue", 1, data) == events.JobDue(job_id="a")  # a field that is not known says nothing


def test_data_without_a_field_that_must_be_there_is_no_event() -> None:
    with pytest.raises(MalformedEvent, match="JobLeased has no worker_id, sandbox"):
        decode("JobLeased", 1, {"job_id": "a", "attempt": 1})
    with pytest.raises(MalformedEvent, match="JobQueued of version 1"):
        decode("JobQueued", 1, {})


def test_every_older_version_has_a_step_to_the_next() -> None:
    assert list(missing_steps(VERSIONS)) == []
    assert list(missing_steps({"JobDue": 3})) == [("JobDue", 1), ("JobDue", 2)]
    assert all(version < VERSIONS[name] for name, version in STEPS)


def test_what_an_earlier_program_did_not_check_is_read_all_the_same() -> None:
    facts = as_map(SPEC)
    work = {**facts["work"], "input": {**facts["work"]["input"], "size": -1}}
    stored = {**facts, "work": work, "later": True}

    again = from_map(JobSpec, stored)
    assert isinstance(again.work, ParseWork)
    assert again.work.input.size == -1
    assert again.work.subject == SPEC.work.subject
    assert as_map(again) == {name: value for name, value in stored.items() if name != "later"}


def test_a_model_as_a_map_is_what_its_dump_says() -> None:
    for model in MODELS.values():
        assert as_map(model) == msgpack.unpackb(msgpack.packb(model.model_dump(mode="python")))
