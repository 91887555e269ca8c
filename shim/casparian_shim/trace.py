"""Normalised tracebacks, and the fingerprint of a failure.

The same cause must look the same on every machine and on every Python from 3.11 on. Paths are reduced to file names; line
numbers, addresses, the shim's own frames, the import machinery and the internals of the standard library are left out. The
message and its notes are not included, because they contain values. `errors` reports failures.
"""

import json
import os
import re
from collections.abc import Mapping
from types import TracebackType

from casparian_shim.errors import TRACE_CHARACTERS_MAX, ContextValue

TRACE_BYTES_MAX = TRACE_CHARACTERS_MAX
_CAUSES_MAX = 8
_HELD_MAX = 64

_SHIM_FOLDER = os.path.dirname(os.path.abspath(__file__)) + os.sep
_LIBRARY_FOLDER = os.path.dirname(os.path.abspath(os.__file__)) + os.sep
_SITE_FOLDERS = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

# Modules that run other modules are never the cause. They are frozen into every interpreter.
_RUNNERS = ("<frozen importlib", "<frozen runpy", "<frozen zipimport")

# Names that differ between versions of Python.
_RENAMED = {"re.PatternError": "re.error"}

# From Python 3.12 on these have no separate frame.
_INLINED = frozenset({"<listcomp>", "<dictcomp>", "<setcomp>"})

_ADDRESS = re.compile(r"\b0x[0-9a-fA-F]+\b")
_LINE_NUMBER = re.compile(r",? \bline \d+")
_CARETS = re.compile(r"^[ \t]*[~^]+[ \t]*\n?", re.MULTILINE)
# In the text of a traceback: such a frame and the source line below it.
_INLINED_FRAME = re.compile(
    r'^[ \t]*File "[^"\n]*", line \d+, in <(?:list|dict|set)comp>\n(?:(?![ \t]*File ")[ \t]+\S.*\n)?', re.MULTILINE
)
_PART = r"[^\s/\\:\"'<>|]"
# A path starts only where no part of a path continues, which keeps the search linear.
_PATH = re.compile(rf"(?<!{_PART})(?:[A-Za-z]:)?{_PART}*(?:[/\\]{_PART}+)*[/\\](?={_PART})")


def exception_name(error: BaseException) -> str:
    """The type as a reader would write it: `KeyError`, `decimal.InvalidOperation`."""
    return type_name(type(error))


def type_name(kind: type) -> str:
    """A class with its module, but without the function in which it was defined."""
    inner = kind.__qualname__.rpartition("<locals>.")[2]
    name = inner if kind.__module__ in ("builtins", "__main__") else f"{kind.__module__}.{inner}"
    return _RENAMED.get(name, name)


def normalise_trace(error: BaseException) -> str:
    """The exception and its causes, outermost first: type names, then one `file: function` per line. At most 4 KiB.

    The exceptions in a group are part of its cause, each kind once; the order in which tasks failed is accidental.
    """
    return _cut("\n".join(_lines(error, set())))


def _lines(error: BaseException, seen: set[int]) -> list[str]:
    lines: list[str] = []
    current: BaseException | None = error
    while current is not None and id(current) not in seen and len(seen) < _CAUSES_MAX:
        lines.append(("caused by " if lines else "") + exception_name(current))
        lines.extend(f"  {place}" for place in _places(current.__traceback__))
        seen.add(id(current))
        if isinstance(current, BaseExceptionGroup):
            held = sorted({tuple(_lines(each, set(seen))) for each in current.exceptions[:_HELD_MAX]})
            lines.extend(f"  | {line}" for each in held for line in each)
        current = _cause(current)
    return lines


def _cause(error: BaseException) -> BaseException | None:
    """The earlier failure in the author's code, but not an exception that the library caught and replaced internally."""
    if error.__cause__ is not None or error.__suppress_context__:
        return error.__cause__
    context = error.__context__
    return context if context is not None and raised_at(context) is not None else None


