"""Why a parser cannot be registered, beyond what its source alone shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from casparian_protocol.errors import CasparianError
from casparian_protocol.parser_imports import ImportFound


class NoParserThere(CasparianError):
    """The path names nothing that could be a parser."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"There is no parser at {ascii(str(path))[1:-1]}.",
            remedy="Name a Python file or a directory that holds one; `casparian new parser NAME` writes a skeleton.",
        )


class LockMissing(CasparianError):
    """The parser needs libraries, and nothing pins them."""

    def __init__(self, needed: Sequence[str], *, says_none: bool) -> None:
        shown = ", ".join(ascii(name)[1:-1] for name in needed[:8])
        denied = ", though it says `dependencies = []`" if says_none else ""
        super().__init__(
            f"The parser needs {shown}{denied}, and there is no uv.lock beside it.",
            remedy="Run `uv init --bare && uv add …` beside the parser and register the directory, with "
            "all modules of your own.",
        )


class BundleTestInvalid(CasparianError):
    """A test beside the parser cannot be run as it stands."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"The test {ascii(str(path))[1:-1]} cannot be used: {why}.",
            remedy="docs/reference/parser-bundle.md shows the form of `tests/<case>.expected.json`.",
        )


def import_place(filename: str, found: ImportFound) -> str:
    """`polars (parser.py:3)`: a module and where it is imported."""
    return f"{found.top_level} ({filename}:{found.line})"
