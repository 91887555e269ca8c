"""Every error code that the code can give is explained, tried by a test, and no page names one that does not exist."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from casparian_protocol.contract import ViolationCode
from casparian_protocol.error_codes import EXPLAINED, REFUSALS, VIOLATIONS
from casparian_protocol.errors import NEVER_THE_PARSERS, ErrorCode
from casparian_protocol.jobs import JobState, OutputStatus
from casparian_protocol.wire.messages import Refusal
from casparian_shim.readers import What
from docs.generated import codes_of_classes

ROOT = Path(__file__).parents[2]
PACKAGES = ("cli", "console", "protocol", "sentinel", "shim", "worker")
_CODE = re.compile(r"[A-Z][A-Z_]*[A-Z]")
#: Calls that refuse with a code, as their last argument or as `code=`.
_REFUSING = frozenset(
    {"reject", "OperationRefused", "RequestRefused", "UploadRefused", "Rejected", "Failure", "error_frames", "__init__"}
)
#: Given only when two requests meet in the same moment, ids collide, or the machine breaks under a request.
_BY_ACCIDENT = frozenset(
    {"AMBIGUOUS", "INTERRUPTED", "NOT_ENDED", "NOT_OPEN", "NOT_QUEUED", "OS_ERROR", "REFUSED", "TABLES_AWAY"}
)
#: Words in capitals that pages quote and that are not codes: SQL, variables of the environment, the kernel's names.
_NO_CODES = frozenset(
    {"CAP_DAC_READ_SEARCH", "NOTIFY_SOCKET", "NOT_HASHED", "NO_COLOR", "SO_PEERCRED", "TRY_CAST", "WATCHDOG_USEC"}
)


def trees(*folders: str) -> Iterator[ast.Module]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            if path != Path(__file__):
                yield ast.parse(path.read_text("utf-8"))


def constants(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def codes_in_refusals() -> set[str]:
    """Codes in calls that refuse, and as the last part of a tuple that is returned."""
    found: set[str] = set()
    for tree in trees(*PACKAGES):
        for node in ast.walk(tree):
            places: list[ast.expr] = []
            if isinstance(node, ast.Call):
                called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if called in _REFUSING:
                    places = [
                        *(node.args[:1] if called == "Failure" else node.args[-1:]),
                        *(keyword.value for keyword in node.keywords if keyword.arg == "code"),
                    ]
            elif isinstance(node, ast.arguments):
                named = zip(reversed(node.args), reversed(node.defaults), strict=False)
                places = [default for argument, default in named if argument.arg in ("code", "reply_code")]
            elif isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
                places = node.value.elts[2:]
            found |= {text for place in places for text in constants(place) if _CODE.fullmatch(text)}
    return found - set(JobState)


def test_every_code_is_explained() -> None:
    assert list(EXPLAINED) == list(ErrorCode)
    assert list(VIOLATIONS) == list(ViolationCode)
    texts = [text for told in EXPLAINED.values() for text in (told.meaning, told.remedy)] + [*REFUSALS.values()]
    assert [text for text in texts if not text.endswith(".") or "|" in text] == []


def test_a_code_that_never_counts_against_the_parser_is_not_called_its_fault() -> None:
    assert [code for code in NEVER_THE_PARSERS if "parser" in EXPLAINED[code].fault] == []


def test_every_code_of_a_refusal_is_explained_and_no_other() -> None:
    assert codes_in_refusals() == set(REFUSALS)


def test_every_code_is_provoked_or_named_by_a_test() -> None:
    named: set[str] = set()
    for tree in trees("tests"):
        named |= {word for text in constants(tree) for word in _CODE.findall(text)}
        named |= {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    never_given = {"VENV_BUILD_FAILED"}
    assert sorted({*ErrorCode, *REFUSALS} - named - _BY_ACCIDENT - never_given) == []


def test_every_code_that_a_page_names_exists() -> None:
    classes = set(codes_of_classes())
    known = {*ErrorCode, *REFUSALS, *JobState, *Refusal, *OutputStatus, *What.__members__, *classes, *_NO_CODES}
    unknown = []
    for page in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]):
        if page.parent.name == "decisions":  # they stay as they were written
            continue
        quoted = re.findall(r"`([A-Z]+(?:_[A-Z]+)+)`", page.read_text("utf-8"))
        unknown += [
            f"{page.relative_to(ROOT)}: {word}"
            for word in quoted
            if word not in known and not word.startswith("CASPARIAN_")
        ]
    assert unknown == []


def test_every_kind_of_refusal_says_in_its_docstring_what_it_means() -> None:
    told = codes_of_classes()
    assert len(told) > 60
    assert [code for code, said in told.items() if len(said) < 12] == []
