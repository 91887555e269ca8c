"""The commands of Discover (tags on files, scans, and their dialogs), and the table of its keys.

A few files are tagged by the operation. Many files, and files whose content was never read, are tagged by the command line: a
tagged file becomes a job only when its content is known, and the operation reads no files. A scan runs as
`casparian scan PATH --progress --json`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol, TypedDict, cast

from casparian_console.canvas import Glyphs, Line, clean, clip_left, count, short, size
from casparian_console.facts import JobBook, Standing
from casparian_console.kinds import look_of
from casparian_console.messages import (
    Copy,
    Effects,
    Ended,
    Failed,
    OpenFolder,
    Output,
    RunCommand,
    RunOperation,
    StopCommand,
    Tag,
)
from casparian_console.overlays import PathPrompt
from casparian_console.screen import Action, Context, existing
from casparian_console.screens.discover.files import Dropdown, File, Filter, Window, ids_of, tag_names
from casparian_console.screens.discover.preview import Preview
from casparian_protocol.errors import CasparianError
from casparian_protocol.tagging import check_tag
from casparian_protocol.wire.operations.base import FILE_IDS_LIMIT
from casparian_protocol.wire.operations.registry import RESCAN, TAG
from casparian_protocol.wording import command_line

COMMAND = ("discover", "tagged")


def ask_which_tag(title: str, known: Sequence[str], then: Callable[[str], Effects], context: Context) -> Effects:
    """Ask for a tag; an invalid tag is refused with the reason."""

    def typed(tag: str) -> Effects:
        try:
            check_tag(tag)
        except CasparianError as error:
            context.say(f"{error.problem} {error.remedy}", "bad")
            return []
        return then(tag)

    hint = f"known: {', '.join(clean(tag) for tag in known)}" if known else "There are no tags yet."
    return context.prompt(title, typed, hint=hint)


def put(files: Sequence[File], tag: str) -> Effects:
    """Put the tag on at most `FILE_IDS_LIMIT` files. Undo leaves it on files that had it before."""
    if not all(file.is_hashed for file in files):
        return [RunCommand(COMMAND, ("tag", *(file.path for file in files), tag))]
    fresh = [file for file in files if tag not in file.tag_list]
    return [replace(_ask(files, tag, remove=False), undo=_ask(fresh, tag, remove=True) if fresh else None)]


def take_off(files: Sequence[File], tag: str) -> Effects:
    return [replace(_ask(files, tag, remove=True), undo=_ask(files, tag, remove=False))]


def put_on_all(chosen: Filter, files: int, loaded: Sequence[File], tag: str, context: Context) -> Effects:
    """Put the tag on all files that the filter shows, after a question with their number."""
    if files <= FILE_IDS_LIMIT and len(loaded) == files and all(file.is_hashed for file in loaded):
        effects = put(loaded, tag)
    else:
        effects = [RunCommand(COMMAND, ("tag", *chosen.options, tag))]
    question = f"Put the tag “{clean(tag)}” on {count(files, 'file')}?"
    return context.confirm("Tag", question, effects, details=[f"shown: {clean(chosen.words)}"])


def _ask(files: Sequence[File], tag: str, *, remove: bool) -> RunOperation:
    word = "untag" if remove else "tag"
    shown = [file.path for file in files[:3]]
    more = f" # and {len(files) - 3:,} more" if len(files) > 3 else ""
    return RunOperation(
        ("discover", word, tag),
        TAG(tag=tag, remove=remove, file_ids=ids_of(files), files=len(files)),
        command_line(word, *shown, tag) + more,
        f"{clean(tag)} {'off' if remove else 'on'} {count(len(files), 'file')}",
    )


_SCAN: Tag = ("discover", "scan")


class ScanProgress(TypedDict, total=False):
    """A progress line of `casparian scan --progress --json`."""

    files: int
    seconds: float


class ScanReport(TypedDict, total=False):
    """The last line of `casparian scan --progress --json`."""

    files: int
    bytes: int
    new: int
    changed: int
    renamed: int
    vanished: int
    unchanged: int
    unreadable_count: int
    is_complete: bool


class Scan:
    """The running scan. There is one at a time, because two would compete for the same disk."""

    def __init__(self) -> None:
        self.path = ""
        self.is_running = False
        self.progress: ScanProgress = {}
        self._result: ScanReport = {}
        self._rest = ""

    def start(self, path: str) -> Effects:
        self.path, self.is_running, self.progress, self._result, self._rest = path, True, {}, {}, ""
        return [RunCommand(_SCAN, ("scan", path, "--progress", "--json"))]

    def stop(self, context: Context) -> Effects:
        """Stop the scan: the files found are kept, and no file counts as vanished."""
        if not self.is_running:
            return []
        self.is_running = False
        context.say(f"The scan of {self.path} was stopped; what it recorded is kept.", "warn")
        return [StopCommand(_SCAN)]

    def on_answer(self, message: Output | Ended | Failed, context: Context) -> bool:
        """Take a message of the command. Returns whether the scan has ended."""
        if not self.is_running:
            return False
        if isinstance(message, Output):
            self._hear(message.text)
            return False
        self.is_running = False
        if isinstance(message, Ended) and self._result:
            context.say(f"{self.path}: {_words(self._result)}", "ok" if self._result.get("is_complete") else "warn")
            return True
        printed = message.stderr if isinstance(message, Ended) else f"{message.problem} {message.remedy}"
        lines = [line.strip().removeprefix("casparian: ") for line in printed.splitlines() if line.strip()]
        context.say(" ".join(lines) or "The scan ended without a message.", "bad")
        return True

    def _hear(self, text: str) -> None:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            try:
                document = json.loads(line)
            except ValueError:
                continue  # a line that the scan did not print
            if isinstance(document, dict):
                if "progress" in document:
                    self.progress = cast(ScanProgress, document["progress"])
                else:
                    self._result = cast(ScanReport, document)

    def lines(self, jobs: JobBook, width: int, glyphs: Glyphs) -> list[Line]:
        """Describe the running scans, of this console and of the daemon."""
        lines: list[Line] = []
        if self.is_running:
            files, seconds = self.progress.get("files", 0), self.progress.get("seconds", 0)
            rate = f"{short(files / seconds)} files/s" if seconds else ""
            lines += [
                [("accent", f"{glyphs.running} scan")],
                [("", f"  {clip_left(clean(self.path), width - 2, glyphs.ellipsis)}")],
                [("", f"  {count(files, 'file')}")],
                [("dim", f"  {rate}")],
            ]
        for bucket in jobs.buckets.values():
            if look_of(bucket.type).finds_files and bucket.standing in (Standing.RUNNING, Standing.WAITING):
                job = bucket.first
                if job is None:
                    continue
                done = job.progress.items_done if job.progress is not None else 0
                lines += [
                    [("accent", f"{glyphs.running} rescan"), ("dim", f" {job.state.lower()}")],
                    [("", f"  {clip_left(clean(job.input), width - 2, glyphs.ellipsis)}")],
                    *([[("", f"  {count(done, 'file')}")]] if done else []),
                ]
        return lines


def _words(result: ScanReport) -> str:
    changes = [
        f"{number:,} {name}"
        for name, number in (
            ("new", result.get("new")),
            ("changed", result.get("changed")),
            ("renamed", result.get("renamed")),
            ("vanished", result.get("vanished")),
            ("unchanged", result.get("unchanged")),
        )
        if number
    ]
    hidden = result.get("unreadable_count")
    unreadable = f"; {hidden:,} unreadable" if hidden else ""
    short_cut = "" if result.get("is_complete") else "; cut short, nothing was taken as vanished"
    files = f"{count(result.get('files', 0), 'file')}, {size(result.get('bytes', 0))}"
    return f"{files}: {', '.join(changes) or 'nothing'}{unreadable}{short_cut}"


class Discover(Protocol):
    """The part of the screen that the dialogs use."""

    dropdowns: tuple[Dropdown, Dropdown]
    is_right: bool
    preview: Preview
    prompt: PathPrompt | None
    scan: Scan
    window: Window

    def file(self) -> File | None: ...


def offer(discover: Discover, context: Context) -> Effects:
    """List what can be done with the file; parsers that subscribe to its tags come first."""
    file = discover.file()
    if file is None:
        return []
    tags = set(file.tag_list)
    parsers = sorted(context.facts.registry.current(), key=lambda parser: (tags.isdisjoint(parser.topics), parser.name))
    options = [("look", "look into it"), ("about", "its place in the catalogue, and its jobs")]
    options += [(f"run {each.name}", f"test {clean(each.name)} {clean(each.version)} on it") for each in parsers]
    if context.can_change:
        options += [
            ("tag", "put a tag on it"),
            *((f"off {tag}", f"take the tag {clean(tag)} off") for tag in file.tag_list),
        ]
    if discover.preview.jobs:
        options.insert(2, ("jobs", "its jobs, in Jobs"))
    options += [("copy", "copy its path"), ("folder", "open its folder")]
    return context.choose(clean(file.rel_path), options, lambda what: _do(what, file, discover, context))


def _do(what: str, file: File, discover: Discover, context: Context) -> Effects:
    word, _, name = what.partition(" ")
    match word:
        case "look" | "about":
            discover.is_right = True
            discover.preview.view = "about" if word == "about" else "records"
        case "jobs":
            return [*context.screen("jobs").show_file(file.path), *context.visit("jobs")]
        case "run":
            return [*context.go("bench"), *context.screen("bench").test_file(name, file.path, context)]
        case "tag":
            return ask_tag(discover, context)
        case "off":
            return take_off([file], name)
        case "copy":
            context.say(f"copied: {file.path}", "ok")
            return [Copy(file.path)]
        case "folder":
            return [OpenFolder(file.path.rpartition("/")[0] or "/")]
    return []


def _known_tags(discover: Discover) -> list[str]:
    return tag_names(discover.dropdowns[1].options)


def ask_tag(discover: Discover, context: Context) -> Effects:
    file = discover.file()
    if file is None:
        return []
    title = f"Tag {clean(file.rel_path)}"
    return ask_which_tag(title, _known_tags(discover), lambda tag: put([file], tag), context)


def ask_tag_all(discover: Discover, context: Context) -> Effects:
    """Ask for the tag, then for confirmation with the number of files."""
    window = discover.window
    chosen, files = window.filter, window.files or 0

    def typed(tag: str) -> Effects:
        return put_on_all(chosen, files, window.rows, tag, context)

    return ask_which_tag(f"Tag all {count(files, 'file')} that are shown", _known_tags(discover), typed, context)


def ask_scan(discover: Discover, context: Context) -> Effects:
    """For a source, offer to scan it again or another path; otherwise ask for a path."""
    source = discover.window.filter.source

    def ask_path() -> Effects:
        begun = source.value if source.kind == "root" else ""
        discover.prompt = PathPrompt("Scan which directory?", discover.scan.start, ("discover", "path"), begun)
        return [*context.open(discover.prompt), *discover.prompt.opened()]

    if source.kind != "source" or source.value not in context.facts.registry.sources:
        return ask_path()
    name = source.name
    again = RunOperation(
        ("discover", "rescan", source.value),
        RESCAN(source=source.value),
        command_line("source", "rescan", name),
        f"{clean(name)} is being scanned: job {{job_id:.8}}",
    )
    options = [("again", f"scan the source {clean(name)} again"), ("path", "scan another path")]
    return context.choose("Scan", options, lambda what: [again] if what == "again" else ask_path())


def _panels(discover: Any, context: Any) -> bool:
    return context.past_seq is None and not discover.explorer.is_open and discover.dropdown() is None


def _has_file(discover: Any, context: Any) -> bool:
    return _panels(discover, context) and discover.file() is not None


def _has_files(discover: Any, context: Any) -> bool:
    return _panels(discover, context) and bool(discover.window.files)


def _is_scanning(discover: Any, _context: Any) -> bool:
    return bool(discover.scan.is_running)


def _has_text(discover: Any, context: Any) -> bool:
    return _panels(discover, context) and bool(discover.window.filter.text)


def _can_go_on(discover: Any, context: Any) -> bool:
    """Whether Enter has a next step: of the open dropdown, the explorer, or the file."""
    if context.past_seq is not None:
        return False
    explorer = discover.explorer
    if explorer.is_open:
        return bool(explorer.rows or explorer.phase != "explore") and (
            explorer.phase != "test" or bool(explorer.tested)
        )
    return discover.dropdown() is not None or discover.file() is not None


def _can_explore(discover: Any, context: Any) -> bool:
    return context.past_seq is None and not discover.is_typing()


def _can_go_up(discover: Any, context: Any) -> bool:
    explorer = discover.explorer
    return bool(context.past_seq is None and explorer.is_open and explorer.phase == "explore" and explorer.is_focused)


ACTIONS: tuple[Action, ...] = existing(
    (
        Action("discover.open", ("enter",), "open", "List what can be done with the file: look, tag, run a parser, its jobs;"
               " in the rule explorer the next step: into the folder, test, save",
               lambda s, c: s.go_on(c), _can_go_on, 90),
        Action("discover.pane", ("tab",), "pane", "Switch between the files and the preview",
               lambda s, c: s.switch(c), _has_file, 30),
        Action("discover.sources", ("1",), "source", "Choose the source whose files are shown; type to filter",
               lambda s, c: s.open_dropdown(0, c), _panels, 80),
        Action("discover.labels", ("2",), "tags", "Choose the tag or rule whose files are shown; type to filter",
               lambda s, c: s.open_dropdown(1, c), _panels, 78),
        Action("discover.text", ("f",), "filter", "Show only files whose path contains a text",
               lambda s, c: s.ask_text(c), _panels, 60),
        Action("discover.clear", ("F",), "unfilter", "Show files with any path again",
               lambda s, c: s.set_text("", c), _has_text, 20),
        Action("discover.scan", ("s",), "scan", "Scan a path, or the chosen source again",
               lambda s, c: ask_scan(s, c), lambda s, c: _panels(s, c) and not s.scan.is_running, 75, is_change=True),
        Action("discover.stop", ("c",), "stop scan", "Stop the scan; what it recorded is kept",
               lambda s, c: s.scan.stop(c), _is_scanning, 85),
        Action("discover.tag", ("t",), "tag", "Put a tag on the file",
               lambda s, c: ask_tag(s, c), _has_file, 70, needs="tag", is_change=True),
        Action("discover.tag_all", ("T",), "tag all", "Put a tag on all files that are shown",
               lambda s, c: ask_tag_all(s, c), _has_files, 50, needs="tag", is_change=True),
        Action("discover.view", ("v",), "view", "Switch the view of the file: records, text, hex, about",
               lambda s, c: s.next_view(c), _has_file, 55),
        Action("discover.explore", ("e",), "rules", "Open the rule explorer: from folders to a pattern that tags files;"
               " in it, write the pattern and see its matches as you type",
               lambda s, c: s.explore(c), _can_explore, 65, needs="add_rule"),
        Action("discover.up", ("left", "backspace"), "up", "In the rule explorer: out of the folder",
               lambda s, c: s.explorer.up(), _can_go_up, 60),
    )
)  # fmt: skip
