"""Why a parser cannot be registered, beyond what its source alone shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from casparian_protocol.errors import CasparianError, ErrorCode
from casparian_protocol.parsers import ImportFound


class NoParserThere(CasparianError):
    """The path names nothing that could be a parser."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"There is no parser at {ascii(str(path))[1:-1]}.",
            remedy="Name a Python file or a directory that holds one; `casparian new parser NAME` writes a skeleton.",
        )


class EnvironmentNeeded(CasparianError):
    """The parser needs libraries, and there are no environments for parsers yet."""

    code = ErrorCode.DEPENDENCY_MISSING

    def __init__(self, needed: Sequence[str], *, has_lock: bool) -> None:
        shown = ", ".join(ascii(name)[1:-1] for name in needed[:8]) + (", …" if len(needed) > 8 else "")
        lock = "there is a uv.lock beside it" if has_lock else ""
        wants = " and ".join(part for part in (f"it needs {shown}" if needed else "", lock) if part)
        super().__init__(
            f"The parser cannot be registered: {wants}, but parsers run with Python's own library and pyarrow only; "
            "environments for parsers are not built yet.",
            remedy="Do without the library, guard its import with `except ImportError`, or put its source into the parser's "
            "directory; take uv.lock away. `casparian run PARSER FILE` uses the libraries of your own environment.",
        )


class FileParameter(CasparianError):
    """The parser declares a parameter of type file, which production cannot give it yet."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The parser cannot be registered: its parameter {name} is a file, and files given as parameters are not"
            " granted to production jobs and not hashed with them yet.",
            remedy="Put the file beside the parser, name it in `include` and read it with ctx.resource; `casparian run"
            f" PARSER FILE --param {name}=PATH` takes the parameter as it is.",
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
