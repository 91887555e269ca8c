"""A field for a path, with the names below it as one types: Tab completes. Shared with Discover."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from os.path import expanduser

from casparian_console.canvas import Glyphs, Line
from casparian_console.editor import Editor
from casparian_console.effects import Effects, ListDirectory, Tag
from casparian_console.messages import Listing
from casparian_console.overlays import Overlay
from casparian_console.text import clean, clip


@dataclass
class PathPrompt(Overlay):
    """`then` gets the path on Enter. Directories are asked for by effects tagged `tag`; `took` brings the answer."""

    title: str
    then: Callable[[str], Effects]
    tag: Tag
    text: str = ""
    #: Offered besides directories, by the end of the name; none: directories only.
    endings: Sequence[str] = ("",)
    wish: tuple[int, int] = (84, 16)

    def __post_init__(self) -> None:
        self.editor = Editor(self.text)
        self._asked = ""
        self._names: list[str] = []

    def opened(self) -> Effects:
        """What is to be asked when it is shown."""
        return self._ask()

    def _folder(self) -> str:
        return expanduser(self.editor.text.rpartition("/")[0] + "/") if "/" in self.editor.text else "."

    def _ask(self) -> Effects:
        folder = self._folder()
        if folder == self._asked:
            return []
        self._asked, self._names = folder, []
        return [ListDirectory(self.tag, folder)]

    def on_answer(self, listing: Listing) -> None:
        if listing.path != self._asked:
            return
        shown = [name + "/" for name, is_directory, *_ in listing.entries if is_directory]
        for name, is_directory, is_broken, *_ in listing.entries:
            if not is_directory and not is_broken and any(name.endswith(ending) for ending in self.endings):
                shown.append(name)
        self._names = sorted(shown)

    def matching(self) -> list[str]:
        begun = self.editor.text.rpartition("/")[2]
        return [name for name in self._names if name.startswith(begun) and (begun.startswith(".") or name[:1] != ".")]

    def handle(self, key: str) -> Effects:
        if key == "enter":
            text = self.editor.text.strip()
            if not text:
                return []
            self.is_closed = True
            return self.then(expanduser(text))  # no shell stands between this and the command
        if key == "tab":
            self._complete()
        else:
            self.editor.handle(key)
        return self._ask()

    def _complete(self) -> None:
        """As far as the names below agree."""
        found = self.matching()
        if not found:
            return
        shared = found[0]
        for name in found[1:]:
            while not name.startswith(shared):
                shared = shared[:-1]
        folder, slash, _ = self.editor.text.rpartition("/")
        self.editor.set(folder + slash + shared)

    def paste(self, text: str) -> None:
        self.editor.insert(text)

    def body(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        lines: list[Line] = [self.editor.line(width, style="input", placeholder="/path/…"), []]
        found = self.matching()
        room = height - 3
        lines += [[("dim", clip(clean(name), width, glyphs.ellipsis))] for name in found[:room]]
        return [*lines, [("dim", f"{len(found) - room:,} more")]] if len(found) > room else lines

    def hint(self) -> str:
        return "Tab completes   Enter: take it   Esc: leave it"
