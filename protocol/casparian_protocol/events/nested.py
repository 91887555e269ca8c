"""Models inside events as plain maps, and back.

Writing copies nothing that is plain already: jobs of one plan share their maps. Reading validates; what does not validate
was written by a version that checked less, and is built without: whoever uses it finds out, the log stays readable.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, TypeAlias, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from casparian_protocol.jobs.kinds import Work, facts_of_work, unchecked_work_of

Write: TypeAlias = Callable[[Any], Any]
M = TypeVar("M", bound=BaseModel)


def as_map(model: BaseModel) -> dict[str, Any]:
    """The model as a map of plain values; the same as `model_dump`, quicker. What it holds is shared, and not to be changed."""
    writers = _writers(type(model))
    if not writers:
        return model.__dict__
    data = dict(model.__dict__)
    for name, write in writers:
        value = data[name]
        if value is not None:
            data[name] = write(value)
    return data


def from_map(model: type[M], data: Mapping[str, Any]) -> M:
    """The model that was written as this map."""
    try:
        return model.model_validate(data)
    except ValidationError:
        return _unchecked(model, data)


@cache
def _writers(model: type[BaseModel]) -> tuple[tuple[str, Write], ...]:
    """How the fields are written that hold models or tuples."""
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
    """Which member of a union a value is: models are told apart by the literal that their `kind` is."""
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
