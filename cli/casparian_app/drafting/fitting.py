"""What a sample says about a generic premade parser: its parameters, its layout file, and the columns of its contract.

What the user gave stays as it is, and only what it leaves open is taken from the sample.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from pydantic import JsonValue

from casparian_app.drafting.plans import output_of
from casparian_app.drafting.premade import PremadeRefused, Settings
from casparian_app.inferring import DraftedContract
from casparian_protocol.contract.model import ColumnLiteral
from casparian_shim.errors import CasparianError
from casparian_shim.readers.fixed_width import Field, copybook
from casparian_worker import SYSLOG_HEADERS, ColumnFound, Detected, Dialect, Layout, Sample, ruler
from casparian_worker import Field as FieldSeen

LAYOUT_FILE = "layout.json"
_LINES_JUDGED = 1000
#: A key or member becomes a column if at least one record in so many has it; the others stay in `rest`.
_RECORDS_A_COLUMN = 100
_COLUMNS_MAX = 200
_KEY = r"[A-Za-z_][\w.\-]*="
#: Some devices write the version of RFC 5424 before a header of RFC 3164.
_SYSLOG = re.compile(rf"(?:<\d{{1,3}}>1 )?{SYSLOG_HEADERS['rfc3164']}")
_TIME = (
    r"(?P<time>\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*) "
    r"(?:\[?(?P<level>TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|FATAL|CRITICAL)\]? )?"
)
_EBCDIC_BLANK, _ASCII_BLANK = 0x40, 0x20

Fit = Callable[[Settings, Detected, Sample], Settings]


def fitted(kind: str, given: Settings, detected: Detected, sample: Sample) -> Settings:
    """The settings for this sample: those given, and what it says about the others."""
    fit = _FITS.get(kind)
    found = fit(given, detected.content, sample) if fit is not None else Settings({}, {})
    return given.over(found)


def _encoding(detected: Detected, default: str) -> dict[str, JsonValue]:
    codec = detected.codec
    return {} if codec is None or codec in ("utf-8", "utf-8-sig", default) else {"encoding": codec}


def _csv(given: Settings, detected: Detected, _sample: Sample) -> Settings:
    values = _encoding(detected, "utf-8-sig")
    dialect = detected.details
    other = isinstance(dialect, Dialect) and given.values.get("delimiter", dialect.delimiter) not in (
        dialect.delimiter,
        dialect.delimiter.encode("unicode_escape").decode(),
    )
    if not isinstance(dialect, Dialect) or other:
        return Settings(values, {})
    options = dialect.options
    for name in ("delimiter", "quote", "escape", "comment"):
        if name in options:
            values[name] = str(options[name] or "")
    if dialect.tables and all(table.header for table in dialect.tables) and "tables" not in given.values:
        values["tables"] = {
            f"table_{number}": f"^{re.escape(table.header)}$" for number, table in enumerate(dialect.tables, 1)
        }
        return Settings(values, {})
    if "header" in options:
        values["header"] = int(
            str(int(bool(options["header"]))) if options["header"] in (True, False) else str(options["header"])
        )
    if "columns" in options:
        values["columns"] = _names(dialect.names)
    for name in ("skip_lines", "footer"):
        if options.get(name):
            values[name] = int(str(options[name])) if name == "skip_lines" else str(options[name])
    if {"preamble", "tables"} & given.values.keys():
        values.pop("skip_lines", None)
    return Settings(values, {})


def _names(names: Sequence[str]) -> str:
    """Names as a parameter: with commas, or as JSON if a name has one."""
    is_plain = all("," not in name and name == name.strip() and name for name in names) and not names[0].startswith("[")
    return ",".join(names) if is_plain else json.dumps(list(names), ensure_ascii=False)


def _fixed_width(given: Settings, detected: Detected, sample: Sample) -> Settings:
    if given.values.get("copybook"):
        return _by_copybook(given, detected, sample)
    values = _encoding(detected, "utf-8")
    layout = detected.details
    if given.values.get("layout"):
        return Settings(values, {})
    if not isinstance(layout, Layout):
        raise PremadeRefused(
            f"The sample shows no columns of fixed width: it is {detected.kind} ({detected.why}).",
            remedy="Give --param layout=FILE or --param copybook=FILE.",
        )
    if layout.record_bytes is not None:
        values["framing"] = "none"
    elif any("lines end before" in doubt for doubt in detected.doubts):
        values["trailing_blanks"] = "free"
    return Settings(values, {LAYOUT_FILE: _layout_file(layout).encode()})


def _layout_file(layout: Layout) -> str:
    """The layout as JSON, with a ruler to edit it by."""
    marks = "".join(f"    {json.dumps(line)},\n" for line in ruler(layout)).rstrip(",\n")
    head = f'{{\n  "ruler": [\n{marks}\n  ],\n'
    if layout.record_types and layout.type_field is not None:
        types = ",\n".join(
            f'    {json.dumps(each.code)}: {{"output": {json.dumps(output_of(each.code))}, "fields": {{\n'
            f"{_fields(each.fields, 6)}\n    }}}}"
            for each in layout.record_types
        )
        return f'{head}  "type_at": {json.dumps(layout.type_field)},\n  "record_types": {{\n{types}\n  }}\n}}\n'
    return f'{head}  "fields": {{\n{_fields(layout.fields, 4)}\n  }}\n}}\n'


def _fields(fields: Sequence[FieldSeen], indent: int) -> str:
    return ",\n".join(
        f"{' ' * indent}{json.dumps(each.name, ensure_ascii=False)}: [{each.start}, {each.end}]" for each in fields
    )


def _by_copybook(given: Settings, detected: Detected, sample: Sample) -> Settings:
    """The encoding and the framing, by the length of a record and by which blanks there are."""
    values: dict[str, JsonValue] = {}
    head = sample.head[:65536]
    is_ebcdic = head.count(_EBCDIC_BLANK) + sum(map(head.count, range(0xF0, 0xFA))) > len(head) // 4
    if is_ebcdic and head.count(_ASCII_BLANK) * 4 < len(head):
        values["encoding"] = "cp037"
    else:
        values |= _encoding(detected, "utf-8")
    if given.values.get("records"):
        return Settings(values, {})
    length = layout_length(given)
    ends = sum(head.count(end) for end in (b"\n", b"\x15", b"\x25"))
    if head[:4] == (length + 4).to_bytes(2, "big") + b"\0\0":
        values["framing"] = "rdw"
    elif ends * length < len(head) // 2:
        values["framing"] = "none"
    return Settings(values, {})


def layout_length(given: Settings) -> int:
    """The length of the record of a copybook. Raises `PremadeRefused` if it cannot be read."""
    return max((field.end or 0 for field in fields_of(given).values()), default=1)


def fields_of(settings: Settings) -> Mapping[str, Field]:
    """The fields of the copybook's record."""
    name = str(settings.values["copybook"])
    form = str(settings.values.get("format", "7-72"))
    first, _, last = form.partition("-")
    columns = None if form == "free" else (int(first), int(last))
    take = [each.strip() for each in str(settings.values.get("take", "")).split(",") if each.strip()]
    try:
        book = copybook(settings.files[name].decode("utf-8"), columns=columns)
        return book.layout(str(settings.values.get("record", "")) or None, take=take).fields
    except (CasparianError, ValueError) as cause:
        raise PremadeRefused(
            f"{name}: {str(cause).rstrip('.')}.", remedy="Correct the copybook, or give --param record= or format=free."
        ) from cause


