"""How a detected file could be read: plans, the best one first, each the code of a `parse` function.

A plan is text only; `trial` runs it on the samples, and what fails there is not written. The last plan of every text reads lines,
so that a text is never left without one. Kinds that no reader of Casparian reads have no plan.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import casparian_shim
from casparian_app.drafting.samples import Sheet
from casparian_protocol.parsers import NAME_PATTERN
from casparian_worker import FIX_DATA, SYSLOG_HEADERS, Detected, Dialect, Field, Layout, Log, Segments, Xml, ruler

#: What the name of the sample in `tests/` ends with, by the kind of file.
SUFFIXES = {
    "delimited": "csv",
    "fixed_width": "txt",
    "ndjson": "jsonl",
    "json": "json",
    "xml": "xml",
    "fix": "fix",
    "hl7": "hl7",
    "x12": "x12",
    "edifact": "edi",
    "xlsx": "xlsx",
    "parquet": "parquet",
    "arrow": "arrow",
    "syslog": "log",
    "key_value": "log",
    "multiline": "log",
}


#: What `open_member` reads.
_OPENED = ("bzip2", "xz", "zip", "tar")


@dataclass(frozen=True, slots=True)
class Plan:
    """The code of a parser, but for its metadata and contract."""

    #: What a row is, in words.
    row: str
    modules: tuple[str, ...]
    #: The names that it needs from `casparian_shim`.
    readers: tuple[str, ...]
    #: Constants and functions above `parse`.
    above: str
    #: The body of `parse`.
    body: str
    arguments: str = "path"
    dependencies: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The plan in a word, for the reason why it failed."""
        last = self.body.splitlines()[-1].strip()
        is_call = last.startswith("return ")
        return last.partition(" ")[2] if is_call else f"{', '.join(self.readers)}, a row for {self.row}"


def plans_for(detected: Detected, sheets: Sequence[Sheet] = ()) -> list[Plan]:
    """Every way to read the file that is worth trying, the best first; empty if no reader is known. `sheets` are a workbook's."""
    content = detected.content
    if content.kind == "xlsx":
        return [_xlsx(sheets)]
    maker = _BY_KIND.get(content.kind)
    found = list(maker(content)) if maker is not None else []
    if content.codec is not None:
        found.append(_lines(content))
    found = [plan for plan in found if set(plan.readers) <= set(casparian_shim.__all__)]
    return [_unpacked(plan) for plan in found] if detected.kind == "gzip" else found


def without_plan(name: str, path: Path, content: Detected) -> tuple[str, str]:
    """What to say of a file for which there is no plan: the problem, and what to try."""
    seen = f"{path} is {content.kind} ({content.why})"
    if content.kind in _OPENED:
        return (
            f"{seen}: a draft does not look inside, so nothing can be drafted.",
            f"Unpack it, and draft from a file that was in it: `casparian new parser {name} --from FILE`. In the parser, "
            "open_member(path) in the place of path reads the file as it is.",
        )
    return (
        f"{seen}: no reader is known for this kind, so nothing can be drafted.",
        f"`casparian new parser {name}` writes a skeleton; read the file in it with a library of your own.",
    )


def _unpacked(plan: Plan) -> Plan:
    """The plan for the content of a gzip file."""
    inside = re.sub(r"^return ", "yield ", plan.body.replace("(path", "(file"), flags=re.MULTILINE)
    body = "with gzip.open(path) as file:\n" + _indented(inside)
    return replace(plan, modules=("gzip", *plan.modules), body=body)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" if line else line for line in text.splitlines())


def quoted(text: str) -> str:
    """The text as a Python literal in double quotes."""
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    return character if character.isprintable() else ascii(character)[1:-1]


def _encoding(detected: Detected, default: str = "utf-8") -> str:
    """The argument for the encoding, if the reader needs one."""
    codec = detected.codec or default
    plain = ("utf-8", "utf-8-sig") if default.startswith("utf-8") else (default,)
    return "" if codec in plain else f", encoding={quoted(codec)}"