def own_traceback(error: BaseException) -> TracebackType | None:
    """The traceback from the parser's first frame on, without frames of the shim.

    If there are only frames of the shim, the traceback is complete, because the shim itself failed.
    """
    step = error.__traceback__
    while step is not None and is_machinery(step.tb_frame.f_code.co_filename):
        step = step.tb_next
    return step or error.__traceback__


def raised_at(error: BaseException) -> tuple[str, int, str] | None:
    """File name, line and function of the innermost frame outside the shim and the standard library."""
    found: tuple[str, int, str] | None = None
    step = error.__traceback__
    while step is not None:
        code = step.tb_frame.f_code
        if not is_machinery(code.co_filename) and not _is_library(code.co_filename):
            found = (_file_name(code.co_filename), step.tb_lineno, code.co_name)
        step = step.tb_next
    return found


def _places(traceback: TracebackType | None) -> list[str]:
    """Each place once, in order of first appearance, so that the depth of a recursion does not matter."""
    places: dict[str, None] = {}
    inside_library = False
    while traceback is not None:
        code = traceback.tb_frame.f_code
        traceback = traceback.tb_next
        if is_machinery(code.co_filename) or code.co_name in _INLINED:
            continue
        is_library = _is_library(code.co_filename)
        # Only the public function of the standard library is kept, because its internals differ between versions.
        if not (is_library and inside_library):
            place = _door(code.co_filename, code.co_name) if is_library else None
            places[place or f"{_file_name(code.co_filename)}: {code.co_name}"] = None
        inside_library = is_library
    return list(places)


def is_machinery(path: str) -> bool:
    """Whether a file belongs to the shim, or to a part of Python that runs other modules."""
    return path.startswith((_SHIM_FOLDER, *_RUNNERS))


def _is_library(path: str) -> bool:
    if path.startswith("<frozen "):
        return True
    return path.startswith(_LIBRARY_FOLDER) and not any(folder in path for folder in _SITE_FOLDERS)


def _door(path: str, function: str) -> str:
    """Where the standard library was entered: the package and the public function. Files move between versions."""
    inner = path[8:-1].split(".") if path.startswith("<frozen ") else path[len(_LIBRARY_FOLDER) :].split(os.sep)
    package = inner[0].removesuffix(".py")
    return package if function.startswith("_") else f"{package}: {function}"


def _file_name(path: str) -> str:
    parts = path.replace("\\", "/").split("/")
    return "/".join(parts[-2:]) if parts[-1] == "__init__.py" else parts[-1]


def normalise_text(text: str) -> str:
    """Any text about a failure, with paths reduced to file names, and line numbers, carets and addresses removed."""
    text = _CARETS.sub("", text)
    text = _INLINED_FRAME.sub("", text)
    text = _LINE_NUMBER.sub("", text)
    text = _ADDRESS.sub("0x…", text)
    return _PATH.sub("", text)


def _cut(text: str) -> str:
    return text.encode("utf-8", "backslashreplace")[:TRACE_BYTES_MAX].decode("utf-8", "ignore")


def fingerprint(
    exception: str,
    code: str,
    trace: str,
    context: Mapping[str, ContextValue],
    facts: Mapping[str, ContextValue] | None = None,
) -> str:
    """16 hex digits that name a cause: equal for equal exception, code, normalised trace, shape of context, and facts.

    For `context`, the names and the types of values count; for `facts`, the values count: an exit status, a signal, an output,
    codes.
    """
    from hashlib import blake2b  # loads OpenSSL, but a guest never makes fingerprints

    shape = sorted((key, _kind(value)) for key, value in context.items())
    parts: list[object] = [exception, str(code), _cut(normalise_text(trace)), shape]
    if facts:
        parts.append(sorted((key, str(value)) for key, value in facts.items()))
    canonical = json.dumps(parts, separators=(",", ":"))
    return blake2b(canonical.encode("ascii"), digest_size=8).hexdigest()


def _kind(value: ContextValue) -> str:
    return "null" if value is None else type(value).__name__
