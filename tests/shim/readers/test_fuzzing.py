"""Any bytes through any reader and the detector: no crash, no hang, and each byte is accounted for once.

Hypothesis draws a few inputs here. The campaign draws many, runs the coverage-guided fuzzer for `FUZZ_SECONDS` a target, and
measures that twice the bytes take about twice the time.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
import venv
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.shim.readers.fuzzing import CHOICES, TARGETS, TEXTS, read_any, seeds

ROOT = Path(__file__).resolve().parents[3]
SECONDS = int(os.environ.get("FUZZ_SECONDS", "60"))
PIECES = st.sampled_from(
    [
        b'"',
        b'""',
        b",",
        b";",
        b"\t",
        b"|",
        b"\n",
        b"\r",
        b"\r\n",
        b"\x00",
        b"\\",
        b"#",
        b"{",
        b"}",
        b"[",
        b":",
        b"~",
        b"*",
        b"'",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\xe9",
        b"\xc3",
        b"\x85",
        b"\x0b",
        b"\x1c",
        b"MSH|^~\\&|",
        b"ISA*",
        b"PID|1",
        b"UNB+",
        b"'",
        b"+",
        b"<order>",
        b"</order>",
        b"<a b='1'/>",
        b"&#38;",
        b"<!--",
        b"]]>",
        b'{"a":1},',
        b"\\ud800",
        b"\xf1\xc5\x15",
        b"\x00\x0c\x00\x00",
        b" PIC S9(4) COMP-3.",
        b" OCCURS 3.",
        b"05 B",
        b" REDEFINES B",
        b"12",
        b"ab",
    ]
)


@cache
def started(name: str) -> list[bytes]:
    return list(seeds(name, 60))


@st.composite
def inputs(draw: st.DrawFn, name: str) -> bytes:
    """A damaged file, damaged further, or nothing but pieces."""
    if draw(st.booleans()):
        return draw(st.binary(min_size=CHOICES, max_size=CHOICES)) + b"".join(draw(st.lists(PIECES, max_size=40)))
    data = draw(st.sampled_from(started(name)))
    for _ in range(draw(st.integers(1, 4))):
        at, size = draw(st.integers(CHOICES, len(data))), draw(st.integers(0, 8))
        data = data[:at] + draw(PIECES) + data[at + size :]
    return data


@pytest.mark.parametrize("name", TARGETS)
def test_any_bytes_are_read_or_refused_by_name(name: str) -> None:
    @settings(max_examples=20 if name == "detector" else 40)
    @given(inputs(name))
    def check(data: bytes) -> None:
        read_any(name, data)

    check()


@pytest.mark.campaign
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", TARGETS)
def test_many_bytes_are_read_or_refused_by_name(name: str) -> None:
    @settings(max_examples=20_000, derandomize=False)
    @given(inputs(name))
    def check(data: bytes) -> None:
        read_any(name, data)

    check()


@pytest.fixture(scope="module")
def python_with_atheris(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python with the fuzzer and with everything that this one has."""
    home = tmp_path_factory.mktemp("atheris")
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    site = subprocess.run(
        [str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    (Path(site) / "ours.pth").write_text("\n".join(path for path in sys.path if path.startswith("/")) + "\n")
    done = subprocess.run(
        [str(python), "-m", "pip", "install", "--quiet", "atheris"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"atheris cannot be installed: {done.stderr.strip().splitlines()[-1]}")
    return python


@pytest.mark.campaign
@pytest.mark.timeout(SECONDS + 600)
@pytest.mark.parametrize("name", TARGETS)
def test_the_coverage_guided_fuzzer_finds_nothing(name: str, python_with_atheris: Path, tmp_path: Path) -> None:
    command = [
        str(python_with_atheris),
        "-m",
        "tests.shim.readers.fuzzing",
        name,
        str(SECONDS),
        str(tmp_path / "corpus"),
    ]
    with (tmp_path / "said").open("wb") as said:
        done = subprocess.run(
            command, cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=said, stderr=said, check=False
        )
    words = (tmp_path / "said").read_text(errors="replace").splitlines()
    assert done.returncode == 0, "\n".join(words[-40:])
    assert any(line.startswith("Done ") for line in words), words[-5:]


# --- time


#: What takes a careless reader more than linear time.
HOSTILE = {
    "quotes": b'"',
    "open quotes": b'"a\n',
    "quotes and delimiters": b'",',
    "closed and opened": b'a","b\n',
    "delimiters": b",",
    "line ends": b"\n",
    "returns": b"\r",
    "no line end": b"x",
    "NULs": b"\0",
    "brackets": b'{"a":[',
    "backslashes": b"\\",
    "headers": b"MSH|^~\\&|\r",
    "envelopes": b"ISA*00*",
    "blanks": b" ",
    "bytes that are no text": b"\xff\n",
    "tiny records": b"a\n",
    "alternating": b'"a,b",c\nd,e"\n',
    "elements": b"<order/>",
    "open elements": b"<order>",
    "open tags": b"<order a='1' ",
    "references": b"&#38;",
    "objects": b'{"a":1},',
    "bad objects": b'{"a":01},',
    "open texts": b'{"a":"',
    "released": b"?'",
    "segments": b"ST*1*1~SE*2*1~",
    "interchanges": b"UNB+UNOA:2+A+B'",
    "records": b"2 b\n",
    "clauses": b" 05 B PIC X(3) OCCURS 9.\n",
    "groups": b" 05 B. 07 C.\n",
}
#: What a document begins with, so that the rest is read as one.
HEADS = {"read_json": b"[", "read_xml": b"<orders>", "copybook": b"       01 A.\n", "read_segments": b"MSH|^~\\&|A|B\r"}


@pytest.mark.campaign
@pytest.mark.timeout(900)
@pytest.mark.parametrize("pattern", HOSTILE)
@pytest.mark.parametrize("name", TARGETS)
def test_twice_the_bytes_take_about_twice_the_time(name: str, pattern: str) -> None:
    if name not in TEXTS:
        read_any(name, bytes(CHOICES) + b"a,b\n1,2\n")  # imports are not counted

    def seconds(size: int) -> float:
        piece, head = HOSTILE[pattern], HEADS.get(name, b"a,b\n1,2\n")
        data = bytes(CHOICES) + head + piece * (size // len(piece))
        began = time.process_time()
        read_any(name, data)
        return time.process_time() - began

    small = min(seconds(100_000) for _ in range(2))
    large = min(seconds(400_000) for _ in range(2))
    assert large < 8 * small + 0.2, f"{small:.2f} s for 0.1 MB, {large:.2f} s for 0.4 MB"


def test_hostile_bytes_of_random_pieces_end() -> None:
    chosen = random.Random(9)
    for name in TARGETS:
        pieces = chosen.choices(list(HOSTILE.values()), k=2000)
        read_any(name, bytes(CHOICES) + b"".join(pieces))
