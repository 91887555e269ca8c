"""A named query: a frozen dataclass whose fields are its parameters, typed by its rows.

The rows of `Query[JobListed]` are of the `TypedDict` `JobListed`. The SQL is next to the tables
(`casparian_sentinel.projection.queries`), so front ends contain none. A query is sent as the name of its class and its fields.
Times in rows are µs UTC.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Generic, TypeVar, get_args, get_type_hints

from pydantic import TypeAdapter, ValidationError

from casparian_protocol.packing import first_fault

RowT = TypeVar("RowT")

#: All queries by name.
QUERIES: dict[str, type[Query[Any]]] = {}


class UnknownQuery(ValueError):
    """The name or a parameter of a query is unknown; the message says which."""


@dataclass(frozen=True)
class Query(Generic[RowT]):
    """The base of all queries. A subclass is a query under its own name."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        QUERIES[cls.__name__] = cls

    @classmethod
    def row_type(cls) -> type[Any]:
        """The `TypedDict` of its rows."""
        (row,) = get_args(cls.__orig_bases__[0])  # type: ignore[attr-defined]
        found: type[Any] = row
        return found

    @classmethod
    def columns(cls) -> list[str]:
        return list(get_type_hints(cls.row_type()))


def name_of(query: Query[Any]) -> str:
    return type(query).__name__


def parameters_of(query: Query[Any]) -> dict[str, object]:
    """The parameters as sent and as named in the SQL: `$limit` is the field `limit`."""
    return {name: _plain(value) for name, value in asdict(query).items()}


@dataclass(frozen=True, slots=True)
class Found(Generic[RowT]):
    """The rows that answer a query, as of event `seq`."""

    seq: int
    rows: list[RowT]


def query_of(name: str, parameters: dict[str, object]) -> Query[Any]:
    """The query with this name and these parameters. Raises `UnknownQuery`."""
    kind = QUERIES.get(name)
    if kind is None:
        raise UnknownQuery(f"{name[:80]} is not a query")
    if unknown := parameters.keys() - {field.name for field in fields(kind)}:
        raise UnknownQuery(f"{name} has no parameter {min(unknown)[:80]}")
    try:
        made: Query[Any] = TypeAdapter(kind).validate_python(parameters)
    except ValidationError as cause:
        raise UnknownQuery(f"{name}: {first_fault(cause)}") from cause
    return made


def _plain(value: object) -> object:
    return list(value) if isinstance(value, tuple | set | frozenset) else value
