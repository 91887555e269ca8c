"""Drawing of Discover: sidebar, files and preview; in the past, what events say about files. It records the layout for clicks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from casparian_console.canvas import (
    Line,
    block,
    box,
    clean,
    clip,
    clip_left,
    count,
    fit,
    line_width,
    pad,
    restyle,
    size,
)
from casparian_console.listing import Cursor
from casparian_console.overlays import wrapped
from casparian_console.screen import Context
from casparian_console.screens.discover.commands import Scan
from casparian_console.screens.discover.explorer import Explorer, draw_explorer
from casparian_console.screens.discover.files import Dropdown, File, Window
from casparian_console.screens.discover.preview import Preview, body_lines, head_lines

_SIGNS = {
    "processed": ("done", "ok"),
    "failed": ("failed", "bad"),
    "processing": ("running", "accent"),
    "queued": ("waiting", "accent"),
}


@dataclass
class Layout:
    """The layout of the last frame."""

    sidebar_width: int = 22
    files_width: int = 34
    first_file_row: int = 1
    files_shown: int = 10
    preview_height: int = 10
    preview_lines: int = 0
    #: The first row of each dropdown, and the one after its last.
    dropdown_rows: list[tuple[int, int]] = field(default_factory=list)
    _body_key: tuple[object, ...] = ()
    _body: list[Line] = field(default_factory=list)

    def body(self, discover: Discover, context: Context, width: int) -> list[Line]:
        """The preview's lines, rebuilt only when the file, the view, the facts or the minute changed."""
        preview = discover.preview
        minute = context.facts.now_us // 60_000_000
        reasons = {each.tag: each.reason for each in context.facts.registry.waiting_files}
        key = (preview.revision, preview.shown, width, context.glyphs, minute, tuple(reasons.items()))
        if key != self._body_key:
            self._body = body_lines(preview, reasons, context.facts.now_us, width, context.glyphs)
            self._body_key = key
        return self._body


class Discover(Protocol):
    """The part of the screen that is drawn."""

    cursor: Cursor
    dropdowns: tuple[Dropdown, Dropdown]
    explorer: Explorer
    is_right: bool
    layout: Layout
    preview: Preview
    scan: Scan
    window: Window

    def dropdown(self) -> Dropdown | None: ...

    def settle(self) -> None: ...