def _lines(detected: Detected) -> Plan:
    return Plan("a line", (), ("read_lines",), "", f"return read_lines(path{_encoding(detected)})")


def _delimited(detected: Detected) -> Iterator[Plan]:
    dialect = detected.details
    assert isinstance(dialect, Dialect)
    encoding = {} if detected.codec in ("utf-8", "utf-8-sig") else {"encoding": detected.codec}
    if dialect.tables and all(table.header for table in dialect.tables):
        patterns = "".join(
            f"    {quoted(f'table_{number}')}: {quoted(f'^{re.escape(table.header)}$')},\n"
            for number, table in enumerate(dialect.tables, 1)
        )
        options = {
            name: value
            for name, value in dialect.options.items()
            if name in ("delimiter", "quote", "escape", "comment")
        }
        arguments = ", ".join([_arguments({**options, **encoding}), "tables=TABLES"])
        above = f"#: Each table, and the pattern of its header line.\nTABLES = {{\n{patterns}}}"
        yield Plan("a record of one of the tables", (), ("read_csv",), above, f"return read_csv({arguments})")
    options = {**dialect.options, **encoding}
    above = f"COLUMNS = {_listed(dialect.names)}" if "columns" in options else ""
    yield Plan("a record", (), ("read_csv",), above, f"return read_csv({_arguments(options)})")


def _arguments(options: Mapping[str, object]) -> str:
    """The arguments of a reader; columns are named above."""
    given = ["COLUMNS" if name == "columns" else _literal(value) for name, value in options.items()]
    return ", ".join(["path", *(f"{name}={value}" for name, value in zip(options, given, strict=True))])


def _literal(value: object) -> str:
    return quoted(value) if isinstance(value, str) else repr(value)


def _listed(names: Sequence[str]) -> str:
    one_line = f"[{', '.join(map(quoted, names))}]"
    if len(one_line) <= 100:
        return one_line
    return "[\n" + "".join(f"    {quoted(name)},\n" for name in names) + "]"


def _fixed_width(detected: Detected) -> Iterator[Plan]:
    layout = detected.details
    assert isinstance(layout, Layout)
    encoding = "" if detected.codec in ("utf-8", "utf-8-sig", None) else f", encoding={quoted(detected.codec)}"
    marks = "\n".join(f"# {line}".rstrip() for line in ruler(layout))
    hint = f"# Edit the edges: each field is from its first position up to, not including, its last one.\n{marks}\n"
    readers = ("read_fixed_width",)
    if layout.record_types and layout.type_field is not None:
        types = "".join(
            f"    {quoted(each.code)}: ({quoted(output_of(each.code))}, {_fields(each.fields, 4)}),\n"
            for each in layout.record_types
        )
        arguments = f"path, record_types=RECORD_TYPES, type_at={layout.type_field}{encoding}"
        above = f"{hint}RECORD_TYPES = {{\n{types}}}"
        yield Plan("a record of one of the types", (), readers, above, f"return read_fixed_width({arguments})")
    above = f"{hint}FIELDS = {_fields(layout.fields, 0)}"
    arguments = f"path, FIELDS{encoding}"
    if layout.record_bytes is not None:
        yield Plan("a record", (), readers, above, f'return read_fixed_width({arguments}, framing="none")')
        return
    if detected.confidence < 1 and any("lines end before" in doubt for doubt in detected.doubts):
        yield Plan("a line", (), readers, above, f'return read_fixed_width({arguments}, trailing_blanks="free")')
    yield Plan("a line", (), readers, above, f"return read_fixed_width({arguments})")


def output_of(code: str) -> str:
    """A name for the output of a type of record."""
    return f"record_{re.sub('[^a-z0-9]', '_', code.casefold())}"


def _fields(fields: Sequence[Field], indent: int) -> str:
    blanks = " " * indent
    lines = "".join(f"{blanks}    {quoted(field.name)}: ({field.start}, {field.end}),\n" for field in fields)
    return f"{{\n{lines}{blanks}}}"


