"""The explanation of a failure: code and exception, the place in the code, the remedy, and the traceback.

Jobs and the Parser Bench show the same block. The remedy comes from the exception type if that is more specific than the
code, else from the table of error codes (`casparian_protocol.error_codes`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from casparian_console.canvas import Line, clean
from casparian_console.overlays import wrapped
from casparian_protocol.error_codes import EXPLAINED
from casparian_protocol.errors import ErrorCode

_TRACE_LINES = 120
_PLACE = ("file", "line", "function")
_NO_LIBRARY = "The library is not in this environment; registered parsers have Python's library and pyarrow only."
_BY_EXCEPTION = {
    "ModuleNotFoundError": _NO_LIBRARY,
    "ImportError": _NO_LIBRARY,
    "SyntaxError": "Correct the line that is named; nothing of the file was run.",
    "KeyError": "The input lacks a key that the code expects: use .get, or ctx.reject the row with a reason.",
    "IndexError": "A line has fewer parts than the code expects: ctx.reject it with a reason.",
}
_UNKNOWN = "The traceback names the line; `breakpoint()` in front of it stops there under `casparian run PARSER FILE`."


@dataclass(frozen=True, slots=True)
class Failure:
    """One failure; empty fields are not known (yet)."""

    code: str = ""
    message: str = ""
    exception: str = ""
    #: The fingerprint as shown: `ERR-1a2b3c4d`.
    fingerprint: str = ""
    trace: str = ""
    #: The place (`file`, `line`, `function`) and anything else that the guest or the worker reported.
    context: Mapping[str, object] = field(default_factory=dict)
    #: Values for the placeholders of a remedy: `{"ID": "3f2a91c0", "PARSER": "fix"}`.
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def suggestion(self) -> str:
        """The remedy: a sentence, or a command with the job's id."""
        if found := _BY_EXCEPTION.get(self.exception):
            return found
        explained = EXPLAINED.get(ErrorCode(self.code)) if self.code in ErrorCode.__members__ else None
        if explained is None:
            return _UNKNOWN
        return re.sub(r"\b[A-Z]{2,}\b", lambda word: self.names.get(word.group()) or word.group(), explained.remedy)


def context_of(text: object) -> Mapping[str, object]:
    """The context of an error from its JSON column."""
    try:
        found = json.loads(text) if isinstance(text, str) and text else {}
    except ValueError:
        return {"context": text}
    return found if isinstance(found, dict) else {}


def failure_lines(failure: Failure, width: int) -> list[Line]:
    """The block, the most useful part first; the traceback is in red at the end."""
    known = failure.context
    head: Line = [("bad bold", clean(failure.code)), ("bad", f"  {clean(failure.exception)}".rstrip())]
    lines: list[Line] = [[*head, ("dim", f"  {failure.fingerprint}".rstrip())], *wrapped(failure.message, width, "bad")]
    if known.get("file"):
        place = f"at {clean(known['file'])}:{clean(known.get('line', '?'))}"
        inside = f" in {clean(known['function'])}" if known.get("function") else ""
        lines += wrapped(place + inside, width)
    for name, value in sorted(known.items()):
        if name not in _PLACE and value not in (None, "", [], {}):
            shown = value if isinstance(value, str | int | float) else json.dumps(value, ensure_ascii=False)
            lines += wrapped(f"{clean(name).replace('_', ' ')}: {clean(shown)}", width, "dim")
    lines += wrapped(f"Try: {failure.suggestion}", width, "accent")
    trace = [line for line in failure.trace.replace("\t", "    ").splitlines() if line.strip()]
    for line in trace[:_TRACE_LINES]:
        indent = " " * (2 + len(line) - len(line.lstrip(" ")))
        lines += [[("bad", indent), *part] for part in wrapped(line.strip(), max(10, width - len(indent)), "bad")]
    if len(trace) > _TRACE_LINES:
        lines.append(
            [
                (
                    "dim",
                    f"  {len(trace) - _TRACE_LINES:,} more lines: `casparian job show {failure.names.get('ID', 'ID')}`",
                )
            ]
        )
    return lines
