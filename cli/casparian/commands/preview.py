"""`preview`: what one file is, why, and its first records."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import rich_click as click

from casparian.app import App, Command, pass_app
from casparian.render import as_json, cell, draw_grid, fields, screen_width
from casparian_app.texts import UsageProblem, count, size

if TYPE_CHECKING:
    from casparian_app.files import Detected, HexRow, Preview


@click.command(
    cls=Command,
    short_help="Show a file's kind, encoding and first records.",
    examples="casparian preview trades.csv\ncasparian preview venue.log --raw -n 5\ncasparian preview odd.bin --hex",
)
@click.argument("file", type=click.Path())
@click.option(
    "-n",
    "record_count",
    type=click.IntRange(1, 1000),
    default=10,
    show_default=True,
    metavar="N",
    help="Show at most N records.",
)
@click.option("--raw", is_flag=True, help="Show the first lines as they are, with control characters escaped.")
@click.option("--hex", "is_hex", is_flag=True, help="Show the first bytes in hex, 16 for each record.")
@pass_app
def preview(app: App, file: str, record_count: int, raw: bool, is_hex: bool) -> None:
    """Show the kind, encoding and delimiter of a file, its first records, and the type of each column."""
    from casparian_app.files import preview_file

    if raw and is_hex:
        raise UsageProblem("--raw and --hex cannot be combined.", remedy="Leave one of them out.")
    seen, rows = preview_file(file, record_count, is_hex=is_hex)
    if app.is_json:
        as_json(app, _document(seen, rows))
    elif is_hex:
        _print_hex(app, rows)
    elif raw:
        for line in seen.lines:
            print(line, file=app.out)
    else:
        _print_records(app, seen)


def _document(seen: Preview, rows: list[HexRow]) -> dict[str, object]:
    inner = seen.detected.inner
    document: dict[str, object] = {
        "path": seen.path,
        "size_bytes": seen.size_bytes,
        **_verdict(seen.detected),
        "inner": None if inner is None else _verdict(inner),
        "columns": [{"name": column.name, "type": column.type or None} for column in seen.columns],
        "records": [list(record) for record in seen.records],
        "lines": list(seen.lines),
        "ruler": list(seen.ruler),
    }
    return document | ({"hex": [asdict(row) for row in rows]} if rows else {})


def _verdict(detected: Detected) -> dict[str, object]:
    """A verdict as JSON; of delimited text also the dialect's main facts by their own names."""
    encoding, details = detected.encoding, detected.details
    about_encoding = [] if encoding is None else list(encoding.evidence)
    return {
        "kind": detected.kind,
        "why": detected.why,
        "confidence": detected.confidence,
        "evidence": [*detected.evidence, *about_encoding],
        "doubts": list(detected.doubts),
        "encoding": detected.codec,
        "line_ends": dict(detected.line_ends.counts) if detected.line_ends is not None else {},
        "delimiter": detected.delimiter,
        "has_header": detected.has_header,
        "details": None if details is None else asdict(details),
    }


def _print_hex(app: App, rows: list[HexRow]) -> None:
    for row in rows:
        print(f"{row.offset:08x}  {row.hex:<47}  {row.text}", file=app.out)
    if not rows:
        app.say("The file is empty.")


def _facts(seen: Preview) -> list[tuple[str, Any]]:
    found, content = seen.detected, seen.detected.content
    kind = found.kind if found.inner is None else f"{found.kind} of {content.kind}"
    sure = "" if content.confidence >= 1 else f", {100 * content.confidence:.0f} % sure"
    facts: list[tuple[str, Any]] = [
        ("file", seen.path),
        ("size", size(seen.size_bytes)),
        ("kind", f"{kind} ({content.why}{sure})"),
    ]
    if content.codec:
        facts.append(("encoding", content.codec))
    if content.line_ends is not None and content.line_ends.counts:
        facts.append(("line ends", str(content.line_ends)))
    if (delimiter := content.delimiter) is not None:
        facts.append(("delimiter", ascii(delimiter)))
    if (has_header := content.has_header) is not None:
        facts.append(("header", has_header))
    more = [*(found.evidence[1:] if found.inner is not None else ()), *content.evidence[1:]]
    if content.encoding is not None:
        more += content.encoding.evidence
    doubts = [*found.doubts, *(content.doubts if found.inner is not None else ())]
    facts += [("evidence" if at == 0 else "", sentence) for at, sentence in enumerate(more)]
    facts += [("not certain" if at == 0 else "", sentence) for at, sentence in enumerate(doubts)]
    return facts


def _print_records(app: App, seen: Preview) -> None:
    fields(app, _facts(seen))
    if not seen.records:
        if seen.detected.kind != "empty":
            app.say("This kind of file has no records to show; --hex shows its bytes.")
        return
    print(file=app.out)
    for mark in seen.ruler:
        print(mark[: screen_width(app.out)], file=app.out)
    if seen.ruler:
        for line in seen.lines[:3]:
            print(line[: screen_width(app.out)], file=app.out)
        print(file=app.out)
    names = [column.name for column in seen.columns]
    left_out = draw_grid(
        app.out, names, seen.records, width=screen_width(app.out), types=[c.type for c in seen.columns]
    )
    if left_out:
        named = ", ".join(cell(name) for name in left_out[:6])
        app.say(f"{count(len(left_out), 'more column')}: {named}{' …' if len(left_out) > 6 else ''}")
    app.say(f"{count(len(seen.records), 'record')} shown. The types are those of these records only.")


COMMANDS: dict[str, click.Command] = {"preview": preview}
