"""The preview of the selected file: its content, its entry in the file index and its jobs; and how they are drawn."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from typing import Literal, TypedDict, cast

from casparian_console.canvas import Glyphs, Line, ago, clean, clip_left, clock, count, pad, pad_left, size, width_of
from casparian_console.facts import STANDINGS, Standing
from casparian_console.messages import Answer, Effects, Ended, Failed, Output, RunCommand, RunQuery
from casparian_console.overlays import wrapped
from casparian_console.screens.discover.files import File
from casparian_protocol.queries.files import AboutFile, FileAbout, JobOfFile, JobsOfFile

View = Literal["records", "text", "hex", "about"]
VIEWS: tuple[View, ...] = ("records", "text", "hex", "about")
_KEPT = 50
_ROWS = 100

#: (file, time of modification): changed content is loaded again.
Key = tuple[str, int]


class PreviewColumn(TypedDict):
    name: str
    type: str | None


class HexRow(TypedDict):
    offset: int
    hex: str
    text: str


class InnerKind(TypedDict):
    kind: str
    encoding: str | None
    evidence: list[str]
    doubts: list[str]


class PreviewDocument(TypedDict, total=False):
    """The document that `casparian preview --json` prints for a file, or the `problem` why there is none."""

    problem: str
    path: str
    size_bytes: int
    kind: str | None
    encoding: str | None
    evidence: list[str]
    #: What the detector is not certain of.
    doubts: list[str]
    inner: InnerKind | None
    columns: list[PreviewColumn]
    records: list[list[str | None]]
    lines: list[str]
    hex: list[HexRow]


class Preview:
    """See the module."""

    def __init__(self) -> None:
        self.view: View = "records"
        self.top = 0
        self.file: File | None = None
        self._documents: OrderedDict[Key, PreviewDocument] = OrderedDict()
        self._loading: Key | None = None
        self._chunks: list[str] = []
        self.about: FileAbout | None = None
        self.jobs: list[JobOfFile] = []
        #: Grows with every change of the preview.
        self.revision = 0
        #: The file whose index entry is being queried.
        self._asked = ""

    @property
    def document(self) -> PreviewDocument:
        """The document of `casparian preview` for the selected file, with a `problem` if it failed; empty while waiting."""
        return self._documents.get(_key(self.file), {}) if self.file is not None else {}

    def choose(self, file: File | None) -> Effects:
        """Show the file under the cursor."""
        self.revision += file != self.file
        if file is None:
            self.file, self.about, self.jobs = None, None, []
            return []
        if self.file is None or self.file.file_id != file.file_id:
            self.top, self.about, self.jobs = 0, None, []
        self.file = file
        return [*self._look(file), *self._facts(file)]

    def refresh(self) -> Effects:
        """Query the file's index entry again."""
        self._asked = ""
        return self._facts(self.file, is_again=True) if self.file is not None else []

    def _look(self, file: File) -> Effects:
        key = _key(file)
        if key in self._documents or self._loading is not None:
            return []
        self._loading, self._chunks = key, []
        args = ("preview", file.path, "--json", "--hex", "-n", str(_ROWS))
        return [RunCommand(("discover", "look", file.file_id), args, is_logged=False)]

    def _facts(self, file: File, *, is_again: bool = False) -> Effects:
        if self._asked or (self.about and not is_again):
            return []
        self._asked = file.file_id
        return [
            RunQuery(("discover", "about", file.file_id), AboutFile(file.file_id)),
            RunQuery(("discover", "jobs", file.file_id), JobsOfFile(file.path)),
        ]

    def on_answer(self, message: Answer | Output | Ended | Failed) -> Effects:
        what, file_id = message.tag[1], message.tag[2]
        self.revision += 1
        if what == "look":
            return self._on_look(message)
        is_mine = self.file is not None and self.file.file_id == file_id
        if what == "jobs":
            self._asked = ""
        if isinstance(message, Answer) and is_mine:
            if what == "about":
                self.about = message.rows[0] if message.rows else None
            else:
                self.jobs = message.rows
        return self.choose(self.file) if what == "jobs" and not is_mine else []

    def _on_look(self, message: Answer | Output | Ended | Failed) -> Effects:
        if isinstance(message, Output):
            self._chunks.append(message.text)
            return []
        if self._loading is not None:
            self._documents[self._loading] = _document("".join(self._chunks), message)
            if len(self._documents) > _KEPT:
                self._documents.popitem(last=False)
        self._loading, self._chunks = None, []
        return self._look(self.file) if self.file is not None else []

    def views(self) -> list[View]:
        """The views that have content."""
        document = self.document
        if not document:
            return [self.view]
        there: list[View] = ["records"] if document.get("records") else []
        there += ["text"] if document.get("lines") else []
        there += ["hex"] if document.get("hex") else []
        return [*there, "about"]

    @property
    def shown(self) -> View:
        """The chosen view, or the nearest one that this file has."""
        views = self.views()
        return self.view if self.view in views else views[0]

    def next_view(self) -> None:
        views = self.views()
        self.view = views[(views.index(self.shown) + 1) % len(views)]
        self.top = 0


