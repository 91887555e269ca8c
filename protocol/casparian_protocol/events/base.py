"""The base of all events: their versions, their texts for the reference page, and how they are written as maps and read again.

An event is a dataclass that is never changed. Type checkers see to that; at run time nothing does, because a frozen dataclass
takes several times as long to make. Its docstring says what happened, `Annotated` explains a field. A field with a default may
be missing in the map, and is left out if it has its default. How a class is read and written (`Shape`) is computed on first use.
Models inside events (`as_map`, `from_map`) are written without copying plain values, because jobs of one plan share their maps.
A model that does not validate comes from an older version that checked less; it is built without validation, so that the log
stays readable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from functools import cache, cached_property
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    Self,
    TypeAlias,
    TypeVar,
    Union,
    dataclass_transform,
    get_args,
    get_origin,
)
from typing import get_type_hints as hints_of

from pydantic import BaseModel, ValidationError

from casparian_protocol.jobs import JobState
from casparian_protocol.jobs.kinds import Work, facts_of_work, unchecked_work_of

#: The fields of an event as the log stores them: plain values under the names of that version.
EventData: TypeAlias = dict[str, Any]
Read = Callable[[Any], Any]
E = TypeVar("E", bound="Event")

#: The fields that name an event's subject, the id or name that a user would search for; the first one present counts.
_SUBJECTS = ("job_id", "contract_id", "scan_id", "source_id", "worker_id", "rule_id", "name", "parser", "output", "tag")


class MalformedEvent(ValueError):
    """A map that is not an event of this type and version."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field, for the reference page."""

    name: str
    meaning: str
    may_be_missing: bool


@dataclass(frozen=True)
class About:
    """The facts about a type of event."""

    name: str
    meaning: str
    version: int
    #: Whether it waits for the next batch instead of causing one.
    is_lazy: bool
    #: The states that its job may have after it; empty: it changes no state.
    leads_to: tuple[JobState, ...]
    _event: type[Event]

    @property
    def fields(self) -> tuple[Field, ...]:
        return (self._event._shape or _shape_of(self._event)).described()

    @cached_property
    def has_text_keys(self) -> bool:
        """Whether the field types guarantee that every key of every map in it is text."""
        return not any(_is_open(hint) for hint in hints_of(self._event, include_extras=True).values())


class Event:
    """A past fact. The log says who recorded it, when, and what led to it."""

    __slots__ = ()
    about: ClassVar[About]
    _shape: ClassVar[Shape | None] = None

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """The event of a recorded map, in this version. Raises `MalformedEvent`."""
        shape = cls._shape or _shape_of(cls)
        if shape.readers:
            data = dict(data)
            for name, read in shape.readers:
                value = data.get(name)
                if value is not None:
                    try:
                        data[name] = read(value)
                    except (TypeError, ValueError, KeyError, AttributeError) as cause:
                        raise MalformedEvent(f"{cls.about.name}.{name}: {cause}") from cause
        try:
            return cls(**data)
        except TypeError:
            return cls(**shape.known(data))

    def to_data(self) -> EventData:
        """The event as a map for the log. Raises `MalformedEvent` if a field has the wrong type."""
        return (self._shape or _shape_of(type(self))).write(self)

    @property
    def subject(self) -> str:
        """The subject of the event: the id or name that a user would search for."""
        for name in (self._shape or _shape_of(type(self))).subjects:
            if value := getattr(self, name):
                return str(value)
        return ""


@dataclass(frozen=True, slots=True)
class Unknown(Event):
    """An event of a newer program. Code that only shows events shows its data; code that folds the log refuses it."""

    type: str
    version: int
    data: EventData

    def to_data(self) -> EventData:
        return self.data

    @property
    def subject(self) -> str:
        return next((str(self.data[name]) for name in _SUBJECTS if self.data.get(name)), "")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def event(
    *, version: int = 1, is_lazy: bool = False, leads_to: tuple[JobState, ...] = ()
) -> Callable[[type[E]], type[E]]:
    """Make a class with annotated fields a type of event."""

    def made(written: type[E]) -> type[E]:
        cls = dataclass(slots=True, kw_only=True, unsafe_hash=True)(written)
        meaning = " ".join((cls.__doc__ or "").split())
        cls.about = About(cls.__name__, meaning, version, is_lazy, leads_to, cls)
        return cls

    return made


def _shape_of(cls: type[Event]) -> Shape:
    shape = cls._shape = Shape(cls)
    return shape


