"""Every key of Discover: of its three panels, and of the rule explorer that takes their place."""

from __future__ import annotations

from typing import Any

from casparian_console.actions import Action, existing
from casparian_console.screens.discover import commands


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
    """There is a next step: of the open dropdown, the explorer, or the file."""
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
               lambda s, c: commands.ask_scan(s, c), lambda s, c: _panels(s, c) and not s.scan.is_running, 75, is_change=True),
        Action("discover.stop", ("c",), "stop scan", "Stop the scan; what it recorded is kept",
               lambda s, c: s.scan.stop(c), _is_scanning, 85),
        Action("discover.tag", ("t",), "tag", "Put a tag on the file",
               lambda s, c: commands.ask_tag(s, c), _has_file, 70, needs="tag", is_change=True),
        Action("discover.tag_all", ("T",), "tag all", "Put a tag on all files that are shown",
               lambda s, c: commands.ask_tag_all(s, c), _has_files, 50, needs="tag", is_change=True),
        Action("discover.view", ("v",), "view", "Switch the view of the file: records, text, hex, about",
               lambda s, c: s.next_view(c), _has_file, 55),
        Action("discover.explore", ("e",), "rules", "Open the rule explorer: from folders to a pattern that tags files;"
               " in it, write the pattern and see its matches as you type",
               lambda s, c: s.explore(c), _can_explore, 65, needs="add_rule"),
        Action("discover.up", ("left", "backspace"), "up", "In the rule explorer: out of the folder",
               lambda s, c: s.explorer.up(), _can_go_up, 60),
    )
)  # fmt: skip