def draw(discover: Discover, context: Context, width: int, height: int) -> list[Line]:
    if context.past_seq is not None:
        return _past(context, width, height)
    if discover.explorer.is_open:
        return draw_explorer(discover.explorer, context, width, height)
    layout = discover.layout
    layout.sidebar_width = 20 if width < 100 else min(36, width // 5)
    layout.files_width = (width - layout.sidebar_width) * (12 if width < 100 else 11) // 20
    parts = [
        _sidebar(discover, context, layout.sidebar_width, height),
        _files(discover, context, layout.files_width, height),
        _preview(discover, context, width - layout.sidebar_width - layout.files_width, height),
    ]
    return [[*a, *b, *c] for a, b, c in zip(*parts, strict=True)]


def _sidebar(discover: Discover, context: Context, width: int, height: int) -> list[Line]:
    opened = discover.dropdown()
    inner = width - 2
    scans = discover.scan.lines(context.facts.jobs, inner, context.glyphs)
    room = max(4, height - 2 - len(scans) - 8)
    lines: list[Line] = []
    discover.layout.dropdown_rows = []
    for dropdown in discover.dropdowns:
        top = len(lines) + 1
        lines += dropdown.lines(inner, room, context.glyphs)
        discover.layout.dropdown_rows.append((top, len(lines) + 1))
        lines.append([])
    window = discover.window
    if window.filter.text:
        lines += [
            [("key", "f "), ("title", "Filter")],
            [("warn", f"  {clip(clean(window.filter.text), inner - 2)}")],
            [],
        ]
    if opened is None and window.files is not None:
        lines += [[("dim", f" {count(window.files, 'file')}")], [("dim", f" {size(window.bytes)}")], []]
    if opened is None:
        for each in context.facts.registry.waiting_files[:3]:
            wait = f"{count(each.files, 'file')} {'waits' if each.files == 1 else 'wait'}: {each.reason}"
            lines += [[("", " "), *line] for line in wrapped(wait, inner - 1, "warn")]
    lines = [*lines[: height - 2 - len(scans)], *scans]
    style = "accent" if opened is not None else "border"
    return box(lines, width, height, context.glyphs, title="Discover", style=style)


def _files(discover: Discover, context: Context, width: int, height: int) -> list[Line]:
    layout, window, cursor = discover.layout, discover.window, discover.cursor
    layout.files_shown = max(1, height - 2)
    discover.settle()
    lines: list[Line] = []
    for at in range(cursor.top, min(cursor.top + layout.files_shown, len(window))):
        is_chosen = at == cursor.at
        line = _file(window.rows[at], context, width - 2, is_chosen=is_chosen)
        lines.append(restyle(line, "selected") if is_chosen else line)
    if not len(window):
        lines = _nothing(discover, context)
    is_focused = not discover.is_right and discover.dropdown() is None
    title = f"Files  {window.number(cursor.at)}"
    return box(lines, width, height, context.glyphs, title=title, style="accent" if is_focused else "border")


def _nothing(discover: Discover, context: Context) -> list[Line]:
    window = discover.window
    if window.is_loading or window.files is None:
        return [[("dim", f" loading{context.glyphs.ellipsis}")]]
    if window.filter.source.kind == window.filter.label.kind == "all" and not window.filter.text:
        return [[("", " No files are known yet.")], [], [("key", " s"), ("dim", " scans a directory.")]]
    return [[("dim", " No file of this source, tag and text.")]]


def _file(file: File, context: Context, width: int, *, is_chosen: bool) -> Line:
    """One file: mark, status and the end of its path; then tags, kind and size if there is room."""
    glyphs = context.glyphs
    sign, style = _SIGNS.get(file.status, ("dot", "dim"))
    ends: Line = []
    if width >= 44:
        tag_width = 9 if width < 60 else 14
        ends.append(("accent", f" {pad(clean(file.tags), tag_width)}"))
    if width >= 60:
        ends += [("dim", f" {pad(clean(file.kind), 9)}"), ("dim", f"{size(file.size_bytes):>10}")]
    room = width - line_width(ends)
    name = clip_left(clean(file.rel_path), room - 3, glyphs.ellipsis)
    line: Line = [("", context.glyphs.cursor if is_chosen else " "), (style, f"{getattr(glyphs, sign)} "), ("", name)]
    return [*fit(line, room), *ends]


def _preview(discover: Discover, context: Context, width: int, height: int) -> list[Line]:
    preview, layout = discover.preview, discover.layout
    inner = width - 4
    head = head_lines(preview, inner, context.glyphs)
    layout.preview_height = max(1, height - 2 - len(head) - 1)
    body = layout.body(discover, context, inner)
    layout.preview_lines = len(body)
    preview.top = max(0, min(preview.top, len(body) - layout.preview_height))
    shown = [*head, [], *body[preview.top : preview.top + layout.preview_height]]
    ellipsis = context.glyphs.ellipsis
    padded: list[Line] = [[("", " "), *fit(line, inner, ellipsis=ellipsis)] for line in shown]
    title = "Preview"
    if len(body) > layout.preview_height:
        title += f"  {preview.top + 1}-{preview.top + len(shown) - len(head) - 1} of {len(body)}"
    return box(padded, width, height, context.glyphs, title=title, style="accent" if discover.is_right else "border")


def _past(context: Context, width: int, height: int) -> list[Line]:
    """The past: the file index knows only the present, so this shows what events say."""
    registry = context.facts.registry
    lines: list[Line] = [
        [("title", "Files, as the events up to here show")],
        [],
        [
            (
                "",
                f"{count(registry.files, 'file')} known, {registry.untagged:,} of them without a tag when they were found",
            )
        ],
        [("", f"{count(len(registry.sources), 'source')}")],
    ]
    for source in sorted(registry.sources.values(), key=lambda each: each.name):
        lines.append(
            [("", f"  {clean(source.name):<24} "), ("dim", clip_left(clean(source.path), max(10, width - 32)))]
        )
    lines += [[], [("dim", "The list of files, their tags and previews are known as they are now only: Esc returns.")]]
    padded: list[Line] = [[("", " "), *line] for line in lines]
    return block(box(padded, width, height, context.glyphs, title="Discover"), width, height)
