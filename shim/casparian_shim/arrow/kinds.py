"""The kind and the exact value of one Python object of any class.

An object that only looks like a number, or whose methods raise, is `OTHER`, described by its class name: `str` and `repr` of an
unknown class are never called. Numbers, texts and times of subclasses are read without the methods that the subclass overrides.
numpy's scalars and arrays are recognised without importing numpy.
"""

import datetime
import json
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any

from casparian_shim.frames.kinds import NESTED_DEPTH_MAX, ValueKind
from casparian_shim.safe import plain_decimal

#: The exact value in plain types: str, bool, int (also for counts of times), float, Decimal, bytes; a list of `Kinded`;
#: a dict of name → `Kinded`. `OTHER` has its description.
Kinded = tuple[ValueKind, Any]
_Reader = Callable[[Any, int], Kinded]
NULL: Kinded = (ValueKind.NULL, None)
_DESCRIPTION_CHARS_MAX = 200
_EPOCH_ORDINAL = 719_163
_DAY_SECONDS = 86_400
_MILLION = 1_000_000


def kinded(value: object, depth: int = 0) -> Kinded:
    """The kind of `value` and the value itself. Never raises, whatever the value is."""
    kind = type(value)
    try:
        reader = _READERS.get(kind) or _reader_for(kind)
        return reader(value, depth)
    except Exception:  # noqa: BLE001 -- an unknown class may raise anything; then it is not a value
        return _other(value, depth)


def described(kind: type) -> str:
    """A class by its name: `<set>`, `<fractions.Fraction>`. No method of the class is called."""
    names = type.__dict__["__module__"].__get__(kind), type.__dict__["__qualname__"].__get__(kind)
    module, name = (each if type(each) is str else "?" for each in names)
    full = name if module == "builtins" else f"{module}.{name}"
    return f"<{_escaped(full[:_DESCRIPTION_CHARS_MAX])}>"


