"""How the rule explorer looks: the steps, the fields or folders at the left, the matches at the right. Pure."""

from __future__ import annotations

from heapq import nlargest

from casparian_console.canvas import Glyphs, Line, bar, box, fit, restyle, spread
from casparian_console.overlays import wrapped
from casparian_console.screen import Context
from casparian_console.screens.discover.explorer import FIELDS, Explorer
from casparian_console.text import clean, clip_left, count, short, size

_STEPS = ("explore", "focused", "edit", "test", "publish")
_NAMES = {"pattern": "Pattern", "exclude": "Exclude", "tag": "Tag"}
_HINTS = {"pattern": "e.g. **/*.log", "exclude": "e.g. old/** **/*.tmp", "tag": "e.g. fix"}


def draw(explorer: Explorer, context: Context, width: int, height: int) -> list[Line]:
    steps = _steps(explorer, context.glyphs)
    if explorer.phase == "explore":
        body = _folders(explorer, context, width, height - 1)
    else:
        left_width = width * 9 // 20
        left = _fields(explorer, context, left_width, height - 1)
        right = _matches(explorer, context, width - left_width, height - 1)
        body = [[*a, *b] for a, b in zip(left, right, strict=True)]
    return [fit(steps, width), *body]


def _steps(explorer: Explorer, glyphs: Glyphs) -> Line:
    step = "focused" if explorer.phase == "explore" and explorer.is_focused else explorer.phase
    line: Line = [("title", " Rule: ")]
    for at, name in enumerate(_STEPS):
        line += [("dim", f" {glyphs.arrow} ")] if at else []
        line.append(("bold accent", f"[{name}]") if name == step else ("dim", name))
    scope = clean(explorer.source.name) or "all sources"
    return [*line, ("dim", f"   {scope}")]


def _folders(explorer: Explorer, context: Context, width: int, height: int) -> list[Line]:
    """Folders, and extensions of the files that lie here, with what is untagged among them."""
    explorer.list_height = max(1, height - 3)
    explorer.cursor.settle(explorer.list_rows(), explorer.list_height)
    glyphs, inner = context.glyphs, width - 2
    most = max((row["files"] for row in explorer.rows), default=1)
    lines: list[Line] = [
        spread([("dim", "   folder, or files by extension")], [("dim", "files     size   untagged ")], inner)
    ]
    top = explorer.cursor.top
    for at, row in enumerate(explorer.rows[top : top + explorer.list_height], top):
        is_chosen = at == explorer.cursor.at
        name = clip_left(clean(row["name"]), max(10, inner - 52), glyphs.ellipsis)
        mark = glyphs.cursor if is_chosen else " "
        numbers = f"{row['files']:>9,} {size(row['bytes'] or 0):>10} "
        untagged = row["untagged"]
        left: Line = [("", f" {mark} "), ("accent" if row["name"].endswith("/") else "", name)]
        right: Line = [
            *bar(row["files"] / most, 12, glyphs),
            ("dim", numbers),
            ("warn" if untagged else "dim", f"{untagged:>9,} "),
        ]
        line = spread(left, right, inner)
        lines.append(restyle(line, "selected") if is_chosen else line)
    if not explorer.rows:
        lines.append([("dim", "   nothing here")])
    title = clean(explorer.folder) or "All folders"
    return box(lines, width, height, glyphs, title=title, style="accent")


def _fields(explorer: Explorer, context: Context, width: int, height: int) -> list[Line]:
    inner, glyphs = width - 4, context.glyphs
    lines: list[Line] = []
    for at, name in enumerate(FIELDS):
        is_focused = explorer.is_typing and at == explorer.focus
        editor = explorer.fields[name]
        field = editor.line(inner - 11, style="input", is_focused=is_focused, placeholder=_HINTS[name])
        mark = glyphs.cursor if is_focused else " "
        lines.append([("key" if is_focused else "dim", f"{mark} {_NAMES[name]:<9}"), *field])
    lines.append([])
    lines += _counts(explorer, inner, glyphs)
    room = height - 2 - len(lines) - explorer.is_typing
    shown = nlargest(max(0, room), explorer.matcher.folders.items(), key=lambda each: each[1]) if room > 0 else []
    most = shown[0][1] if shown else 1
    for name, number in shown:
        label = clip_left(clean(name), max(6, inner - 20), glyphs.ellipsis)
        lines.append(spread([("", label)], [*bar(number / most, 10, glyphs), ("dim", f"{number:>8,}")], inner))
    if explorer.is_typing:
        lines = [*lines, *[[]] * (height - 3 - len(lines)), [("dim", "Tab: next field  Enter: tests it")]]
    padded: list[Line] = [[("", " "), *fit(line, inner)] for line in lines]
    return box(padded, width, height, glyphs, title="Pattern", style="accent" if explorer.is_typing else "border")


def _counts(explorer: Explorer, width: int, glyphs: Glyphs) -> list[Line]:
    """How many match; while it is still being found out, out of how many that were looked at."""
    matcher = explorer.matcher
    if explorer.phase != "edit":
        return _tested(explorer, width, glyphs)
    if matcher.problem:
        return [*wrapped(matcher.problem, width, "warn"), []]
    state = "" if matcher.is_done else f", {short(matcher.seen)} looked at{glyphs.ellipsis}"
    lines: list[Line] = [[("bold", count(matcher.matched, "match", "matches")), ("dim", state)]]
    for text, number in matcher.excluded.most_common(3):
        lines.append([("warn", f"{number:,} excluded"), ("dim", f" by {clean(text)}")])
    if explorer.problem:
        lines += wrapped(explorer.problem, width, "warn")
    return [*lines, []]


def _tested(explorer: Explorer, width: int, glyphs: Glyphs) -> list[Line]:
    if not explorer.tested:
        return [[("accent", f"{glyphs.running} testing over all known files{glyphs.ellipsis}")], []]
    matched, files = explorer.tested["matched"], explorer.tested["files"]
    style = "ok" if matched else "warn"
    return [
        [(style, f"{glyphs.done if matched else glyphs.warning} {matched:,} of {count(files, 'known file')} match")],
        [("dim", "Enter saves the rule and tags them, e goes back")],
        [],
    ]


def _matches(explorer: Explorer, context: Context, width: int, height: int) -> list[Line]:
    """The first of them, with the fields that the pattern reads out of their paths."""
    explorer.list_height = max(1, height - 2)
    found, total = explorer.found()
    explorer.top = max(0, min(explorer.top, len(found) - explorer.list_height))
    shown = found[explorer.top : explorer.top + explorer.list_height]
    lines = [_match(path, explorer.matcher.fields(path), width - 4, context.glyphs) for path in shown]
    last = explorer.top + len(lines)
    title = f"Matches  {explorer.top + 1}-{last} of {total:,}" if lines else "Matches"
    if last == len(found) < total:
        title += f", the first {len(found):,} can be seen"
    return box(lines, width, height, context.glyphs, title=title)


def _match(rel_path: str, fields: dict[str, str], width: int, glyphs: Glyphs) -> Line:
    told = "  ".join(f"{clean(name)}={clean(value)}" for name, value in fields.items())
    room = max(width // 2, width - len(told) - 2) if told else width
    path = clip_left(clean(rel_path), room, glyphs.ellipsis)
    return fit([("", f" {path}"), ("accent", f"  {told}" if told else "")], width + 2, ellipsis=glyphs.ellipsis)