def _json_lines(detected: Detected) -> Iterator[Plan]:
    yield Plan("an object", (), ("read_jsonl",), "", f"return read_jsonl(path{_encoding(detected)})")


def _json(detected: Detected) -> Iterator[Plan]:
    yield Plan("an element", (), ("read_json",), "", f"return read_json(path{_encoding(detected)})")


def _xml(detected: Detected) -> Iterator[Plan]:
    details = detected.details
    assert isinstance(details, Xml)
    if details.element:
        yield Plan(f"a <{details.element}>", (), ("read_xml",), "", f"return read_xml(path, {quoted(details.element)})")


def _segments(detected: Detected) -> Iterator[Plan]:
    encoding = _encoding(detected)
    yield Plan(
        "a segment", (), ("read_segments",), "", f"return read_segments(path, {quoted(detected.kind)}{encoding})"
    )


def _fix(detected: Detected) -> Iterator[Plan]:
    details = detected.details
    assert isinstance(details, Segments)
    yield Plan(
        "a field of a message",
        (),
        ("read_lines",),
        f"""SEPARATOR = {quoted(details.element)}
#: Length field → data field, whose value may hold any character.
DATA = {{
{_data_fields()}
}}


def fields_of(text):
    \"\"\"Tag and value of each field, in order. A data field is as long as the length field before it says.\"\"\"
    data_tag, length = "", 0
    while text:
        tag, _, rest = text.partition("=")
        end = length if tag == data_tag and rest[length:].startswith(SEPARATOR) else rest.find(SEPARATOR)
        value = rest if end < 0 else rest[:end]
        yield tag, value
        if end < 0 or tag == "10":
            return
        data_tag, length = (DATA[tag], int(value)) if tag in DATA and value.isdigit() else ("", 0)
        text = rest[end + len(SEPARATOR) :]""",
        f"""for row in read_lines(path{_encoding(detected)}):
    text, number = row["text"], row["__cf_row_id"]
    at = text.find("8=FIX")
    if at < 0 and SEPARATOR not in text:
        ctx.skip("no message")
        continue
    fields = list(fields_of(text[at:])) if at >= 0 else [("", "")]
    if fields[-1][0] != "10" and (at < 0 or not text.endswith(SEPARATOR)):
        ctx.reject(None, None, "has a part of a message: no 8=FIX, or no checksum (10) at its end", source_row=number)
        continue
    for position, (tag, value) in enumerate(fields, 1):
        yield {{"position": position, "tag": tag, "value": value, "__cf_row_id": number}}""",
        "path, ctx",
    )


def _data_fields() -> str:
    """The pairs of `FIX_DATA` as the lines of a literal."""
    pairs = [f'"{length}": "{data}"' for length, data in FIX_DATA.items()]
    return "\n".join(f"    {', '.join(pairs[start : start + 8])}," for start in range(0, len(pairs), 8))


def _syslog(detected: Detected) -> Iterator[Plan]:
    details = detected.details
    assert isinstance(details, Log)
    header = f"    r{_raw(SYSLOG_HEADERS[details.style])}\n"
    yield Plan(
        "a line",
        ("re",),
        ("read_lines",),
        f'LINE = re.compile(\n{header}    r"(?P<message>.*)",\n    re.DOTALL,\n)',
        f"""for row in read_lines(path{_encoding(detected)}):
    found = LINE.fullmatch(row["text"])
    if found:
        yield {{**found.groupdict(), "__cf_row_id": row["__cf_row_id"]}}
    elif row["text"].strip():
        ctx.reject(OUTPUT, {{}}, "has no syslog header", source_row=row["__cf_row_id"], raw=row["text"])
    else:
        ctx.skip("blank line")""",
        "path, ctx",
    )


def _raw(pattern: str) -> str:
    """The pattern as the rest of a raw literal."""
    return f'"{pattern}"' if '"' not in pattern else f"'{pattern}'"


