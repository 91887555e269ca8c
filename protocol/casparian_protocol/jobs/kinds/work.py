"""What the work of every kind of job has. A daemon keeps one for each open job, so works are slotted dataclasses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import Field, dataclass, fields
from typing import Any, ClassVar

from pydantic import ConfigDict

from casparian_protocol.bounds import ShortText, VersionText

_NAMES: dict[type, tuple[str, ...]] = {}
_NONE: Mapping[str, Any] = {}


class Checked:
    """A dataclass whose fields pydantic checks strictly wherever it is read from outside."""

    __slots__ = ()
    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]
    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(strict=True, extra="ignore", revalidate_instances="always")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Callable[[Any], Any]) -> Any:
        """Strict means the fields: a map is welcome where an instance could stand."""
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
            known = _NAMES[cls] = tuple(each.name for each in fields(cls))
        return known


class Briefing(Checked):
    """What a worker is told beside the job itself, by kinds that need more."""

    __slots__ = ()
    kind: ClassVar[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Work(Checked):
    """What one job is to do."""

    kind: ClassVar[str]
    briefing: ClassVar[type[Briefing] | None] = None

    #: Whose work it is: jobs of one parser version are paused, tried and trusted together. Empty: no parser's.
    parser: ShortText = ""
    parser_version: VersionText = ""

    @property
    def subject(self) -> str:
        """What it is about, as lists of jobs show it: a path, as a rule."""
        raise NotImplementedError

    @property
    def content(self) -> str:
        """What tells its input from others: two failures with the same content have the same cause."""
        return self.subject

    @property
    def topic(self) -> str:
        """The tag that caused it; empty when none did."""
        return ""

    @property
    def contracts(self) -> Mapping[str, str]:
        """output → hash of the contract that its rows are held against."""
        return _NONE

    @property
    def output_versions(self) -> Mapping[str, int]:
        """output → the version of it that rows of this job go to."""
        return _NONE
