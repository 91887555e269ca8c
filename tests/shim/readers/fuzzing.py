"""The target of the fuzzers: any bytes through any reader. `python -m tests.shim.readers.fuzzing NAME SECONDS CORPUS` fuzzes.

A reader may refuse a file by name (a `CasparianError`). It may not fail in another way, and when it reaches the end, its
account must cover each byte once. The detector may not fail at all. The first bytes of an input choose the options, so that
the fuzzer does too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.damage import FORMATS, Case, Format, Returned, cases_of, sample
from bench.damage.own import read_with, reader

_ENCODINGS = ("utf-8", "utf-8-sig", "utf-16", "cp1252", "latin-1", "cp500", "shift_jis", "gb18030", "utf-32-be")


class Wrong(Exception):
    """What a reader said of an input cannot be."""


def read_any(name: str, data: bytes) -> None:
    """Read `data` with the reader `name`; raises `Wrong` if what it says is."""
    choice, body = data[:3].ljust(3, b"\0"), data[3:]
    if name == "detector":
        detect(body)
        return
    options = OPTIONS[name](choice)
    said = read_with(body, lambda file: reader(name)(file, **options), lambda row: ())
    for problem in account(said, len(body)):
        raise Wrong(f"{name} with {options}: {problem}")


def account(said: Returned, size: int) -> Iterator[str]:
    """What is wrong with the bytes that a reader accounted for."""
    at = 0
    for part in said.accounted or ():
        if part.begin != at or part.end < at:
            yield f"the account goes from byte {at} to {part.begin}..{part.end}"
        at = part.end
    if said.failed is None and at != size:
        yield f"{at} of {size} bytes are accounted for"
    if said.failed is not None and at > size:
        yield f"{at} bytes of {size} are accounted for"


def detect(data: bytes) -> None:
    from casparian_worker.detection import Sample, detect

    detect(Sample.of_bytes(data))


def _csv(choice: bytes) -> dict[str, Any]:
    first, second, third = choice
    return {
        "delimiter": (",", ";", "\t", "|", "||", "ab", " ", "~")[first % 8],
        "quote": ('"', "'", None, '"')[first >> 3 & 3],
        "escape": (None, "\\", None, "^")[first >> 5 & 3],
        "header": (True, False, 2, True)[second & 3],
        "comment": (None, "#", "//", None)[second >> 2 & 3],
        "skip_lines": (0, 1, 0, 3)[second >> 4 & 3],
        "ragged": ("reject", "pad")[second >> 6 & 1],
        "encoding": _ENCODINGS[third % len(_ENCODINGS)],
        "line_ends": ("any", "lf")[second >> 7],
        "record_bytes_max": 1 << 12 if third & 128 else 64 << 20,
        "offsets": True,
    }


def _fixed_width(choice: bytes) -> dict[str, Any]:
    encoding = _ENCODINGS[choice[2] % len(_ENCODINGS)]
    unit = ("chars", "bytes")[choice[1] & 1]
    return {"fields": {"a": (0, 1), "b": (1, 4), "c": (6, 9)}, "unit": unit, "encoding": encoding, "offsets": True}


def _lines(choice: bytes) -> dict[str, Any]:
    return {"encoding": _ENCODINGS[choice[2] % len(_ENCODINGS)], "line_ends": ("any", "lf")[choice[1] & 1]}


def _segments(choice: bytes) -> dict[str, Any]:
    return {"format": ("hl7", "x12", "edifact", None)[choice[0] & 3], "offsets": True}


def _json(choice: bytes) -> dict[str, Any]:
    return {"offsets": True}


OPTIONS: dict[str, Callable[[bytes], dict[str, Any]]] = {
    "read_csv": _csv,
    "read_fixed_width": _fixed_width,
    "read_jsonl": _json,
    "read_lines": _lines,
    "read_segments": _segments,
}
TARGETS = (*OPTIONS, "detector")
_SEEDS: dict[str, Sequence[Format]] = {
    "read_csv": ["csv"],
    "read_fixed_width": ["fixed width"],
    "read_jsonl": ["jsonl"],
    "read_lines": ["csv", "fix"],
    "read_segments": ["hl7", "x12"],
    "detector": FORMATS,
}


def seeds(name: str, count: int = 200) -> Iterator[bytes]:
    """Inputs to begin with: damaged files, with options that fit."""
    for format in _SEEDS[name]:
        for case in sample(cases_of(format), count):
            if len(case.data) < 4096:
                yield _choice(case) + case.data


def _choice(case: Case) -> bytes:
    format = getattr(case.declared, "format", "")
    return bytes([("hl7", "x12").index(format) if format in ("hl7", "x12") else 0, 0, 0])


def main(name: str, seconds: int, corpus: Path) -> None:
    """Fuzz one target. atheris ends the process: with 0, or with an error after it has printed the input."""
    atheris = import_module("atheris")  # is installed by the campaign
    with atheris.instrument_imports(include=["casparian_shim.readers", "casparian_worker.detection"]):
        read_any(name, b"\0\0\0a,b\n1,2\n")  # imports its modules
    corpus.mkdir(exist_ok=True)
    for number, data in enumerate(seeds(name)):
        (corpus / f"seed-{number}").write_bytes(data)
    limits = [f"-max_total_time={seconds}", "-max_len=4096", "-timeout=20", "-rss_limit_mb=4096"]
    atheris.Setup([sys.argv[0], *limits, str(corpus)], lambda data: read_any(name, data))
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
