"""Row 9: FIX logs through the premade parser, governed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from bench.children import ROOT, run_own
from bench.plan import Benchmark, Case, Figure, Sample, Setting, Size, Target

_RATE = "rate"


def prepare(setting: Setting) -> Sequence[Case]:
    from casparian.samples.fix_logs import write_big_log

    files, messages = setting.sizes["files"], setting.sizes["messages"]
    inputs = setting.scratch / "fix"
    inputs.mkdir()
    for number in range(files):
        write_big_log(inputs / f"venue_{number:03d}.fix", seed=number, messages=messages)

    def sample(values: dict[str, Any]) -> Sample:
        if values["valid"] != files * messages:
            raise RuntimeError(f"{values['valid']} rows where there are {files * messages} messages")
        return Sample({_RATE: files * messages / values["seconds"] / 1e6}, values)

    def ours() -> Sample:
        from bench.system.files import process

        scratch = Path(mkdtemp(dir=setting.scratch))
        return sample(process(scratch, ROOT / "parsers" / "fix", "fix_parser", inputs, "fix"))

    def plain(processes: int) -> Sample:
        given = {"files": [str(path) for path in sorted(inputs.iterdir())], "processes": processes}
        return sample(run_own("bench.peers.fix_dicts", given).values)

    differs = "a dict a message and nothing else: no types, no checksum, no table, nothing is kept"
    return [
        Case("casparian", "casparian", ours, "orders typed, checksums verified, raw message kept, Parquet committed"),
        Case("plain Python dicts, two processes", "peer", lambda: plain(2), differs),
        Case("plain Python dicts, one process", "peer", lambda: plain(1), differs),
    ]


BENCHMARK = Benchmark(
    name="fix",
    row=9,
    title="FIX logs through the premade parser, governed, 2 workers",
    figures=[Figure(_RATE, "M messages/s", is_higher_better=True, digits=3)],
    sizes=[Size("--files", 4, "logs"), Size("--messages", 100_000, "messages of a log")],
    prepare=prepare,
    targets=[
        Target("at least 0.4 M messages/s on two cores", _RATE, at_least=0.4),
        Target(
            "faster than one process of plain Python",
            _RATE,
            at_least=1.0,
            against="plain Python dicts, one process",
        ),
    ],
    notes=["casparian: from the request that queues the files until no job is open; they are scanned already."],
)