def _escaped(text: str) -> str:
    """The text with lone surrogates as escapes, because Arrow cannot store them."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _other(value: object, depth: int) -> Kinded:
    return ValueKind.OTHER, described(type(value))


def _null(value: object, depth: int) -> Kinded:
    return NULL


def _text(value: str, depth: int) -> Kinded:
    text = str.__str__(value)
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate is not valid text
        return ValueKind.OTHER, _escaped(text)
    return ValueKind.TEXT, text


def _bool(value: Any, depth: int) -> Kinded:
    return ValueKind.BOOL, bool(value)


def _int(value: int, depth: int) -> Kinded:
    return ValueKind.INT, int.__index__(value)


def _float(value: float, depth: int) -> Kinded:
    return ValueKind.FLOAT, float.__float__(value)


def _decimal(value: Decimal, depth: int) -> Kinded:
    return ValueKind.DECIMAL, value if type(value) is Decimal else Decimal(value)


def _bytes(value: bytes | bytearray | memoryview, depth: int) -> Kinded:
    return ValueKind.BYTES, bytes(memoryview(value))


def _date(value: datetime.date, depth: int) -> Kinded:
    return ValueKind.DATE, datetime.date.toordinal(value) - _EPOCH_ORDINAL


def _datetime(value: datetime.datetime, depth: int) -> Kinded:
    days = datetime.date.toordinal(value) - _EPOCH_ORDINAL
    seconds = days * _DAY_SECONDS + value.hour * 3600 + value.minute * 60 + value.second
    micros = seconds * _MILLION + value.microsecond
    offset = value.utcoffset()
    if offset is not None:
        micros -= _micros(offset)
    nanos = int(getattr(value, "nanosecond", 0))  # pandas' timestamps have them
    if nanos:
        return (ValueKind.DATETIME_NS if offset is None else ValueKind.INSTANT_NS), micros * 1000 + nanos
    return (ValueKind.DATETIME if offset is None else ValueKind.INSTANT), micros


def _time(value: datetime.time, depth: int) -> Kinded:
    if value.tzinfo is not None:
        return ValueKind.OTHER, f"{value.replace(tzinfo=None).isoformat()} with a zone"
    return ValueKind.TIME, (value.hour * 3600 + value.minute * 60 + value.second) * _MILLION + value.microsecond


def _micros(value: datetime.timedelta) -> int:
    return (value.days * _DAY_SECONDS + value.seconds) * _MILLION + value.microseconds


def _timedelta(value: datetime.timedelta, depth: int) -> Kinded:
    nanos = int(getattr(value, "nanoseconds", 0))  # pandas' durations have them
    return (ValueKind.DURATION_NS, _micros(value) * 1000 + nanos) if nanos else (ValueKind.DURATION, _micros(value))


def _list(value: Any, depth: int) -> Kinded:
    if depth >= NESTED_DEPTH_MAX:
        return ValueKind.OTHER, f"<list nested deeper than {NESTED_DEPTH_MAX}>"
    return ValueKind.LIST, [kinded(item, depth + 1) for item in value]


def _dict(value: dict[object, object], depth: int) -> Kinded:
    if depth >= NESTED_DEPTH_MAX:
        return ValueKind.OTHER, f"<dict nested deeper than {NESTED_DEPTH_MAX}>"
    keys = [kinded(key) for key in value]
    fields = {readable(key): kinded(item, depth + 1) for key, item in zip(keys, value.values(), strict=True)}
    if len(fields) == len(keys) and all(kind is ValueKind.TEXT for kind, _ in keys):
        return ValueKind.DICT, fields
    return ValueKind.OTHER, readable((ValueKind.DICT, fields))


def _reader_for(kind: type) -> _Reader:
    """The reader for a class that is not one of the plain ones; cached."""
    found = _foreign_reader(kind) or next((reader for base, reader in _FAMILIES if issubclass(kind, base)), _other)
    if len(_READERS) < 1000:
        _READERS[kind] = found
    return found


def _foreign_reader(kind: type) -> _Reader | None:
    module, name = (type.__dict__[each].__get__(kind) for each in ("__module__", "__name__"))
    package = module.split(".")[0] if type(module) is str else ""
    if package == "pandas" and name in ("NaTType", "NAType"):
        return _null  # pandas' equivalent of None
    if module == "uuid" and name == "UUID":
        return lambda value, depth: (
            ValueKind.BYTES,
            value.int.to_bytes(_UUID_BYTES, "big"),
        )  # as in a column of Arrow's
    numpy = sys.modules.get("numpy") if package == "numpy" else None
    if numpy is not None:
        return _numpy_reader_for(kind, numpy)
    if package == "pyarrow" and name == "MonthDayNano":
        return lambda value, depth: (ValueKind.OTHER, f"{value[0]} months, {value[1]} days, {value[2]} ns")
    return _arrow_scalar if package == "pyarrow" and name.endswith("Scalar") else None


def _arrow_scalar(value: Any, depth: int) -> Kinded:
    unit = getattr(value.type, "unit", "")
    if unit == "ns" and value.is_valid and hasattr(value.type, "tz"):
        count, is_naive = int(value.value), value.type.tz is None
        if count % 1000:
            return (ValueKind.DATETIME_NS if is_naive else ValueKind.INSTANT_NS), count
        return (ValueKind.DATETIME if is_naive else ValueKind.INSTANT), count // 1000
    if str(value.type) in ("float", "halffloat") and value.is_valid:
        return ValueKind.FLOAT32, value.as_py()
    return kinded(value.as_py(), depth)


_FAMILIES: tuple[tuple[Any, _Reader], ...] = (
    (str, _text),
    (datetime.datetime, _datetime),
    (datetime.date, _date),
    (datetime.time, _time),
    (datetime.timedelta, _timedelta),
    ((bytes, bytearray, memoryview), _bytes),
    ((list, tuple), _list),
    (dict, _dict),
    (Decimal, _decimal),
    (int, _int),
    (float, _float),
)
_UUID_BYTES = 16
_READERS: dict[type, _Reader] = {
    type(None): _null,
    str: _text,
    bool: _bool,
    int: _int,
    float: _float,
    Decimal: _decimal,
    bytes: _bytes,
    datetime.date: _date,
    datetime.datetime: _datetime,
    datetime.time: _time,
    datetime.timedelta: _timedelta,
    list: _list,
    tuple: _list,
    dict: _dict,
}


#: Immutable classes, and classes of which no mutable value is read; more are added at run time.
_UNCHANGING: set[type] = {
    *(type(None), str, bool, int, float, Decimal, bytes),
    *(datetime.date, datetime.datetime, datetime.time, datetime.timedelta),
}


def copied_row(row: Mapping[str, object]) -> dict[str, object]:
    """A copy that does not change if the parser reuses the row, or a list or dict in it, for the next record."""
    copy = dict(row)
    try:
        if _UNCHANGING.issuperset(map(type, copy.values())):  # this is the result for nearly every row
            return copy
    except Exception:  # noqa: BLE001, S110 -- an unknown metaclass may refuse to be hashed
        pass
    return {name: _copied(value, 0) for name, value in copy.items()}


def _copied(value: Any, depth: int) -> object:
    """The value with every list, dict, byte array and numpy array in it copied; `kinded` gives the same result for it."""
    kind = type(value)
    try:
        if issubclass(kind, tuple | list | dict) and depth < NESTED_DEPTH_MAX:
            if issubclass(kind, dict):
                return {key: _copied(item, depth + 1) for key, item in zip(value, value.values(), strict=True)}
            items = [_copied(item, depth + 1) for item in value]
            return tuple(items) if issubclass(kind, tuple) else items
        if issubclass(kind, bytearray | memoryview):
            return bytes(memoryview(value))
        numpy = sys.modules.get("numpy")
        if numpy is None or not issubclass(kind, numpy.ndarray):
            if not issubclass(kind, tuple | list | dict) and len(_UNCHANGING) < 1000:
                _UNCHANGING.add(kind)
            return value
        return _copied(list(value), depth) if value.dtype.hasobject and value.ndim else numpy.array(value)
    except Exception:  # noqa: BLE001 -- an unknown class may raise anything; `kinded` says what it is
        return value


def payload(value: Kinded) -> bytes | None:
    """The value in the form used in a mixed column (`casparian_shim.frames.kinds`)."""
    kind, plain = value
    if kind is ValueKind.BYTES:
        return bytes(plain)
    if kind in (ValueKind.LIST, ValueKind.DICT):
        return json.dumps(_tree(value)[1]).encode()
    text = leaf_text(kind, plain)
    return None if text is None else text.encode()


def leaf_text(kind: ValueKind, plain: Any) -> str | None:
    """Any value except a list or dict, as text."""
    match kind:
        case ValueKind.NULL:
            return None
        case ValueKind.TEXT | ValueKind.OTHER:
            return str(plain)
        case ValueKind.BOOL:
            return "true" if plain else "false"
        case ValueKind.FLOAT:
            return repr(plain)
        case ValueKind.FLOAT32:
            return _single_text(plain)
        case ValueKind.BYTES:
            return bytes(plain).hex()
    try:
        return str(plain)
    except ValueError:  # str refuses integers of more than 4,300 digits
        return str(Decimal(plain))


def _single_text(plain: float) -> str:
    """The shortest digits that give this number in single precision, as Arrow writes such a column."""
    import pyarrow as pa

    return str(pa.array([plain], pa.float32()).cast(pa.string())[0])


def _tree(value: Kinded) -> list[Any]:
    kind, plain = value
    if kind is ValueKind.LIST:
        return [int(kind), [_tree(item) for item in plain]]
    if kind is ValueKind.DICT:
        return [int(kind), {name: _tree(item) for name, item in plain.items()}]
    return [int(kind), leaf_text(kind, plain)]


def readable(value: Kinded) -> str:
    """The value as text for people: ISO 8601 for times, JSON for lists and dicts, bytes decoded or escaped."""
    kind, plain = value
    if kind in (ValueKind.LIST, ValueKind.DICT):
        return json.dumps(_json(value), ensure_ascii=False)
    if kind is ValueKind.BYTES:
        return bytes(plain).decode("utf-8", "backslashreplace")
    if kind in _ISO:
        return iso_text(kind, plain)
    if kind is ValueKind.DECIMAL:
        return plain_decimal(plain)
    return leaf_text(kind, plain) or ""


def _json(value: Kinded) -> Any:
    kind, plain = value
    match kind:
        case ValueKind.NULL | ValueKind.BOOL | ValueKind.TEXT:
            return plain
        case ValueKind.LIST:
            return [_json(item) for item in plain]
        case ValueKind.DICT:
            return {name: _json(item) for name, item in plain.items()}
        case ValueKind.INT if abs(plain) < 2**63:
            return plain
        case ValueKind.FLOAT if plain - plain == 0:
            return plain
        case ValueKind.FLOAT32 if plain - plain == 0:
            return float(_single_text(plain))
    return readable(value)


_ISO = {
    ValueKind.DATE: 0,
    ValueKind.DATETIME: 6,
    ValueKind.DATETIME_NS: 9,
    ValueKind.INSTANT: 6,
    ValueKind.INSTANT_NS: 9,
    ValueKind.TIME: 6,
    ValueKind.DURATION: 6,
    ValueKind.DURATION_NS: 9,
}


def iso_text(kind: ValueKind, count: int) -> str:
    """A count of a date, time or duration as ISO 8601, without trailing zeros in the fraction; instants end in `Z`."""
    digits = _ISO[kind]
    if kind in (ValueKind.DURATION, ValueKind.DURATION_NS):
        whole, rest = divmod(abs(count), 10**digits)
        return f"{'-' if count < 0 else ''}PT{whole}{_fraction(rest, digits)}S"
    whole, rest = divmod(count, 10**digits)
    days, seconds = (count, 0) if kind is ValueKind.DATE else divmod(whole, _DAY_SECONDS)
    clock = f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}{_fraction(rest, digits)}"
    if kind is ValueKind.TIME:
        return clock
    if not 0 < days + _EPOCH_ORDINAL <= datetime.date.max.toordinal():  # an instant near the limits, in UTC
        return f"{count} of 1/{10**digits} s since 1970-01-01T00:00:00Z"
    day = datetime.date.fromordinal(days + _EPOCH_ORDINAL).isoformat()
    if kind is ValueKind.DATE:
        return day
    return f"{day}T{clock}" + ("Z" if kind in (ValueKind.INSTANT, ValueKind.INSTANT_NS) else "")


def _fraction(rest: int, digits: int) -> str:
    return f".{rest:0{digits}d}".rstrip("0") if rest else ""


# --- numpy, which belongs to the parser and is never imported here -----------------------------------------------------

_NOT_A_TIME = -(2**63)


def _numpy_reader_for(kind: type, numpy: Any) -> _Reader | None:
    """The reader of one of numpy's own classes; None if the class it derives from decides (`float64`, `str_`)."""
    for name, reader in _NUMPY_READERS.items():
        base = getattr(numpy, name, None)
        if isinstance(base, type) and issubclass(kind, base):
            return reader
    return None


