"""Kinds of jobs: the work that each asks of a worker. `JobSpec.work` is one of them, distinguished by its `kind`.

A kind is one dataclass here (its work, and a briefing if a worker needs more information) and one line in `WORKS`. The
core, the worker, the projection and the console each have a table with the same keys; CONTRIBUTING.md, "Adding a job
kind", lists them. A daemon keeps one work for each open job, so the classes have slots.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Annotated, Any, ClassVar, Literal, Never, TypeAlias, cast, get_type_hints

from pydantic import ConfigDict, Field, PlainSerializer, PlainValidator, TypeAdapter, WithJsonSchema

from casparian_protocol.bounds import (
    Count,
    HashText,
    IdText,
    Json,
    LongText,
    PathText,
    PositiveSmallCount,
    Scalar,
    ShortText,
    TagText,
    VersionText,
)

_NAMES: dict[type, tuple[str, ...]] = {}
#: A work, a briefing or a job as a map in messages and events: plain values under the names of its fields.
JobFacts: TypeAlias = dict[str, Any]
_NONE: Mapping[str, Never] = {}


class Checked:
    """A dataclass whose fields pydantic checks strictly wherever it is read from outside."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="ignore", revalidate_instances="always")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Callable[[Any], Any]) -> Any:
        """The fields are strict, but a map is accepted in place of an instance."""
        schema = handler(source)
        inner = schema
        while inner["type"] != "dataclass":
            inner = inner["schema"]
        inner["strict"] = False
        return schema

    @classmethod
    def names(cls) -> tuple[str, ...]:
        known = _NAMES.get(cls)
        if known is None:
            known = _NAMES[cls] = tuple(each.name for each in dataclasses.fields(cls))
        return known


