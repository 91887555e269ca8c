"""The code that runs inside a guest, and the library that authors of parsers import.

Authors use the names in `__all__`; each is imported on first use, because `import casparian_shim` must not import pyarrow.
`guest` is the program that a worker starts, `running` finds and calls the parser, `emitting` sends its rows, `arrow` makes record
batches, `readers` reads inputs, `values` and `times` read numbers and times from text, and `frames` is the protocol between guest
and worker. `frames`, `errors`, `trace`, `safe` and `process` use only the standard library, and every other package of Casparian
uses them too.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from casparian_shim.context import Context
    from casparian_shim.readers.blocks import BadHeader, BadRecord, NotTheEncoding
    from casparian_shim.readers.csv import read_csv
    from casparian_shim.readers.excel import read_excel, sheet_names
    from casparian_shim.readers.fixed_width import (
        Field,
        binary_number,
        copybook,
        overpunch,
        packed_decimal,
        read_fixed_width,
        zoned_decimal,
    )
    from casparian_shim.readers.json_stream import read_json
    from casparian_shim.readers.jsonl import read_jsonl
    from casparian_shim.readers.members import member_names, open_member
    from casparian_shim.readers.multiline import read_records
    from casparian_shim.readers.segments import Segment, read_segments
    from casparian_shim.readers.text import read_lines
    from casparian_shim.readers.xml import read_xml
    from casparian_shim.times import timestamp
    from casparian_shim.values import Output, decimal

__all__ = [
    "BadHeader",
    "BadRecord",
    "Context",
    "Field",
    "NotTheEncoding",
    "Output",
    "Segment",
    "binary_number",
    "copybook",
    "decimal",
    "member_names",
    "open_member",
    "overpunch",
    "packed_decimal",
    "read_csv",
    "read_excel",
    "read_fixed_width",
    "read_json",
    "read_jsonl",
    "read_lines",
    "read_records",
    "read_segments",
    "read_xml",
    "sheet_names",
    "timestamp",
    "zoned_decimal",
]

_HOMES = {
    "BadHeader": "readers.blocks",
    "BadRecord": "readers.blocks",
    "Context": "context",
    "Field": "readers.fixed_width",
    "NotTheEncoding": "readers.blocks",
    "Output": "values",
    "Segment": "readers.segments",
    "binary_number": "readers.fixed_width",
    "copybook": "readers.fixed_width",
    "decimal": "values",
    "member_names": "readers.members",
    "open_member": "readers.members",
    "overpunch": "readers.fixed_width",
    "packed_decimal": "readers.fixed_width",
    "read_csv": "readers.csv",
    "read_excel": "readers.excel",
    "read_fixed_width": "readers.fixed_width",
    "read_json": "readers.json_stream",
    "read_jsonl": "readers.jsonl",
    "read_lines": "readers.text",
    "read_records": "readers.multiline",
    "read_segments": "readers.segments",
    "read_xml": "readers.xml",
    "sheet_names": "readers.excel",
    "timestamp": "times",
    "zoned_decimal": "readers.fixed_width",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