def _numpy_bool(value: Any, depth: int) -> Kinded:
    return ValueKind.BOOL, bool(value)


def _numpy_integer(value: Any, depth: int) -> Kinded:
    return ValueKind.INT, int(value)


def _numpy_floating(value: Any, depth: int) -> Kinded:
    plain = float(value)
    if plain != value and value == value:  # a long double that a double cannot hold
        return ValueKind.OTHER, described(type(value))
    return ValueKind.FLOAT, plain


def _numpy_single(value: Any, depth: int) -> Kinded:
    return ValueKind.FLOAT32, float(value)


def _numpy_datetime64(value: Any, depth: int) -> Kinded:
    unit, count = _numpy_count(value, ("D", "us", "ns"))
    if count is None:
        return NULL
    if unit == "D":
        return ValueKind.DATE, count
    return (ValueKind.DATETIME if unit == "us" else ValueKind.DATETIME_NS), count


def _numpy_timedelta64(value: Any, depth: int) -> Kinded:
    unit, count = _numpy_count(value, ("us", "ns"))
    if count is None:
        return NULL
    return (ValueKind.DURATION if unit == "us" else ValueKind.DURATION_NS), count


def _numpy_count(value: Any, units: tuple[str, ...]) -> tuple[str, int | None]:
    """The count in the coarsest exact unit; None for NaT. Raises ValueError if no unit is exact: numpy overflows silently."""
    if value != value:
        return units[0], None
    own = str(value.dtype).partition("[")[2].rstrip("]")
    wanted = units if own in ("Y", "M", "W", "D") else tuple(unit for unit in units if unit != "D")
    for unit in wanted:
        kind = type(value)
        count = int(value.astype(f"{value.dtype.kind}8[{unit}]").astype("i8"))
        if count != _NOT_A_TIME and kind(kind(count, unit), own) == value and kind(count, unit) == value:
            return unit, count
    raise ValueError(own)


def _numpy_ndarray(value: Any, depth: int) -> Kinded:
    return kinded(list(value), depth) if value.ndim else kinded(value[()], depth)


_NUMPY_READERS: dict[str, _Reader] = {
    "bool_": _numpy_bool,
    "float64": lambda value, depth: (ValueKind.FLOAT, float.__float__(value)),
    "timedelta64": _numpy_timedelta64,  # before `integer`, which includes it in numpy
    "integer": _numpy_integer,
    "float32": _numpy_single,
    "float16": _numpy_single,
    "floating": _numpy_floating,
    "datetime64": _numpy_datetime64,
    "ndarray": _numpy_ndarray,
}
