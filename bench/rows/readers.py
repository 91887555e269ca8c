"""Row 13: readers on damaged files, beside other tools on the same files, and their speed and memory on clean ones.

The files of `bench.damage` have one piece of damage each. A tool's score is what became of their records. Speed is that of record
batches with lines and offsets, on one core.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from bench.children import Answer, ChildFailed, Unavailable, run_own, run_peer
from bench.damage import FORMATS
from bench.data import write_files
from bench.measure import Benchmark, Case, Figure, Sample, Setting, Size, Target
from bench.programs.reading import ENDLESS
from casparian_worker.guest.spawner import QUIET_LIBRARIES

_RIGHT, _REJECTED, _REFUSED, _LOST, _SILENT = "right", "rejected", "refused", "lost", "silently different"
_RATE, _OF_CPU, _MEMORY = "rate", "of CPU time", "peak"
_SEED = 0
_FEW_BYTES = 20_000_000
_FAST = ("csv", "lines", "JSON lines", "fixed width")
_SLOWER = 10
#: A record is held up to 64 MiB, as bytes and as text.
_LONG_MEBIBYTES = 400
#: Tool → the packages that its environment needs; none: the project's own.
_PEERS: dict[str, tuple[str, ...]] = {
    "Python's csv": (),
    "DuckDB, store_rejects": (),
    "polars, ignore_errors": ("polars",),
    "CleverCSV": ("clevercsv",),
}
_TOOLS = dict(zip(_PEERS, ("csv", "duckdb", "polars", "clevercsv"), strict=True))
_TEN_FIELDS = b"".join(f"field {number:<4}".encode() for number in range(10)) + b"\n"
_OBJECT = b'{"id": 1000001, "name": "Mary Ann", "city": "Rome", "amount": 12.50, "note": "plain text of a record"}\n'
_SHORT_OBJECT = b'{"id": 1001, "name": "Mary Ann", "city": "Rome", "amount": 12.50}\n'
_NESTED_OBJECT = (
    b'{"id": 1000001, "name": "Mary \\"Ann\\" Smith", "tags": ["a", "b"], "addr": {"city": "Rome", "geo": [1.25, 2.5]}, '
    b'"note": "line\\nnext caf\\u00e9"}\n'
)
_MESSAGE = (
    b"MSH|^~\\&|LAB|HOSP|EHR|HOSP|202405011200||ORU^R01|MSG00001|P|2.5\rPID|1||MRN001^^^HOSP||DOE^JOHN^Q||19800515|M\r"
    b"OBR|1|||GLU^Glucose|||202405011200\rOBX|1|NM|GLU^Glucose||5.4|mmol/L|3.9-5.5|N|||F\rOBX|2|NM|NA^Sodium||140|mmol/L||||F\r"
)


def _prepare(setting: Setting) -> Sequence[Case]:
    return [*_damaged(setting), *_fast(setting), *_flat(setting)]


# --- damaged files


def _damaged(setting: Setting) -> list[Case]:
    files = setting.sizes["files"]
    cases: list[Case] = []
    for way in ("declared", "detected"):
        work = f"damaged CSV, dialect {way}"
        own = partial(_own_score, "csv", way, files)
        cases.append(Case(f"casparian, {way}", "casparian", own, work=work))
        for name, packages in _PEERS.items():
            tool = partial(_peer_score, setting, packages, _TOOLS[name], way, files)
            cases.append(Case(f"{name}, {way}", "peer", tool, _differs(name, way), work))
    for name in FORMATS:
        if name != "csv":
            score = partial(_own_score, name, "declared", files)
            cases.append(Case(f"casparian, {name}", "casparian", score, work=f"damaged {name}"))
    return cases


def _differs(name: str, way: str) -> str:
    match name, way:
        case "polars, ignore_errors", "detected":
            return "detects nothing: these are its defaults"
        case "Python's csv" | "CleverCSV", "detected":
            return (
                "a record with another number of fields counts as rejected; the first 10,000 characters are looked at"
            )
        case "Python's csv" | "CleverCSV", _:
            return "a record with another number of fields counts as rejected"
    return ""


def _own_score(format: str, way: str, files: int) -> Sample:
    given = {"format": format, "way": way, "files": files, "seed": _SEED}
    return _scored(run_own("bench.programs.damaged_own", given))


def _peer_score(setting: Setting, packages: Sequence[str], tool: str, way: str, files: int) -> Sample:
    given = {"tool": tool, "way": way, "files": files, "seed": _SEED}
    if not packages:
        return _scored(run_own("bench.programs.damaged_csv", given))
    return _scored(run_peer(setting.peers.require(*packages), "bench.programs.damaged_csv", given))


def _values(answer: Answer) -> dict[str, Any]:
    """What a program measured. Raises `Unavailable` if it has nothing to measure."""
    if reason := answer.values.get("unavailable"):
        raise Unavailable(reason)
    return answer.values


def _scored(answer: Answer) -> Sample:
    fates: dict[str, int] = _values(answer)["fates"]
    records = sum(count for fate, count in fates.items() if fate != "invented")
    share = 100 / max(1, records)
    figures = {
        _RIGHT: fates.get("right", 0) * share,
        _REJECTED: fates.get("rejected", 0) * share,
        _REFUSED: fates.get("refused", 0) * share,
        _LOST: fates.get("lost", 0) * share,
        _SILENT: float(fates.get("different", 0) + fates.get("invented", 0)),
    }
    return Sample(figures, answer.values)


# --- speed


def _fast(setting: Setting) -> list[Case]:
    megabytes = setting.sizes["megabytes"]
    trades = setting.scratch / "trades"
    write_files(trades, 1, megabytes * 13_000, seed=13)
    csv = next(trades.iterdir())
    works = {
        "fixed width": ("read_fixed_width", _repeated(setting.scratch / "ten.txt", _TEN_FIELDS, megabytes)),
        "lines": ("read_lines", csv),
        "JSON lines": ("read_jsonl", _repeated(setting.scratch / "objects.jsonl", _OBJECT, megabytes)),
        "JSON lines, short": ("read_jsonl", _repeated(setting.scratch / "short.jsonl", _SHORT_OBJECT, megabytes)),
        "JSON lines, nested": ("read_jsonl", _repeated(setting.scratch / "nested.jsonl", _NESTED_OBJECT, megabytes)),
        "HL7 segments": ("read_segments", _repeated(setting.scratch / "messages.hl7", _MESSAGE, megabytes)),
    }
    cases = [
        Case("read_csv", "casparian", partial(_rate, "read_csv", csv), "with lines and offsets", "CSV as text"),
        Case("pyarrow.csv", "bare", partial(_rate, "pyarrow", csv), "without lines and offsets", "CSV as text"),
    ]
    cases += [
        Case(name, "casparian", partial(_rate, *given), f"{given[0]}", f"{name}, speed")
        for name, given in works.items()
    ]
    return cases


def _repeated(path: Path, piece: bytes, megabytes: int) -> Path:
    block = piece * (1_000_000 // len(piece))
    with path.open("wb") as file:
        for _ in range(megabytes):
            file.write(block)
    return path


def _rate(reader: str, path: Path) -> Sample:
    own = None if reader == "pyarrow" else QUIET_LIBRARIES
    values = _values(run_own("bench.programs.reading", {"reader": reader, "path": str(path)}, more=own))
    if values["rejected"] or not values["records"]:
        raise ChildFailed(
            f"{values['rejected']} records of a clean file were rejected, and {values['records']} were not"
        )
    return _speed(path.stat().st_size, values)


def _speed(size: int, values: dict[str, Any]) -> Sample:
    figures = {
        _RATE: size / values["seconds"] / 1e6,
        _OF_CPU: size / values["cpu_seconds"] / 1e6,
        _MEMORY: values["peak_rss_bytes"] / 2**20,
    }
    return Sample(figures, values)


# --- memory


def _flat(setting: Setting) -> list[Case]:
    """Records without end, and one long record between short ones, for each reader; few records for comparison."""
    cases: list[Case] = []
    for name in ENDLESS:
        huge = setting.sizes["huge_megabytes"] * 1_000_000 // (1 if name in _FAST else _SLOWER)
        sizes = {"few records": ("records", _FEW_BYTES), "many records": ("records", huge)}
        sizes["one long record"] = ("long", setting.sizes["line_megabytes"] * 1_000_000)
        cases += [
            Case(
                f"{name}: {what}", "casparian", partial(_endless, name, *size), f"{size[1]:,} bytes", f"{name}, memory"
            )
            for what, size in sizes.items()
        ]
    return cases


def _endless(name: str, kind: str, size: int) -> Sample:
    given = {"endless": name, "kind": kind, "bytes": size}
    values = _values(run_own("bench.programs.reading", given, more=QUIET_LIBRARIES))
    if unexpected := values.get("unexpected"):
        raise ChildFailed(f"found {unexpected}")
    return _speed(size, values)


_ON_DAMAGE = ("declared", "detected", *(name for name in FORMATS if name != "csv"))
READERS = Benchmark(
    name="readers",
    row=13,
    title="records of damaged files: right, rejected, refused, lost or silently different; speed and memory of readers, one core",
    figures=[
        Figure(_RIGHT, "%", is_higher_better=True, digits=1),
        Figure(_REJECTED, "%", is_higher_better=False, digits=1),
        Figure(_REFUSED, "%", is_higher_better=False, digits=1),
        Figure(_LOST, "%", is_higher_better=False, digits=2),
        Figure(_SILENT, "rows", is_higher_better=False),
        Figure(_RATE, "MB/s", is_higher_better=True),
        Figure(_OF_CPU, "MB/s", is_higher_better=True),
        Figure(_MEMORY, "MiB", is_higher_better=False),
    ],
    sizes=[
        Size("--files", 1_000, "damaged files of each format"),
        Size("--megabytes", 200, "megabytes of each clean file"),
        Size("--huge-megabytes", 10_000, "megabytes of a stream without end; a tenth for the slower readers"),
        Size("--line-megabytes", 1_000, "megabytes of one long record"),
    ],
    prepare=_prepare,
    targets=[
        *(
            Target(f"{name}: nothing lost without a word or different", figure, at_most=0, case=f"casparian, {name}")
            for name in _ON_DAMAGE
            for figure in (_LOST, _SILENT)
        ),
        Target("CSV at least 0.6 times pyarrow.csv", _RATE, at_least=0.6, against="pyarrow.csv", case="read_csv"),
        Target("CSV, of CPU time", _OF_CPU, at_least=0.6, against="pyarrow.csv", case="read_csv"),
        Target("fixed width at least 200 MB/s a core", _OF_CPU, at_least=200, case="fixed width"),
        Target("lines at least 400 MB/s a core", _OF_CPU, at_least=400, case="lines"),
        Target("JSON lines at least 100 MB/s a core", _OF_CPU, at_least=100, case="JSON lines"),
        Target("short JSON lines at least 100 MB/s a core", _OF_CPU, at_least=100, case="JSON lines, short"),
        Target("nested JSON lines at least 30 MB/s a core", _OF_CPU, at_least=30, case="JSON lines, nested"),
        Target("HL7 segments at least 40 MB/s a core", _OF_CPU, at_least=40, case="HL7 segments"),
        *(
            Target(
                f"{name}: memory is flat",
                _MEMORY,
                at_least=0.8,
                against=f"{name}: few records",
                case=f"{name}: many records",
            )
            for name in ENDLESS
        ),
        *(
            Target(
                f"{name}: a long record is not held", _MEMORY, at_most=_LONG_MEBIBYTES, case=f"{name}: one long record"
            )
            for name in ENDLESS
        ),
    ],
    notes=[
        "right: the row arrived exactly, or for a damaged record with its value or the file's literal text; rejected: named by "
        "the tool; refused: with the whole file, by an error; lost: nothing tells of it; silently different: wrong or "
        "invented rows.",
        "Readers of casparian run with the environment of guests, pyarrow.csv with its own.",
        "Readers may use threads: of CPU time is what a core does, and what a busy machine distorts least.",
    ],
)
