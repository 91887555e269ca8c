"""The code that runs inside a guest, and the library that authors of parsers import.

Authors use the names in `__all__`; each is imported on first use, because `import casparian_shim` must not import pyarrow.
`guest` is the program that a worker starts, `running` finds and calls the parser, `emitting` sends its rows, `arrow` makes record
batches, `sdk` reads inputs, and `frames` is the protocol between guest and worker. `frames`, `errors`, `trace`, `safe` and
`process` use only the standard library, and every other package of Casparian uses them too.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casparian_shim.context import Context
    from casparian_shim.sdk.readers import read_csv, read_fixed_width, read_lines
    from casparian_shim.sdk.values import Output, decimal, timestamp

__all__ = ["Context", "Output", "decimal", "read_csv", "read_fixed_width", "read_lines", "timestamp"]

_HOMES = {
    "Context": "context",
    "Output": "sdk.values",
    "decimal": "sdk.values",
    "read_csv": "sdk.readers",
    "read_fixed_width": "sdk.readers",
    "read_lines": "sdk.readers",
    "timestamp": "sdk.values",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
