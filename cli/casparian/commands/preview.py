"""`casparian preview FILE`: what a file is and how it begins. Reads a bounded part of it and writes nothing."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import rich_click as click

from casparian.app import App, Command, pass_app
from casparian.render import as_json, cell, draw_grid, fields, screen_width
from casparian_app.problems import UsageProblem
from casparian_app.wording import count, size

if TYPE_CHECKING:
    from casparian_app.previewing import HexRow, Preview


@click.command(
    cls=Command,
    short_help="Show what a file is and how it begins.",
    examples="casparian preview trades.csv\ncasparian preview venue.log --raw -n 5\ncasparian preview odd.bin --hex",
)
@click.argument("file", type=click.Path())
@click.option(
    "-n", "record_count", type=click.IntRange(1, 1000), default=10, show_default=True, help="Show so many records."
)
@click.option("--raw", is_flag=True, help="The first lines as they stand, control characters escaped.")
@click.option("--hex", "is_hex", is_flag=True, help="The first bytes (16 to a record).")
@pass_app
def preview(app: App, file: str, record_count: int, raw: bool, is_hex: bool) -> None:
    """Show kind, encoding, delimiter, first records and the types that every value seen has beyond doubt."""
    if raw and is_hex:
        raise UsageProblem("--raw and --hex exclude each other.", remedy="Give one of them.")
    from casparian_app.previewing import preview_file

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


def _document(seen: Preview, rows: list[HexRow]) -> dict[str, Any]:
    document: dict[str, Any] = {
        "path": seen.path,
        "size_bytes": seen.size_bytes,
        **asdict(seen.sniffed),
        "inner": asdict(seen.inner) if seen.inner else None,
        "columns": [{"name": column.name, "type": column.type or None} for column in seen.columns],
        "records": [list(record) for record in seen.records],
        "lines": list(seen.lines),
    }
    return document | ({"hex": [asdict(row) for row in rows]} if rows else {})


def _print_hex(app: App, rows: list[HexRow]) -> None:
    for row in rows:
        print(f"{row.offset:08x}  {row.hex:<47}  {row.text}", file=app.out)
    if not rows:
        app.say("The file is empty.")


def _print_records(app: App, seen: Preview) -> None:
    shown = seen.inner or seen.sniffed
    kind = seen.sniffed.kind if seen.inner is None else f"{seen.sniffed.kind} of {seen.inner.kind}"
    facts: list[tuple[str, Any]] = [
        ("file", seen.path),
        ("size", size(seen.size_bytes)),
        ("kind", f"{kind} ({shown.why})"),
    ]
    if shown.encoding:
        facts.append(("encoding", shown.encoding))
    if shown.delimiter:
        facts.append(("delimiter", ascii(shown.delimiter)))
    if shown.has_header is not None:
        facts.append(("header", shown.has_header))
    fields(app, facts)
    if not seen.records:
        if shown.kind != "empty":
            app.say("No records can be shown of this kind; --hex shows its bytes.")
        return
    print(file=app.out)
    names = [column.name for column in seen.columns]
    left_out = draw_grid(
        app.out, names, seen.records, width=screen_width(app.out), types=[c.type for c in seen.columns]
    )
    if left_out:
        named = ", ".join(cell(name) for name in left_out[:6])
        app.say(f"{count(len(left_out), 'more column')}: {named}{' …' if len(left_out) > 6 else ''}")
    app.say(f"{count(len(seen.records), 'record')} shown. Types hold for these records only.")


COMMANDS: dict[str, click.Command] = {"preview": preview}