class Shape:
    """How the fields of one type of event are checked, written and read."""

    def __init__(self, cls: type[Event]) -> None:
        self._event = cls.__name__
        hints = hints_of(cls, include_extras=True)
        own = fields(cls)  # type: ignore[arg-type]
        self.names = tuple(each.name for each in own)
        self._hints = [hints[name] for name in self.names]
        self._allowed = [_types_of(hint) for hint in self._hints]
        self.optional = tuple(
            (each.name, each.default if each.default_factory is MISSING else each.default_factory())
            for each in own
            if each.default is not MISSING or each.default_factory is not MISSING
        )
        named = list(zip(self.names, self._hints, strict=True))
        self.readers = tuple((name, read) for name, hint in named if (read := _reader_of(hint)) is not None)
        #: The event as a map.
        self.write = self._writer()
        self.subjects = tuple(name for name in _SUBJECTS if name in self.names)

    def _writer(self) -> Callable[[Event], EventData]:
        """A function compiled for this class, as dataclasses compile their `__init__`, because every event goes through it."""
        defaults = dict(self.optional)
        known: dict[str, Any] = {"check": self._check}
        reads, tests, required, optional = [], [], [], []
        for at, (name, hint, allowed) in enumerate(zip(self.names, self._hints, self._allowed, strict=True)):
            reads.append(f"    v{at} = event.{name}")
            if allowed:
                known[f"types{at}"] = allowed
                tests.append(f"v{at}.__class__ not in types{at}")
            write = _writer_of(hint)
            value = f"v{at}"
            if write is not None:
                known[f"write{at}"] = write
                value = f"write{at}(v{at})"
            if name in defaults:
                known[f"default{at}"] = defaults[name]
                optional.append(f"    if v{at} != default{at}:\n        data[{name!r}] = {value}")
            else:
                required.append(f"{name!r}: {value}")
        checks = [f"    if {' or '.join(tests)}:", "        check(event)"] if tests else []
        lines = [
            "def write(event):",
            *reads,
            *checks,
            f"    data = {{{', '.join(required)}}}",
            *optional,
            "    return data",
        ]
        exec("\n".join(lines), known)  # noqa: S102 -- made of our own field names
        made: Callable[[Event], EventData] = known["write"]
        return made

    def _check(self, event: Event) -> None:
        """Raise `MalformedEvent` for the first field whose value has the wrong type."""
        for name, allowed in zip(self.names, self._allowed, strict=True):
            value = getattr(event, name)
            if allowed and type(value) not in allowed:
                raise MalformedEvent(f"{self._event}.{name} is {type(value).__name__}, {str(value)[:80]!r}")

    def known(self, data: Mapping[str, Any]) -> EventData:
        """The map without unknown fields. Raises `MalformedEvent` if a field is missing."""
        may_be_missing = {name for name, _default in self.optional}
        missing = [name for name in self.names if name not in data and name not in may_be_missing]
        if missing:
            raise MalformedEvent(f"{self._event} has no {', '.join(missing)}")
        return {name: value for name, value in data.items() if name in self.names}

    def described(self) -> tuple[Field, ...]:
        may_be_missing = {name for name, _default in self.optional}
        return tuple(
            Field(name, _meaning_of(hint), name in may_be_missing)
            for name, hint in zip(self.names, self._hints, strict=True)
        )


# --- reading annotations ----------------------------------------------------------------------------------------------


def _is_open(hint: Any) -> bool:
    """Whether the annotation is a map whose values may be maps with keys of any type; models check their own maps."""
    options = _options(hint)
    return any(
        option is Any or (not isinstance(option, type) and any(_is_open(part) for part in get_args(option)))
        for option in options
    )


def _meaning_of(hint: Any) -> str:
    texts = [each for each in getattr(hint, "__metadata__", ()) if isinstance(each, str)]
    return texts[0] if texts else ""


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is Annotated else hint


def _options(hint: Any) -> list[Any]:
    """The members of a union, or the type itself."""
    hint = _bare(hint)
    if get_origin(hint) in (Union, UnionType):
        return [option for part in get_args(hint) for option in _options(part)]
    return [hint]


def _types_of(hint: Any) -> frozenset[type]:
    """The types that a value may have; empty: any."""
    found: set[type] = set()
    for option in _options(hint):
        origin = get_origin(option)
        if option is Any:
            return frozenset()
        if option is float:
            found |= {float, int}
        elif origin is Literal:
            found |= {type(each) for each in get_args(option)}
        elif origin is tuple or option is tuple:
            found.add(tuple)
        elif isinstance(origin, type) and issubclass(origin, Mapping):
            found.add(dict)
        else:
            found.add(option if isinstance(option, type) else origin)
    return frozenset(found)


