"""The same cause has the same fingerprint on every machine and every Python; another cause has another.

`recorded/causes.json` holds what CPython 3.11, 3.12 and 3.13 all said of the failures in `causes.py`. Every interpreter
that this machine has is held against it; after a wanted change: `python tests/shim/test_fingerprints.py`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import casparian_shim
from casparian_shim.trace import fingerprint, normalise_text, normalise_trace

HERE = Path(__file__).parent
SHIM = Path(casparian_shim.__file__).parents[1]
RECORDED = HERE / "recorded" / "causes.json"


def _interpreters() -> dict[str, str]:
    """version → path, of this Python and of others that are installed here."""
    candidates = [sys.executable, *map(str, Path.home().glob(".pyenv/versions/3.1[1-9]*/bin/python"))]
    candidates += [found for minor in range(11, 20) if (found := shutil.which(f"python3.{minor}"))]
    versions: dict[str, str] = {}
    for path in candidates:
        asked = [path, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        said = subprocess.run(asked, capture_output=True, text=True, check=False)
        version = said.stdout.strip()
        if said.returncode == 0 and version >= "3.11":
            versions.setdefault(version, path)
    return versions


INTERPRETERS = _interpreters()


def _causes(python: str, script: Path = HERE / "causes.py") -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [python, "-I", "-S", "-B", str(script), str(SHIM)], capture_output=True, text=True, check=True
    )
    return {
        name: {"code": code, "exception": exception, "trace": trace.splitlines(), "fingerprint": digits}
        for name, (code, exception, trace, digits) in json.loads(done.stdout).items()
    }


@pytest.mark.parametrize("version", sorted(INTERPRETERS))
def test_every_python_says_what_was_recorded(version: str) -> None:
    assert _causes(INTERPRETERS[version]) == json.loads(RECORDED.read_text(encoding="utf-8"))


def test_another_folder_and_other_lines_change_nothing(tmp_path: Path) -> None:
    moved = tmp_path / "lib" / "python3.9" / "a venv" / "causes.py"
    moved.parent.mkdir(parents=True)
    moved.write_text('"""Moved."""\n' * 40 + (HERE / "causes.py").read_text(encoding="utf-8"), encoding="utf-8")

    assert _causes(sys.executable, moved) == json.loads(RECORDED.read_text(encoding="utf-8"))


def test_different_causes_differ() -> None:
    digits = [cause["fingerprint"] for cause in json.loads(RECORDED.read_text(encoding="utf-8")).values()]

    assert len(set(digits)) == len(digits) > 25


@pytest.mark.parametrize("version", ["3.12", "3.13"])
def test_the_text_of_a_traceback_is_the_same_in_every_shape(version: str) -> None:
    texts = [(HERE / "recorded" / f"traceback-{each}.txt").read_text(encoding="utf-8") for each in ("3.11", version)]

    assert normalise_text(texts[0]) == normalise_text(texts[1])
    assert fingerprint("ValueError", "INVALID_DATA", texts[0], {}) == fingerprint(
        "ValueError", "INVALID_DATA", texts[1], {}
    )
    assert "/" not in normalise_text(texts[1])


def _raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:  # noqa: BLE001 - it is what the test is about
        return caught


def test_notes_and_messages_carry_values_and_do_not_count() -> None:
    noted = ValueError("line 7")
    noted.add_note("file a")

    assert normalise_trace(_raised(noted)) == normalise_trace(_raised(ValueError("line 8")))


def test_what_a_group_holds_counts_once_a_kind_and_in_any_order() -> None:
    one = _raised(ExceptionGroup("3", [KeyError("a"), ValueError("b"), KeyError("c")]))
    other = _raised(ExceptionGroup("2", [ValueError("x"), KeyError("y")]))
    third = _raised(ExceptionGroup("2", [ValueError("x"), OSError("y")]))

    assert normalise_trace(one) == normalise_trace(other) != normalise_trace(third)


def test_a_group_that_holds_itself_by_its_cause_ends() -> None:
    inner = ValueError("x")
    group = ExceptionGroup("g", [inner])
    inner.__cause__ = group

    assert normalise_trace(group).splitlines() == ["ExceptionGroup", "  | ValueError"]


if __name__ == "__main__":
    RECORDED.write_text(json.dumps(_causes(sys.executable), indent=1) + "\n", encoding="utf-8")