def _key(file: File) -> Key:
    return (file.file_id, file.mtime_ns)


def _document(text: str, message: Answer | Ended | Failed) -> PreviewDocument:
    if isinstance(message, Failed):
        return {"problem": f"{message.problem} {message.remedy}".strip()}
    try:
        found = json.loads(text)
    except ValueError:
        printed = message.stderr if isinstance(message, Ended) else ""
        lines = [line.strip().removeprefix("casparian: ") for line in printed.splitlines() if line.strip()]
        return {"problem": " ".join(lines) or "It cannot be previewed."}
    return cast(PreviewDocument, found) if isinstance(found, dict) else {"problem": "It cannot be previewed."}


_CELL_MAX = 24
_NUMBERS = ("int64", "decimal")
_SIGNS = {
    Standing.FAILED: ("failed", "bad"),
    Standing.RUNNING: ("running", "accent"),
    Standing.WAITING: ("waiting", "dim"),
    Standing.DONE: ("done", "ok"),
    Standing.CANCELLED: ("waiting", "dim"),
}


def head_lines(preview: Preview, width: int, glyphs: Glyphs) -> list[Line]:
    """Which file, what it is, and which views there are; always three lines."""
    file, document = preview.file, preview.document
    if file is None:
        return [[], [], []]
    kind = clean(document.get("kind") or file.kind or "")
    if inner := document.get("inner"):
        kind = f"{kind} of {clean(inner['kind'])}"
    encoding = (inner or document).get("encoding")
    about = [
        size(file.size_bytes),
        *([kind] if kind else []),
        *([clean(encoding)] if encoding else []),
        *(["not certain"] if _doubts(document) else []),
    ]
    return [
        [("bold", clip_left(clean(file.rel_path), width, glyphs.ellipsis))],
        [("dim", " · ".join(about)), ("accent", f"  {clean(file.tags)}" if file.tags else "")],
        _views(preview, width),
    ]


def _doubts(document: PreviewDocument) -> list[str]:
    """What is not certain about the file, and about the content of a gzip file."""
    inner = document.get("inner")
    return [*document.get("doubts", ()), *(inner["doubts"] if inner else ())]


def _verdict(document: PreviewDocument, width: int) -> list[Line]:
    """The detector's evidence and doubts."""
    inner = document.get("inner")
    evidence = [*document.get("evidence", ()), *(inner["evidence"] if inner else ())]
    lines = [line for sentence in evidence for line in wrapped(clean(sentence), width, "dim")]
    return [
        *lines,
        *(line for sentence in _doubts(document) for line in wrapped(f"not certain: {clean(sentence)}", width, "warn")),
    ]


def _views(preview: Preview, width: int) -> Line:
    """All of them with the shown one in brackets; where that has no room, the shown one."""
    there = preview.views() if preview.document else []
    if width < 28:
        return [("key", f"[{preview.shown}]"), ("dim", "  v: next" if len(there) > 1 else "")]
    line: Line = []
    for view in VIEWS:
        style = "key" if view == preview.shown else "" if view in there else "dim"
        line.append((style, f"[{view}] " if view == preview.shown else f" {view}  "))
    return line


def body_lines(preview: Preview, waiting: Mapping[str, str], now_us: int, width: int, glyphs: Glyphs) -> list[Line]:
    """The chosen view, as many lines as it has. `waiting` says of tags why their files will never run."""
    document = preview.document
    if preview.file is None:
        return []
    if problem := document.get("problem"):
        return [*wrapped(str(problem), width, "bad"), [], *_about(preview, waiting, now_us, width, glyphs)]
    if preview.shown == "about":
        verdict = _verdict(document, width)
        return [*_about(preview, waiting, now_us, width, glyphs), *([[], *verdict] if verdict else [])]
    if not document:
        return [[("dim", f"loading{glyphs.ellipsis}")]]
    if preview.shown == "records":
        return _records(document, width)
    if preview.shown == "text":
        return [[("dim", f"{number:>4} "), ("", clean(line))] for number, line in enumerate(document["lines"], 1)]
    return [
        [("dim", f"{row['offset']:06x} "), ("", f"{row['hex']:<47} "), ("dim", row["text"])] for row in document["hex"]
    ]


