"""Row 6: Arrow batches of 64k rows over a guest's connection."""

from __future__ import annotations

from collections.abc import Sequence

from bench.children import run_own
from bench.data import BATCH_ROWS, write_arrow
from bench.measure import Benchmark, Case, Figure, Sample, Setting, Size, Target

_RATE, _OF_CPU = "rate", "of CPU time"
_BARE = "bare frames"


def _prepare(setting: Setting) -> Sequence[Case]:
    batches, times = setting.sizes["batches"], setting.sizes["times"]
    path = setting.scratch / "trades.arrow"
    write_arrow(path, batches * BATCH_ROWS, seed=6, is_distinct=False)

    def run(way: str) -> Sample:
        answer = run_own("bench.programs.frames", {"way": way, "path": str(path), "times": times})
        values = answer.values
        if values["rows"] != batches * BATCH_ROWS * times:
            raise RuntimeError(f"{values['rows']} rows arrived of {batches * BATCH_ROWS * times}")
        figures = {
            _RATE: values["gigabytes"] / values["seconds"],
            _OF_CPU: values["gigabytes"] / values["cpu_seconds"],
        }
        return Sample(figures, {**values, "peak_rss_mib": round(answer.peak_rss_bytes / 2**20)})

    return [
        Case("casparian", "casparian", lambda: run("casparian"), "every frame checked, every batch fully validated"),
        Case("Arrow Flight", "peer", lambda: run("flight"), "nothing is validated"),
        Case(
            _BARE, "bare", lambda: run("bare"), "the same kind of socket, one buffer used again, nothing is validated"
        ),
        Case(
            "bare frames, Unix sockets",
            "bare",
            lambda: run("bare unix"),
            "a pair of Unix sockets instead of the loopback",
        ),
    ]


FRAMES = Benchmark(
    name="frames",
    row=6,
    title="Arrow batches of 65,536 rows from a guest to its worker",
    figures=[
        Figure(_RATE, "GB/s", is_higher_better=True, digits=2),
        Figure(_OF_CPU, "GB/s of CPU time", is_higher_better=True, digits=2),
    ],
    sizes=[Size("--batches", 8, "different batches"), Size("--times", 24, "how often each is sent")],
    prepare=_prepare,
    targets=[
        Target("at least 0.8 times the bare frames", _RATE, at_least=0.8, against=_BARE),
        Target("faster than Arrow Flight", _RATE, at_least=1.0, against="best peer"),
    ],
    notes=["CPU time is that of both processes; they are started already."],
)