def _encoding_alone(_given: Settings, detected: Detected, _sample: Sample) -> Settings:
    return Settings(_encoding(detected, "utf-8"), {})


def _key_value(given: Settings, detected: Detected, sample: Sample) -> Settings:
    values = _encoding(detected, "utf-8")
    text = sample.head.decode(detected.codec or "utf-8", "replace")
    lines = [line for line in text.splitlines()[:_LINES_JUDGED] if line.strip()]
    keys = sum(max(0, len(re.findall(rf"(?:^|[\s,;|])\s*{_KEY}", line)) - 1) for line in lines)
    for separator in ",;|":
        own = sum(len(re.findall(rf"{re.escape(separator)}\s*{_KEY}", line)) for line in lines)
        if own and own >= 0.9 * keys:
            values["separator"] = separator
            break
    if sum(len(re.findall(rf"{_KEY}'[^']*'(?=[\s,;|]|$)", line)) for line in lines):
        values["quotes"] = "\"'"
    if any(re.search(rf'{_KEY}"[^"]*\\[^"\\/\'ntru]', line) for line in lines):
        values["escapes"] = "quotes"
    if lines and "prefix" not in given.values:
        if sum(bool(_SYSLOG.match(line)) for line in lines) * 5 >= len(lines) * 4:
            values["prefix"] = "syslog"
        elif all(re.match(_TIME, line) for line in lines):
            values["prefix"] = _TIME
    return Settings(values, {})


