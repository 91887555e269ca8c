"""Putting tags on files and taking them off: the operation for a few, the command line for many. Pure.

A tagged file must be known by its content before it can become a job. The operation does not read files, the command
does: so files that were never digested go through the command.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import replace

from casparian_console.effects import Ask, Effects, RunCommand
from casparian_console.screen import Context
from casparian_console.screens.discover.filters import Filter
from casparian_console.screens.discover.window import File, ids_of
from casparian_console.text import clean, count
from casparian_protocol.errors import CasparianError
from casparian_protocol.operations import FILE_IDS_LIMIT
from casparian_protocol.tagging import check_tag

COMMAND = ("discover", "tagged")


def ask_tag(title: str, known: Sequence[str], then: Callable[[str], Effects], context: Context) -> Effects:
    """Which tag; one that is none is refused with the reason."""

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
    """On up to `FILE_IDS_LIMIT` files; taking it back leaves it on those that had it before."""
    if not all(file.is_hashed for file in files):
        return [RunCommand(COMMAND, ("tag", *(file.path for file in files), tag))]
    fresh = [file for file in files if tag not in file.tag_list]
    return [replace(_ask(files, tag, remove=False), undo=_ask(fresh, tag, remove=True) if fresh else None)]


def take_off(files: Sequence[File], tag: str) -> Effects:
    return [replace(_ask(files, tag, remove=True), undo=_ask(files, tag, remove=False))]


def put_on_all(chosen: Filter, files: int, loaded: Sequence[File], tag: str, context: Context) -> Effects:
    """On all that the filter shows; asks once, with their number."""
    if files <= FILE_IDS_LIMIT and len(loaded) == files and all(file.is_hashed for file in loaded):
        effects = put(loaded, tag)
    else:
        effects = [RunCommand(COMMAND, ("tag", *chosen.options, tag))]
    question = f"Put the tag “{clean(tag)}” on {count(files, 'file')}?"
    return context.confirm(question, effects, details=[f"shown: {clean(chosen.words)}"])


def _ask(files: Sequence[File], tag: str, *, remove: bool) -> Ask:
    word = "untag" if remove else "tag"
    shown = [file.path for file in files[:3]]
    more = f" # and {len(files) - 3:,} more" if len(files) > 3 else ""
    return Ask(
        ("discover", word, tag),
        "tag",
        {"tag": tag, "remove": remove, "file_ids": ids_of(files), "files": len(files)},
        shlex.join(["casparian", word, *shown, tag]) + more,
        f"{clean(tag)} {'off' if remove else 'on'} {count(len(files), 'file')}",
    )
