"""Types for fields set by another process, a parser or a person: numbers, texts and maps with limits.

A value that passed one of these types fits a table's column, a timestamp and msgpack, so later code need not check it again.
`sum_within` bounds a sum of counts. `events.packing` checks the size of a whole event.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, Field

from casparian_shim.safe import COUNT_MAX, INT32_MAX, INT32_MIN, INT64_MAX, INT64_MIN

__all__ = ["COUNT_MAX", "INT32_MAX", "INT32_MIN", "INT64_MAX", "INT64_MIN"]

#: 9999-12-31T23:59:59Z, the last second that a `datetime` can hold.
MICROSECONDS_MAX = 253_402_300_799_000_000
#: About a hundred years. The present plus this is still a valid time.
SECONDS_MAX = 3_200_000_000.0
_JSON_DEPTH = 16
_JSON_TEXT = 64 * 1024
_SCALAR_TEXT = 16 * 1024

# --- numbers ----------------------------------------------------------------------------------------------------------

#: A count: rows, bytes, sequences, epochs.
Count = Annotated[int, Field(ge=0, le=COUNT_MAX)]
PositiveCount = Annotated[int, Field(ge=1, le=COUNT_MAX)]
#: The range of an integer column.
Int32 = Annotated[int, Field(ge=INT32_MIN, le=INT32_MAX)]
#: Process ids, slots, columns, attempts, versions.
SmallCount = Annotated[int, Field(ge=0, le=INT32_MAX)]
PositiveSmallCount = Annotated[int, Field(ge=1, le=INT32_MAX)]
#: A moment: µs since the epoch, UTC.
Microseconds = Annotated[int, Field(ge=0, le=MICROSECONDS_MAX)]
#: A duration.
Seconds = Annotated[float, Field(ge=0, le=SECONDS_MAX)]
#: Items, rows or bytes a second; percent.
Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Int64 = Annotated[int, Field(ge=INT64_MIN, le=INT64_MAX)]
Finite = Annotated[float, Field(allow_inf_nan=False)]

# --- texts; pydantic refuses lone surrogates in all of them -----------------------------------------------------------

ShortText = Annotated[str, Field(max_length=255)]
ReasonText = Annotated[str, Field(max_length=1024)]
LongText = Annotated[str, Field(max_length=4096)]
#: A path, which contains no NUL.
PathText = Annotated[str, Field(min_length=1, max_length=4096, pattern=r"^[^\x00]*$")]
#: BLAKE3 or SHA-256 in hex, or empty.
HashText = Annotated[str, Field(max_length=64)]
#: A job's id.
JobId = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
WorkerId = Annotated[str, Field(pattern=r"^[a-zA-Z0-9._:-]{1,64}$")]
#: An id of Casparian, or empty.
IdText = Annotated[str, Field(max_length=64)]
#: A name that parsers and outputs may have.
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
IdentifierOrNone = Annotated[str, Field(pattern=r"^(?:[a-z][a-z0-9_]{0,62})?$")]
VersionText = Annotated[str, Field(max_length=64)]
TagText = Annotated[str, Field(max_length=128)]

# --- values whose type the sender chooses -----------------------------------------------------------------------------

#: A parameter, an option or a fact about a failure.
Scalar = Annotated[str, Field(max_length=_SCALAR_TEXT)] | Int64 | Finite | bool | None


def _check_json(value: Any) -> Any:
    _check_part(value, 0)
    return value


def _check_part(value: Any, depth: int) -> None:
    if depth > _JSON_DEPTH:
        raise ValueError(f"it is nested deeper than {_JSON_DEPTH}")
    match value:
        case None | bool():
            return
        case int():
            if not INT64_MIN <= value <= INT64_MAX:
                raise ValueError("a number does not fit 64 bits")
        case float():
            if not math.isfinite(value):
                raise ValueError("a number is not finite")
        case str():
            if len(value) > _JSON_TEXT:
                raise ValueError(f"a text has more than {_JSON_TEXT} characters")
            if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
                raise ValueError("a text contains half a character")
        case list() | tuple():
            for part in value:
                _check_part(part, depth + 1)
        case dict():
            for name, part in value.items():
                if not isinstance(name, str):
                    raise ValueError("a name is not text")
                _check_part(name, depth + 1)
                _check_part(part, depth + 1)
        case _:
            raise ValueError(f"a {type(value).__name__} is not a plain value")


#: Plain values of any shape that msgpack and JSON can hold.
Json = Annotated[Any, AfterValidator(_check_json)]


M = TypeVar("M", bound=BaseModel)
_FIELDS: dict[type[BaseModel], set[str]] = {}
#: The slots of a model are set directly, because a model refuses to be changed, and `object.__setattr__` looks each one up.
_new: Any = object.__new__
_put_values, _put_names, _put_extra, _put_private = (
    vars(BaseModel)[name].__set__
    for name in ("__dict__", "__pydantic_fields_set__", "__pydantic_extra__", "__pydantic_private__")
)


def trusted(model: type[M], values: dict[str, object]) -> M:
    """An instance with these values for all its fields, which were checked before. It is several times faster than checking."""
    instance: M = _new(model)
    names = _FIELDS.get(model)
    if names is None:
        names = _FIELDS[model] = set(model.model_fields)
    _put_values(instance, values)
    _put_names(instance, names)  # one set for all instances: pydantic copies it before it changes it
    _put_extra(instance, None)
    _put_private(instance, None)
    return instance


def sum_within(counts: Iterable[int], what: str) -> int:
    """The sum. Raises `ValueError` when it exceeds a `Count`."""
    total = sum(counts)
    if not 0 <= total <= COUNT_MAX:
        raise ValueError(f"{what} add up to more than {COUNT_MAX:,}")
    return total