class Briefing(Checked):
    """Further information for a worker, for kinds that need more than the job itself."""

    __slots__ = ()
    kind: ClassVar[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work(Checked, ABC):
    """The work of one job."""

    kind: ClassVar[str]
    briefing: ClassVar[type[Briefing] | None] = None
    #: The fields that differ from job to job. All others are equal in many jobs, and an `assign` message has them once.
    own: ClassVar[frozenset[str]] = frozenset()

    #: The parser of the job: jobs of one parser version are paused and resumed together. Empty: none.
    parser: ShortText = ""
    parser_version: VersionText = ""

    @property
    @abstractmethod
    def subject(self) -> str:
        """The subject of the job in lists: usually a path."""

    @property
    def content(self) -> str:
        """The identity of its input: two failures with the same content have the same cause."""
        return self.subject

    @property
    def topic(self) -> str:
        """The tag that caused the job; empty if none did."""
        return ""

    @property
    def contracts(self) -> Mapping[str, str]:
        """output → hash of the contract that its rows are checked against."""
        return _NONE

    @property
    def output_versions(self) -> Mapping[str, int]:
        """output → the version that this job's rows go to."""
        return _NONE

    @property
    def params(self) -> Mapping[str, Json]:
        """Every declared parameter of its parser with its effective value, fixed when the job is queued."""
        return _NONE

    @property
    def param_origins(self) -> Mapping[str, str]:
        """The origins of values: `set`, `source NAME`, `rule NAME`. Parameters not named here have their declared default."""
        return _NONE


# --- PARSE: run a parser on one file and commit its rows --------------------------------------------------------------

_OUTPUTS = Field(max_length=256)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobInput(Checked):
    """The input file of a parser."""

    path: PathText
    file_id: IdText = ""
    #: BLAKE3 in hex, as computed by the scan; the worker hashes the file again, and the two must agree.
    content_hash: HashText = ""
    size: Count = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseBriefing(Briefing):
    kind = "PARSE"
    #: Entry module of the bundle, and whether it is a function or a class.
    entry: ShortText = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseWork(Work):
    kind = "PARSE"
    briefing = ParseBriefing
    own = frozenset({"input", "tag", "on_change"})

    input: JobInput
    artifact: HashText = ""
    #: output → hash of its approved contract.
    contracts: Annotated[dict[ShortText, HashText], _OUTPUTS] = field(default_factory=dict)
    #: output → the version that the rows go to, fixed when the job is queued.
    output_versions: Annotated[dict[ShortText, PositiveSmallCount], _OUTPUTS] = field(default_factory=dict)
    params: Annotated[dict[ShortText, Json], _OUTPUTS] = field(default_factory=dict)
    param_origins: Annotated[dict[ShortText, ShortText], _OUTPUTS] = field(default_factory=dict)
    #: output → effective quarantine policy, resolved when queued.
    policies: Annotated[dict[ShortText, dict[ShortText, Scalar]], _OUTPUTS] = field(default_factory=dict)
    #: The tag of the file that the parser subscribes to.
    tag: TagText = ""
    #: Whether rows of earlier contents of the file stay live.
    on_change: Literal["replace", "append"] = "replace"

    @property
    def subject(self) -> str:
        return self.input.path

    @property
    def content(self) -> str:
        return self.input.content_hash or self.input.path

    @property
    def topic(self) -> str:
        return self.tag


# --- SCAN: walk a directory, and record which of its files are new, changed or gone -----------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanBriefing(Briefing):
    kind = "SCAN"
    #: The rules that tag files of the scan, and the tags whose files must be hashed for a parser.
    rules: list[dict[ShortText, Json]] = field(default_factory=list)
    wanted_tags: list[TagText] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScanWork(Work):
    kind = "SCAN"
    briefing = ScanBriefing

    root: PathText
    source_id: IdText = ""
    #: excludes, tag, hash, pattern.
    options: Annotated[dict[ShortText, Scalar | list[LongText]], Field(max_length=32)] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        return self.root


# --- the table, and reading a work by its kind ------------------------------------------------------------------------

#: kind → the work of its jobs.
WORKS: dict[str, type[Work]] = {
    "PARSE": ParseWork,
    "SCAN": ScanWork,
}


_ADAPTERS: dict[type, TypeAdapter[Any]] = {}


def _checked(model: type, value: object) -> Any:
    adapter = _ADAPTERS.get(model)
    if adapter is None:
        adapter = _ADAPTERS[model] = TypeAdapter(model)
    return adapter.validate_python(value)


class Proven:
    """A work or a briefing that was checked as a whole or in its parts: as the value of a field it is not checked again."""

    __slots__ = ("part",)

    def __init__(self, part: Work | Briefing) -> None:
        self.part = part


def work_of(value: object) -> Work:
    """The work of a map, checked. Raises `ValueError`."""
    if value.__class__ is Proven:
        return cast(Work, value.part)
    work: Work = _checked(_kind_of(value), value)
    return work


def unchecked_work_of(facts: Mapping[str, object]) -> Work:
    """The work of a map, unchecked, because an older program may have checked less."""
    model = _kind_of(facts)
    values: JobFacts = {name: facts[name] for name in model.names() if name in facts}
    for name, part in _parts_of(model.kind):
        if isinstance(own := values.get(name), dict):
            values[name] = part(**{each: own[each] for each in part.names() if each in own})
    return model(**values)


@cache
def _parts_of(kind: str) -> tuple[tuple[str, type[Checked]], ...]:
    """Fields that are themselves checked dataclasses."""
    types = get_type_hints(WORKS[kind])
    found = ((name, types[name]) for name in WORKS[kind].names())
    return tuple((name, part) for name, part in found if isinstance(part, type) and issubclass(part, Checked))


def briefing_of(value: object) -> Briefing:
    """The briefing of a map, of its kind's type. Raises `ValueError`."""
    if value.__class__ is Proven:
        return cast(Briefing, value.part)
    model = _kind_of(value).briefing
    if model is None:
        raise ValueError("this kind of job has no briefing")
    briefing: Briefing = _checked(model, value)
    return briefing


def _kind_of(value: object) -> type[Work]:
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    model = WORKS.get(kind) if isinstance(kind, str) else None
    if model is None:
        raise ValueError(f"{str(kind)[:40]!r} is not a kind of job: one of {', '.join(sorted(WORKS))}")
    return model


def facts_of_work(part: Work | Briefing) -> JobFacts:
    """The work, or a briefing, as a map; the maps inside are shared, not copied."""
    kind: Any = part.__class__
    return writer_of(kind)(part)


@cache
def writer_of(kind: Any) -> Callable[[Any], JobFacts]:
    """A function from an instance of this checked dataclass to its map."""
    return compiled(kind, kind.names(), f"'kind': {kind.kind!r}" if issubclass(kind, Work | Briefing) else "")


def compiled(kind: type[Checked], names: Iterable[str], first: str = "") -> Callable[[Any], JobFacts]:
    """A function from an instance to a map of these fields, compiled because every queued job goes through it."""
    hints = get_type_hints(kind)
    known: JobFacts = {}
    entries = [first] if first else []
    for name in names:
        value = f"part.{name}"
        hint = hints[name]
        if isinstance(hint, type) and issubclass(hint, Checked):
            part: Any = hint
            known[f"write_{name}"] = writer_of(part)
            value = f"write_{name}({value})"
        entries.append(f"{name!r}: {value}")
    exec(f"def write(part):\n    return {{{', '.join(entries)}}}", known)  # noqa: S102 -- made of our own field names
    made: Callable[[Any], JobFacts] = known["write"]
    return made


#: Types for fields of messages and events; the `kind` in the value selects the class.
AnyWork = Annotated[
    Work, PlainValidator(work_of), PlainSerializer(facts_of_work), WithJsonSchema({"type": "a work, by its `kind`"})
]
AnyBriefing = Annotated[
    Briefing,
    PlainValidator(briefing_of),
    PlainSerializer(facts_of_work),
    WithJsonSchema({"type": "a briefing, by its `kind`"}),
]


# --- jobs of older versions, without a work for each kind -------------------------------------------------------------

_OF_EVERY_KIND = ("job_id", "key", "priority", "generation", "rerun_of", "queued_at")
_OF_PARSE = (
    "parser",
    "parser_version",
    "input",
    "artifact",
    "contracts",
    "output_versions",
    "params",
    "param_origins",
    "policies",
)


def with_work(job: JobFacts) -> JobFacts:
    """Convert a job of an older version (all fields at one level, and a `type`) to the current shape.

    Anything else is returned unchanged; its reader reports errors.
    """
    if "type" not in job or not isinstance(job.get("input"), dict):
        return job
    common = {name: job[name] for name in _OF_EVERY_KIND if name in job}
    options = job.get("options", {})
    if job["type"] == "SCAN":
        work = {
            "kind": "SCAN",
            "root": job["input"].get("path", ""),
            "source_id": job.get("source_id", ""),
            "options": options,
        }
    else:
        work = {name: job[name] for name in _OF_PARSE if name in job}
        work |= {"kind": job["type"], "tag": job.get("topic", ""), "on_change": options.get("on_change", "replace")}
    return {**common, "work": work}