_FITS: dict[str, Fit] = {
    "csv": _csv,
    "fixed_width": _fixed_width,
    "keyvalue": _key_value,
    **dict.fromkeys(("bai2", "fix", "jsonl", "mt940", "nacha", "syslog", "x12"), _encoding_alone),
}


# --- the columns of the contract ---


def contracts_for(kind: str, settings: Settings, drafts: Sequence[DraftedContract]) -> tuple[DraftedContract, ...]:
    """The contracts from the rows of a sample, as this premade parser gives them."""
    if kind in ("jsonl", "keyvalue"):
        rest = str(settings.values.get("rest", "rest"))
        return tuple(_with_rest(each, rest) for each in drafts)
    if kind == "fixed_width" and settings.values.get("copybook") and not settings.values.get("records"):
        return tuple(_with_types(each, fields_of(settings)) for each in drafts)
    return tuple(drafts)


def _with_rest(draft: DraftedContract, rest: str) -> DraftedContract:
    """The columns that enough records have, and the one with what the others hold."""
    enough = max(1, draft.row_count // _RECORDS_A_COLUMN)
    kept = [found for found in draft.columns if found.value_count >= enough and found.name != rest]
    others = [found.name for found in draft.columns if found not in kept and found.name != rest]
    others += [found.name for found in kept[_COLUMNS_MAX:]]
    shown = f"here {', '.join(others[:10])}" if others else "here nothing"
    about: ColumnLiteral = {"name": rest, "type": "string", "description": "all that has no column, as JSON"}
    last = ColumnFound(about, 0, draft.row_count, (f"what is in no other column, {shown}",), ())
    return replace(draft, columns=(*kept[:_COLUMNS_MAX], last))


def _with_types(draft: DraftedContract, fields: Mapping[str, Field]) -> DraftedContract:
    """The columns with the types that the copybook gives to numbers."""
    typed = [
        replace(found, column={**found.column, "type": _type_of(fields[found.name])}, ambiguities=())
        if found.name in fields and fields[found.name].is_number
        else found
        for found in draft.columns
    ]
    return replace(draft, columns=tuple(typed))


def _type_of(field: Field) -> JsonValue:
    if field.is_integer:
        return "int64"
    return {"kind": "decimal", "precision": field.precision, "scale": max(0, field.scale)}


def columns_by_name(output: str, settings: Settings) -> tuple[DraftedContract, ...]:
    """The contract without a sample: the columns that the parameters or a copybook name. Empty if they name none."""
    if settings.values.get("copybook") and not settings.values.get("records"):
        found = [
            ColumnFound({"name": name, "type": _type_of(field) if field.is_number else _of_text(field)}, 0, 0, (), ())
            for name, field in fields_of(settings).items()
        ]
        return (DraftedContract(output, tuple(found), 0, 0),)
    text = str(settings.values.get("columns") or "")
    names = json.loads(text) if text.startswith("[") else [each.strip() for each in text.split(",") if each.strip()]
    if not names:
        return ()
    return (
        DraftedContract(
            output, tuple(ColumnFound({"name": each, "type": "string"}, 0, 0, (), ()) for each in names), 0, 0
        ),
    )


def _of_text(field: Field) -> JsonValue:
    return "binary" if field.kind == "bytes" else "string"