def _key_value(detected: Detected) -> Iterator[Plan]:
    details = detected.details
    assert isinstance(details, Log)
    names = [key for key in details.keys if re.fullmatch(r"[\w.\-]+", key)][:100]
    yield Plan(
        "a line",
        ("re",),
        ("read_lines",),
        f"""KEYS = {_listed(names)}
PAIR = re.compile(r'(?:^|[\\s,;|])([A-Za-z_][\\w.\\-]*)=(?:"((?:[^"\\\\]|\\\\.)*)"|([^\\s,;|]*))')


def pairs_of(text):
    \"\"\"Key and value of each pair; of a key that is repeated, the first value.\"\"\"
    found = {{}}
    for key, quoted, plain in PAIR.findall(text):
        found.setdefault(key, re.sub(r"\\\\(.)", r"\\1", quoted) if quoted else plain)
    return found""",
        f"""for row in read_lines(path{_encoding(detected)}):
    pairs = pairs_of(row["text"])
    if pairs:
        values = {{key: pairs.get(key) for key in KEYS}}
        yield {{**values, "line": row["text"], "__cf_row_id": row["__cf_row_id"]}}
    elif row["text"].strip():
        ctx.reject(OUTPUT, {{}}, "has no key=value pair", source_row=row["__cf_row_id"], raw=row["text"])
    else:
        ctx.skip("blank line")""",
        "path, ctx",
    )


def _multiline(detected: Detected) -> Iterator[Plan]:
    details = detected.details
    assert isinstance(details, Log)
    start = f"START = r{_raw(details.start)}"
    body = f"return read_records(path, start=START{_encoding(detected)})"
    yield Plan("a record, which may have several lines", (), ("read_records",), start, body)


def _xlsx(sheets: Sequence[Sheet]) -> Plan:
    """Every sheet, as the output of its name if there are several."""
    needs = ("openpyxl>=3.1",)
    if len(sheets) < 2:
        skip = f", skip_rows={sheets[0].rows_before}" if sheets and sheets[0].rows_before else ""
        name = f", {quoted(sheets[0].name)}" if sheets else ""
        return Plan("a row", (), ("read_excel",), "", f"return read_excel(path{name}{skip})", dependencies=needs)
    names: dict[str, None] = {}
    for number, sheet in enumerate(sheets, 1):
        name = re.sub(r"[^a-z0-9_]+", "_", sheet.name.casefold()).strip("_")[:50]
        name = name if NAME_PATTERN.fullmatch(name) and name not in names else f"sheet_{number}"
        while name in names:  # the name of a sheet before it
            name = f"{name}_{number}"
        names[name] = None
    above = "#: Each output: its sheet, and how many rows come before the table there.\nSHEETS = {\n" + "".join(
        f"    {quoted(name)}: ({quoted(sheet.name)}, {sheet.rows_before}),\n"
        for name, sheet in zip(names, sheets, strict=True)
    )
    body = """for output, (sheet, rows_before) in SHEETS.items():
    yield output, read_excel(path, sheet, skip_rows=rows_before, output=output)"""
    return Plan("a row of a sheet", (), ("read_excel",), f"{above}}}", body, dependencies=needs)


def _parquet(_detected: Detected) -> Iterator[Plan]:
    body = "yield from pq.ParquetFile(path).iter_batches()"
    yield Plan("a row", ("pyarrow.parquet as pq",), (), "", body)


def _arrow(_detected: Detected) -> Iterator[Plan]:
    body = "with pa.memory_map(str(path)) as file:\n    yield from pa.ipc.open_file(file).read_all().to_batches()"
    yield Plan("a row", ("pyarrow as pa",), (), "", body)


_BY_KIND: dict[str, Callable[[Detected], Iterator[Plan]]] = {
    "delimited": _delimited,
    "fixed_width": _fixed_width,
    "ndjson": _json_lines,
    "json": _json,
    "xml": _xml,
    "camt053": _xml,
    "hl7": _segments,
    "x12": _segments,
    "edifact": _segments,
    "fix": _fix,
    "syslog": _syslog,
    "key_value": _key_value,
    "multiline": _multiline,
    "parquet": _parquet,
    "arrow": _arrow,
}
