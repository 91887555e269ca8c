"""How a column travels whose values fit no one Arrow type: each value beside its kind.

The field is marked (`MIXED_METADATA`) and has the Arrow type `struct<kind: uint8, value: binary>`; neither the struct
nor `kind` is ever NULL, and `value` is NULL for the kind `NULL` alone. What `value` holds, as ASCII if not said otherwise:

| kind | value |
|---|---|
| `TEXT` | the text itself, UTF-8 |
| `BOOL` | `true` or `false` |
| `INT` | digits, a `-` before them if negative; any length |
| `FLOAT`, `FLOAT32` | the shortest digits that read back to it in that width, or `nan`, `inf`, `-inf` |
| `DECIMAL` | its digits as Python writes them, or `NaN`, `Infinity`, … |
| `DATE` | days since 1970-01-01 |
| `DATETIME`, `INSTANT` | microseconds since 1970-01-01T00:00, without a zone and in UTC |
| `DATETIME_NS`, `INSTANT_NS` | the same in nanoseconds, for what is finer than microseconds |
| `TIME` | microseconds since midnight |
| `DURATION`, `DURATION_NS` | microseconds, nanoseconds |
| `BYTES` | the bytes |
| `LIST` | a JSON array of `[kind, value]`, bytes in it as hexadecimal, lists and dicts as their arrays and objects |
| `DICT` | a JSON object of name → `[kind, value]` |
| `OTHER` | for people: what came instead of a value (UTF-8) |

Standard library only. Writing is `casparian_shim.arrow.kinds`', reading and judging the worker's.
"""

from enum import IntEnum

#: Marks a field of the type described above. The frames' schema is the only place that says so.
MIXED_METADATA = {b"cf.fallback": b"kinds"}
MIXED_FIELDS = (("kind", "uint8"), ("value", "binary"))

#: Deeper lists and dicts are `OTHER`: no type of a contract nests deeper.
NESTED_DEPTH_MAX = 16


class ValueKind(IntEnum):
    """What a value is, whatever stands beside it."""

    NULL = 0
    TEXT = 1
    BOOL = 2
    INT = 3
    FLOAT = 4
    DECIMAL = 5
    DATE = 6
    DATETIME = 7
    DATETIME_NS = 8
    INSTANT = 9
    INSTANT_NS = 10
    TIME = 11
    DURATION = 12
    DURATION_NS = 13
    BYTES = 14
    LIST = 15
    DICT = 16
    OTHER = 17
    #: As one with the width of a double it would read otherwise: 0.1 is 0.10000000149011612 there.
    FLOAT32 = 18