def _converted(hint: Any) -> Any:
    """The type of the annotation to which a plain value must be converted; None: no conversion."""
    for option in _options(hint):
        if get_origin(option) is tuple:
            return option
        if isinstance(option, type) and option is not NoneType and issubclass(option, BaseModel | StrEnum | tuple):
            return option
    return None


def _reader_of(hint: Any) -> Read | None:
    kind = _converted(hint)
    if kind is None:
        return None
    if get_origin(kind) is tuple:
        each = _reader_of(get_args(kind)[0])
        return tuple if each is None else lambda values: tuple(map(each, values))
    if issubclass(kind, BaseModel):
        return lambda value: from_map(kind, value)
    if issubclass(kind, tuple):  # a named one
        return lambda values: kind(*values)
    members = {member.value: member for member in kind}
    return lambda value: members[value] if value in members else kind(value)  # a call of the class is slow


def _writer_of(hint: Any) -> Read | None:
    kind = _converted(hint)
    if kind is None:
        return None
    if get_origin(kind) is tuple:
        each = _writer_of(get_args(kind)[0])
        return list if each is None else lambda values: list(map(each, values))
    if issubclass(kind, BaseModel):
        return as_map
    if issubclass(kind, StrEnum):
        return str.__str__
    return list


# --- models inside events ---------------------------------------------------------------------------------------------

Write: TypeAlias = Callable[[Any], Any]
M = TypeVar("M", bound=BaseModel)


def as_map(model: BaseModel) -> EventData:
    """The model as a map of plain values: the same as `model_dump`, but faster. Values are shared and must not be changed."""
    writers = _writers(type(model))
    if not writers:
        return model.__dict__
    data = dict(model.__dict__)
    for name, write in writers:
        value = data[name]
        if value or value.__class__ is tuple:  # nothing in it has to be written otherwise
            data[name] = write(value)
    return data


def from_map(model: type[M], data: Mapping[str, Any]) -> M:
    """The model of a map written by `as_map`."""
    try:
        return model.model_validate(data)
    except ValidationError:
        return _unchecked(model, data)


@cache
def _writers(model: type[BaseModel]) -> tuple[tuple[str, Write], ...]:
    """Functions that write the fields with models or tuples."""
    found = ((name, _writer(field.annotation)) for name, field in model.model_fields.items())
    return tuple((name, write) for name, write in found if write is not None)


def _writer(annotation: Any) -> Write | None:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _writer(parts[0])
    if origin in (Union, UnionType):
        return next((write for part in parts if (write := _writer(part)) is not None), None)
    if origin is tuple:
        return list
    if origin in (list, dict):
        each = _writer(parts[-1])
        return None if each is None else _of_each(each) if origin is list else _of_values(each)
    if not isinstance(annotation, type):
        return None
    return as_map if issubclass(annotation, BaseModel) else facts_of_work if issubclass(annotation, Work) else None


def _of_each(write: Write) -> Write:
    return lambda values: [write(value) for value in values]


def _of_values(write: Write) -> Write:
    return lambda values: {key: write(value) for key, value in values.items()}


def _unchecked(model: type[M], data: Mapping[str, Any]) -> M:
    fields = model.model_fields
    return model.model_construct(
        **{name: _value(fields[name].annotation, value) for name, value in data.items() if name in fields}
    )


def _value(annotation: Any, value: Any) -> Any:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _value(parts[0], value)
    if origin in (Union, UnionType):
        return _value(_member(parts, value), value)
    if isinstance(annotation, type) and isinstance(value, Mapping):
        if issubclass(annotation, Work):
            return unchecked_work_of(value)
        if issubclass(annotation, BaseModel):
            return _unchecked(annotation, value)
    if origin is list and isinstance(value, list):
        return [_value(parts[0], each) for each in value]
    if origin is dict and isinstance(value, dict):
        return {key: _value(parts[1], each) for key, each in value.items()}
    return value


def _member(parts: tuple[Any, ...], value: Any) -> Any:
    """The member of a union that a value belongs to; models are distinguished by the literal in their `kind`."""
    models = [part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)]
    if not models or not isinstance(value, Mapping):
        return None
    for model in models:
        kind = model.model_fields.get("kind")
        if (
            kind is not None
            and get_origin(kind.annotation) is Literal
            and value.get("kind") in get_args(kind.annotation)
        ):
            return model
    return models[0]
