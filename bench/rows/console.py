"""Row 11: how soon the console shows an event and answers a key, and what it costs at rest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from tempfile import mkdtemp

from bench.plan import Benchmark, Case, Figure, Sample, Setting, Size, Target

_EVENT, _EVENT_TAIL = "event p50", "event p99"
_KEY, _KEY_TAIL = "key p50", "key p99"
_REST = "at rest"


def prepare(setting: Setting) -> Sequence[Case]:
    sizes = setting.sizes

    def ours() -> Sample:
        from bench.system.console import measure

        scratch = Path(mkdtemp(dir=setting.scratch))
        found = measure(
            scratch,
            jobs=sizes["jobs"],
            events=sizes["events"],
            keys=sizes["keys"],
            rest_seconds=sizes["rest"],
        )
        figures = {
            _EVENT_TAIL: found["event"]["p99"],
            _EVENT: found["event"]["p50"],
            _KEY_TAIL: found["key"]["p99"],
            _KEY: found["key"]["p50"],
            _REST: found["idle_percent"],
        }
        return Sample(figures, found)

    return [Case("casparian", "casparian", ours)]


BENCHMARK = Benchmark(
    name="console",
    row=11,
    title="the console at 200×60 on a pseudo-terminal beside a real daemon, all jobs in its list",
    figures=[
        Figure(_EVENT_TAIL, "ms", is_higher_better=False, digits=1),
        Figure(_EVENT, "ms", is_higher_better=False, digits=1),
        Figure(_KEY_TAIL, "ms", is_higher_better=False, digits=1),
        Figure(_KEY, "ms", is_higher_better=False, digits=1),
        Figure(_REST, "% CPU", is_higher_better=False, digits=2),
    ],
    sizes=[
        Size("--jobs", 100_000, "jobs in the list"),
        Size("--events", 100, "events, one after another"),
        Size("--keys", 200, "keys, one after another"),
        Size("--rest", 5, "seconds at rest"),
    ],
    prepare=prepare,
    targets=[
        Target("an event is on the screen within 100 ms (p99)", _EVENT_TAIL, at_most=100.0),
        Target("a key is answered within 16 ms (median)", _KEY, at_most=16.0),
        Target("a key is answered within 16 ms (p99)", _KEY_TAIL, at_most=16.0),
        Target("less than 1 % of a core at rest", _REST, at_most=1.0),
    ],
    notes=["An event's time includes the request that causes it and the sync before its reply: about a millisecond."],
)
