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
    """The model as a map of plain values; the same as `model_dump`, quicker, and what it shares stays shared."""
    data = dict(model.__dict__)
    for name in _nested_fields(type(model)):
        data[name] = plain(data[name])
    return data


def plain(value: Any) -> Any:
    """The value with models as maps and tuples as lists, all the way down."""
    if isinstance(value, BaseModel):
        return as_map(value)
    if isinstance(value, Work):
        return facts_of_work(value)
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return value


def from_map(model: type[M], data: Mapping[str, Any]) -> M:
    """The model that was written as this map."""
    try:
        return model.model_validate(data)
    except ValidationError:
        return _unchecked(model, data)


@cache
def _nested_fields(model: type[BaseModel]) -> tuple[str, ...]:
    """Fields whose values may hold models or tuples."""
    return tuple(name for name, field in model.model_fields.items() if _is_nested(field.annotation))


def _is_nested(annotation: Any) -> bool:
    if isinstance(annotation, type) and not get_args(annotation):
        return issubclass(annotation, BaseModel | Work | tuple)
    return get_origin(annotation) is tuple or any(_is_nested(part) for part in get_args(annotation))


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
