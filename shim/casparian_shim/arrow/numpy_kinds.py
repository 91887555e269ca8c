"""numpy's scalars and arrays as values of a row. Imported only when a parser gave one; numpy itself is the parser's."""

from collections.abc import Callable
from typing import Any

from casparian_shim.arrow.kinds import NULL, Kinded, described, kinded
from casparian_shim.frames.mixed import ValueKind

_Reader = Callable[[Any, int], Kinded]
_INT64_MIN = -(2**63)


def reader_for(kind: type, numpy: Any) -> _Reader | None:
    """The reader of one of numpy's own classes; None leaves it to the class it derives from (`float64`, `str_`)."""
    for name, reader in _BY_NAME.items():
        base = getattr(numpy, name, None)
        if isinstance(base, type) and issubclass(kind, base):
            return reader
    return None


def _bool(value: Any, depth: int) -> Kinded:
    return ValueKind.BOOL, bool(value)


def _integer(value: Any, depth: int) -> Kinded:
    return ValueKind.INT, int(value)


def _floating(value: Any, depth: int) -> Kinded:
    plain = float(value)
    if plain != value and value == value:  # a long double that a double does not hold
        return ValueKind.OTHER, described(type(value))
    return ValueKind.FLOAT, plain


def _single(value: Any, depth: int) -> Kinded:
    return ValueKind.FLOAT32, float(value)


def _datetime64(value: Any, depth: int) -> Kinded:
    unit, count = _count(value, ("D", "us", "ns"))
    if count is None:
        return NULL
    if unit == "D":
        return ValueKind.DATE, count
    return (ValueKind.DATETIME if unit == "us" else ValueKind.DATETIME_NS), count


def _timedelta64(value: Any, depth: int) -> Kinded:
    unit, count = _count(value, ("us", "ns"))
    if count is None:
        return NULL
    return (ValueKind.DURATION if unit == "us" else ValueKind.DURATION_NS), count


def _count(value: Any, units: tuple[str, ...]) -> tuple[str, int | None]:
    """The count in the coarsest unit that is exact; None for NaT. ValueError where none is: numpy overflows silently."""
    if value != value:
        return units[0], None
    own = str(value.dtype).partition("[")[2].rstrip("]")
    wanted = units if own in ("Y", "M", "W", "D") else tuple(unit for unit in units if unit != "D")
    for unit in wanted:
        kind = type(value)
        count = int(value.astype(f"{value.dtype.kind}8[{unit}]").astype("i8"))
        if count != _INT64_MIN and kind(kind(count, unit), own) == value and kind(count, unit) == value:
            return unit, count
    raise ValueError(own)


def _ndarray(value: Any, depth: int) -> Kinded:
    return kinded(list(value), depth) if value.ndim else kinded(value[()], depth)


_BY_NAME: dict[str, _Reader] = {
    "bool_": _bool,
    "float64": lambda value, depth: (ValueKind.FLOAT, float.__float__(value)),
    "timedelta64": _timedelta64,  # before `integer`: to numpy it is one
    "integer": _integer,
    "float32": _single,
    "float16": _single,
    "floating": _floating,
    "datetime64": _datetime64,
    "ndarray": _ndarray,
}