def _records(document: PreviewDocument, width: int) -> list[Line]:
    """A grid of the columns that fit; a single record to a screen would hide the pattern."""
    columns, records = document["columns"], document["records"]
    shown: list[tuple[int, int, bool]] = []
    left = width
    for at, column in enumerate(columns):
        cells = [width_of(clean(record[at])) for record in records[:50] if at < len(record) and record[at] is not None]
        wide = min(_CELL_MAX, max([width_of(clean(column["name"])), len(column["type"] or ""), *cells, 1]))
        if shown and wide + 1 > left:
            break
        shown.append((at, wide, column["type"] in _NUMBERS))
        left -= wide + 1
    lines: list[Line] = [
        [("bold", " ".join(pad(clean(columns[at]["name"]), wide) for at, wide, _ in shown))],
        [("dim", " ".join(pad(clean(columns[at]["type"] or ""), wide) for at, wide, _ in shown))],
    ]
    for record in records:
        parts = []
        for at, wide, is_number in shown:
            cell = clean(record[at]) if at < len(record) and record[at] is not None else ""
            parts.append(pad_left(cell, wide) if is_number else pad(cell, wide))
        lines.append([("", " ".join(parts))])
    more = len(columns) - len(shown)
    return [*lines, [("dim", f"and {count(more, 'more column')}")]] if more else lines


def _about(preview: Preview, waiting: Mapping[str, str], now_us: int, width: int, glyphs: Glyphs) -> list[Line]:
    about = preview.about
    if not about:
        return [[("dim", f"asking the catalogue{glyphs.ellipsis}")]]
    lines = [
        _fact("status", clean(about["status"])),
        _fact("path", clip_left(clean(about["path"]), width - 10, glyphs.ellipsis)),
        _fact("changed", clock((about["mtime"] or 0) // 1000)),
        _fact("known", f"since {clock(about['first_seen'] or 0)}"),
        _fact("BLAKE3", (about["content_hash"] or "not read yet")[:16]),
    ]
    if about["duplicate_of"]:
        lines.append(
            [("warn", f"{glyphs.warning} same bytes as "), ("", clip_left(clean(about["duplicate_of"]), width - 16))]
        )
    for at, tag in enumerate((about["tags"] or "no tag").split("\n")):
        lines.append(_fact("tags" if at == 0 else "", clean(tag)))
    for name, value in json.loads(about["path_fields"] or "{}").items():
        lines.append(_fact(clean(name)[:9], clean(value)))
    lines += [[], [("title", "Jobs")]]
    lines += [line for job in preview.jobs for line in _job(job, now_us, width, glyphs)]
    if preview.jobs:
        return lines
    tags = (about["tags"] or "").split("\n")
    for reason in [waiting[tag] for tag in tags if tag in waiting]:
        lines += wrapped(f"none: {reason}", width, "warn")
    if not any(tag in waiting for tag in tags):
        lines.append([("dim", "  none yet" if about["tags"] else "  none: it has no tag")])
    return lines


def _job(job: JobOfFile, now_us: int, width: int, glyphs: Glyphs) -> list[Line]:
    sign, style = _SIGNS[STANDINGS[job["status"]]]
    who = f"{clean(job['plugin_name'] or job['job_type'])} {clean(job['parser_version'])}"
    lines: list[Line] = [
        [
            (style, f"{getattr(glyphs, sign)} "),
            ("", who),
            ("dim", f" {job['status'].lower()} {ago(job['since_us'] or 0, now_us)}"),
        ]
    ]
    if job["error_code"]:
        lines += wrapped(f"{job['error_code']}: {job['error_message'] or ''}", width, "bad")[:3]
    elif job["rows_valid"] is not None:
        lines.append([("dim", f"  {count(job['rows_valid'], 'row')}, {job['quarantine_rows'] or 0:,} quarantined")])
    return lines


def _fact(name: str, value: str) -> Line:
    return [("dim", f"{name:<10}"), ("", value)]
