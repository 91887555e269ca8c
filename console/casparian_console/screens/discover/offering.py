"""What can be done from Discover with a file, with all that are shown, with a source: the questions before it. Pure."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from casparian_console.effects import Ask, Copy, Effects, OpenFolder
from casparian_console.screen import Context
from casparian_console.screens.bench.path_prompt import PathPrompt
from casparian_console.screens.discover import labelling
from casparian_console.screens.discover.dropdown import tag_names
from casparian_console.screens.discover.window import File
from casparian_console.text import clean, count

if TYPE_CHECKING:
    from casparian_console.screens.discover.screen import Discover


def offer(discover: Discover, context: Context) -> Effects:
    """A list to choose from; the parsers that its tags are meant for come first."""
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
            return labelling.take_off([file], name)
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
    return labelling.ask_tag(title, _known_tags(discover), lambda tag: labelling.put([file], tag), context)


def ask_tag_all(discover: Discover, context: Context) -> Effects:
    """Asks for the tag, then once more with the number of files."""
    window = discover.window
    chosen, files = window.filter, window.files or 0

    def typed(tag: str) -> Effects:
        return labelling.put_on_all(chosen, files, window.rows, tag, context)

    return labelling.ask_tag(f"Tag all {count(files, 'file')} that are shown", _known_tags(discover), typed, context)


def ask_scan(discover: Discover, context: Context) -> Effects:
    """Of a source the choice between it and another path; else a path."""
    source = discover.window.filter.source

    def ask_path() -> Effects:
        begun = source.value if source.kind == "root" else ""
        discover.prompt = PathPrompt("Scan which directory?", discover.scan.start, ("discover", "path"), begun)
        return [*context.open(discover.prompt), *discover.prompt.opened()]

    if source.kind != "source" or source.value not in context.facts.registry.sources:
        return ask_path()
    name = source.name
    again = Ask(
        ("discover", "rescan", source.value),
        "rescan",
        {"source": source.value},
        shlex.join(["casparian", "source", "rescan", name]),
        f"{clean(name)} is being scanned: job {{job_id:.8}}",
    )
    options = [("again", f"scan the source {clean(name)} again"), ("path", "scan another path")]
    return context.choose("Scan", options, lambda what: [again] if what == "again" else ask_path())
