"""Monitoring: four panes over the queue, the throughput, the workers and the sinks, with charts of block characters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

from casparian_console.canvas import (
    Glyphs,
    Line,
    ago,
    block,
    box,
    clean,
    clip,
    clip_left,
    count,
    duration,
    fit,
    pad,
    pad_left,
    short,
    size,
    sparkline,
)
from casparian_console.facts import Facts, Sample
from casparian_protocol.wire.operations.daemon import JobOnWorker, WorkerView


def binned(values: Sequence[float], columns: int) -> list[float]:
    """The values averaged into `columns` columns; fewer values stay as they are."""
    if len(values) <= columns or columns <= 0:
        return list(values)
    edges = [at * len(values) // columns for at in range(columns + 1)]
    return [sum(values[a:b]) / (b - a) for a, b in pairwise(edges)]


def chart(values: Sequence[float], width: int, height: int, glyphs: Glyphs) -> list[str]:
    """A chart of `height` rows and `width` columns from zero to the highest value, the latest value at the right."""
    shown = binned(values, width)
    highest = max(shown, default=0.0)
    levels = f"{glyphs.sparks}{glyphs.full}" if len(glyphs.sparks) == 8 else f" {glyphs.sparks}"
    steps = len(levels) - 1
    heights = [round(value / highest * height * steps) if highest > 0 else 0 for value in shown]
    rows = []
    for row in range(height - 1, -1, -1):
        drawn = "".join(levels[max(0, min(steps, each - row * steps))] for each in heights)
        rows.append(drawn.rjust(width))
    return rows


PANES = ("QUEUE", "THROUGHPUT", "WORKERS", "SINKS")
WINDOW_SECONDS = 300
_SECOND_US = 1_000_000
#: The sink of the outputs in the registry.
_OUTPUTS = "parquet://outputs"
_QUARANTINE = "parquet://quarantine"
_STATES = {"busy": "accent", "stalled": "warn", "draining": "warn", "idle": "dim"}


@dataclass(frozen=True, slots=True)
class Sink:
    """What was written to one output. Errors and latencies (seconds, of single writes) are None if not measured."""

    name: str
    rows: int
    bytes: int
    files: int | None
    errors: int | None = None
    p50: float | None = None
    p99: float | None = None
    quarantined: int | None = None
    last_us: int = 0
    uri: str = ""
    #: Whether this is the sum over a sink, which comes before its outputs.
    is_total: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that the panes show at one moment."""

    now_us: int = 0
    waiting: int = 0
    retrying: int = 0
    running: int = 0
    done: int = 0
    failed: int = 0
    dead: int = 0
    is_known: bool = False
    rows_now: float = 0.0
    bytes_now: float = 0.0
    samples: tuple[Sample, ...] = ()
    workers: tuple[WorkerView, ...] = ()
    sinks: tuple[Sink, ...] = ()


def read(facts: Facts, since_us: int) -> Reading:
    begin = max(since_us, facts.now_us - WINDOW_SECONDS * _SECOND_US)
    states = facts.jobs.by_state
    return Reading(
        facts.now_us,
        facts.waiting,
        states["RETRY_WAIT"],
        facts.running,
        facts.done,
        facts.failed,
        facts.dead,
        facts.totals.is_known,
        facts.rows_per_second,
        facts.bytes_per_second,
        tuple(sample for sample in facts.samples if sample.at_us > begin),
        tuple(sorted(facts.workers.values(), key=lambda worker: worker.id)),
        tuple(_sinks(facts)),
    )


def _sinks(facts: Facts) -> list[Sink]:
    """Each sink with its sum, then its outputs. Rows and bytes count committed rows; errors and latencies are as measured."""
    measured = {(each.output, each.uri): each for each in facts.sinks}
    committed = {(name, _OUTPUTS): output for name, output in facts.registry.outputs.items()}
    found = []
    for key in sorted(committed.keys() | measured.keys(), key=lambda key: (not key[0], key)):
        each, output = measured.get(key), committed.get(key)
        errors, p50, p99 = (each.errors, each.p50_ms, each.p99_ms) if each else (None, None, None)
        p50, p99 = (None if value is None else value / 1000 for value in (p50, p99))
        if output is not None:
            sink = Sink(output.name, output.rows, output.bytes, output.files, errors, p50, p99, output.quarantined)
            found.append(replace(sink, last_us=output.last_commit, uri=_OUTPUTS))
        elif each is not None:
            name, known = key[0] or "others", facts.registry.outputs.get(key[0])
            rows = known.quarantined if known is not None and key[1] == _QUARANTINE else each.rows
            found.append(Sink(name, rows, each.bytes, None, errors, p50, p99, uri=key[1]))
    by_uri = {uri: [sink for sink in found if sink.uri == uri] for uri in dict.fromkeys(sink.uri for sink in found)}
    return [each for uri, sinks in by_uri.items() for each in (_total(uri, sinks), *sinks)]


def _total(uri: str, sinks: Sequence[Sink]) -> Sink:
    counted = [sink.errors for sink in sinks if sink.errors is not None]
    files = [sink.files for sink in sinks if sink.files is not None]
    bad = [sink.quarantined for sink in sinks if sink.quarantined is not None]
    return Sink(
        uri,
        sum(sink.rows for sink in sinks),
        sum(sink.bytes for sink in sinks),
        sum(files) if files else None,
        sum(counted) if counted else None,
        quarantined=sum(bad) if bad else None,
        is_total=True,
    )


def live_panels(facts: Facts, glyphs: Glyphs, width: int, height: int) -> list[Line]:
    """Queue, throughput and workers below each other, for the side of a wide screen; a low screen shows fewer."""
    reading, lines = read(facts, 0), list[Line]()
    panels: tuple[tuple[str, Callable[..., list[Line]], int], ...] = (
        ("QUEUE", _queue, 15), ("THROUGHPUT", _throughput, 10), ("WORKERS", _workers, 5 + len(reading.workers))
    )  # fmt: skip
    for title, draw, rows in panels:
        rows = min(rows, height - len(lines))
        if rows < 5:
            break
        drawn = draw(reading, glyphs, width - 4, rows - 2)[: rows - 2]
        body: list[Line] = [[("", " "), *fit(line, width - 4, ellipsis=glyphs.ellipsis), ("", " ")] for line in drawn]
        lines += box(body, width, rows, glyphs, title=title, style="border")
    return lines


@dataclass
class Monitoring:
    """The state of Monitoring: the focused pane, the scroll positions, and a frozen reading."""

    is_open: bool = False
    focus: int = 0
    frozen: Reading | None = None
    since_us: int = 0
    tops: list[int] = field(default_factory=lambda: [0, 0, 0, 0])

    def focus_on(self, pane: int) -> None:
        self.focus = pane % len(PANES)

    def move(self, key: str) -> None:
        steps = {"j": 1, "down": 1, "k": -1, "up": -1, "pgdn": 10, "pgup": -10, "g": -100_000, "home": -100_000}
        self.tops[self.focus] = max(0, self.tops[self.focus] + steps.get(key, 100_000))

    def pause(self, facts: Facts) -> None:
        self.frozen = read(facts, self.since_us) if self.frozen is None else None

    def reset(self, facts: Facts) -> None:
        """Start a new history: earlier samples are no longer shown."""
        self.since_us, self.tops, self.frozen = facts.now_us, [0, 0, 0, 0], None

    # --- drawing ------------------------------------------------------------------------------------------------------

    def draw(self, facts: Facts, glyphs: Glyphs, width: int, height: int, *, is_past: bool = False) -> list[Line]:
        reading = self.frozen or read(facts, self.since_us)
        state = "paused" if self.frozen is not None else "as it was then" if is_past else "live"
        at = f"  since {ago(reading.now_us, facts.now_us)}" if self.frozen is not None else ""
        style = "warn" if self.frozen is not None or is_past else "ok"
        head: Line = [("title", " MONITORING"), (style, f"  {state}{at}")]
        drawn = self._panes(reading, glyphs, width, height - 1)
        return block([head, *drawn], width, height)

    def _panes(self, reading: Reading, glyphs: Glyphs, width: int, height: int) -> list[Line]:
        """Draw the panes two by two; the focused pane is wider and higher than the others."""
        left = width * (58 if self.focus in (0, 2) else 42) // 100
        top = max(6, height * (58 if self.focus in (0, 1) else 42) // 100)
        rows = []
        for first, rows_high in ((0, top), (2, height - top)):
            boxes = [self._pane(pane, reading, glyphs, columns, rows_high)
                     for pane, columns in ((first, left), (first + 1, width - left))]  # fmt: skip
            rows += [[*a, *b] for a, b in zip(*boxes, strict=True)]
        return rows

    def _pane(self, pane: int, reading: Reading, glyphs: Glyphs, width: int, height: int) -> list[Line]:
        draw: Callable[..., list[Line]] = (_queue, _throughput, _workers, _sinks_lines)[pane]
        inner, room = width - 4, height - 2
        lines = draw(reading, glyphs, inner, room)
        self.tops[pane] = max(0, min(self.tops[pane], len(lines) - room))
        top = self.tops[pane]
        is_focused = pane == self.focus
        more = f" {glyphs.down} {len(lines) - room - top}" if len(lines) > room + top else ""
        title = f"{glyphs.cursor + ' ' if is_focused else ''}{pane + 1} {PANES[pane]}{more}"
        body: list[Line] = [
            [("", " "), *fit(line, inner, ellipsis=glyphs.ellipsis), ("", " ")] for line in lines[top : top + room]
        ]
        return box(body, width, height, glyphs, title=title, style="accent" if is_focused else "border")


def _queue(reading: Reading, glyphs: Glyphs, width: int, height: int) -> list[Line]:
    known = reading.is_known
    pairs = (
        ("queued", reading.waiting, "", True),
        ("running", reading.running, "accent" if reading.running else "", True),
        ("done", reading.done, "ok", known),
        ("failed", reading.failed, "bad" if reading.failed else "", known),
    )
    lines: list[Line] = [
        [("dim", f"{name:<10}"), (style, pad_left(f"{number:,}" if is_known else "?", 12))]
        for name, number, style, is_known in pairs
    ]
    if reading.dead:
        lines[-1].append(("bad", f"  {count(reading.dead, 'dead letter')}"))
    if reading.retrying:
        lines[0].append(("warn", f"  {reading.retrying:,} to retry"))
    if not reading.samples:
        return [*lines, [], [("dim", "no samples yet")]]
    histories = (
        ("depth", "accent", [float(sample.queued) for sample in reading.samples]),
        ("running", "ok", [float(sample.running) for sample in reading.samples]),
        ("failed", "bad", [float(sample.failed) for sample in reading.samples]),
    )
    for name, style, values in histories:
        lines += [[], [("dim", f"{name}, {_span(reading)}: {short(min(values))} to {short(max(values))}")]]
        lines.append([(style, sparkline(binned(values, width), width, glyphs))])
    return lines


def _span(reading: Reading) -> str:
    first = reading.samples[0].at_us if reading.samples else reading.now_us
    return (
        f"last {duration(max(10.0, (reading.now_us - first) / _SECOND_US + 1))}"  # a sample covers the second before it
    )


def _throughput(reading: Reading, glyphs: Glyphs, width: int, height: int) -> list[Line]:
    rates = [sample.rows_per_second for sample in reading.samples]
    if not rates:
        return [[("dim", "no samples yet")]]
    mean, highest = sum(rates) / len(rates), max(rates)
    trend, style = (glyphs.up, "ok") if reading.rows_now > mean else (glyphs.down, "dim")
    numbers: Line = [
        ("", f"{pad_left(short(mean), 6)} rows/s avg "),
        ("bold", f"{pad_left(short(reading.rows_now), 6)} now "),
        (style, trend if reading.rows_now != mean else " "),
    ]
    if width >= 48 and reading.bytes_now:
        numbers.append(("dim", f"  {size(int(reading.bytes_now))}/s"))
    rows = max(1, height - 3)
    drawn = chart(rates, width, rows, glyphs)
    scale: Line = [("dim", f"{_span(reading)}, highest {short(highest)} rows/s")]
    if reading.running and not highest:
        scale = [("dim", "No rows were reported yet: a parser reports them batch by batch.")]
    return [numbers, *([("accent", row)] for row in drawn), scale]


def _workers(reading: Reading, glyphs: Glyphs, width: int, height: int) -> list[Line]:
    if not reading.workers:
        return [[("warn", "No worker is connected: jobs stay queued.")]]
    is_wide = width >= 70
    name_width = 14 if width >= 50 else 7
    head = f"{'worker':<{name_width}} {'state':<8} {'cpu':>5} {'rss':>9} {'beat':>6}" + ("  job" if is_wide else "")
    lines: list[Line] = [[("dim", head)]]
    for worker in reading.workers:
        state, beat = worker.state, worker.last_beat_seconds_ago
        line: Line = [
            ("", f"{pad(clip(clean(worker.id), name_width, glyphs.ellipsis), name_width)} "),
            (_STATES.get(state, ""), f"{pad(clip(clean(state), 8, glyphs.ellipsis), 8)} "),
            ("", f"{worker.cpu_percent:4.0f}% {pad_left(size(worker.rss_bytes), 9)} "),
            ("warn" if beat > 5 else "dim", f"{pad_left(duration(beat), 6)}"),
        ]
        jobs = [_job(job, glyphs, width - (50 if is_wide else 4)) for job in worker.jobs]
        if is_wide and len(jobs) == 1:
            lines.append([*line, ("", "  "), *jobs[0]])
        else:
            lines += [line, *([("", "   "), *job] for job in jobs)]
    return lines


def _job(job: JobOnWorker, glyphs: Glyphs, width: int) -> Line:
    ran = duration(job.seconds)
    name = clean(job.input.rpartition("/")[2])
    parser = clip(clean(job.parser), 16, glyphs.ellipsis)
    text = clip_left(name, max(8, width - len(parser) - len(ran) - 4), glyphs.ellipsis)
    return [("", text), ("dim", f" {parser} {ran}")]


def _sinks_lines(reading: Reading, glyphs: Glyphs, width: int, height: int) -> list[Line]:
    if not reading.sinks:
        return [[("dim", "Nothing was written yet.")]]
    columns = _columns(reading.sinks, width)
    name_width = max(_NAME, min(28, width - sum(column.width + 1 for column in columns)))
    head = "".join(f" {column.name:>{column.width}}" for column in columns)
    lines: list[Line] = [[("dim", f"{'output':<{name_width}}{head}")]]
    for sink in reading.sinks:
        name = pad(
            clip(clean(sink.name if sink.is_total else f"  {sink.name}"), name_width, glyphs.ellipsis), name_width
        )
        cells: Line = [
            (column.style_of(sink), f" {pad_left(column.text_of(sink), column.width)}") for column in columns
        ]
        lines.append([("bold" if sink.is_total else "accent", name), *cells])
    if any(column.name == "errors" for column in columns):
        lines += [[], [("dim", "errors, p50, p99 since the daemon's start")]]
    return lines


def _columns(sinks: Sequence[Sink], width: int) -> list[_Column]:
    """The columns that fit next to the name, chosen by importance."""
    chosen: list[_Column] = []
    used = 0
    for column in sorted((column for column in _COLUMNS if column.is_there(sinks)), key=lambda column: column.rank):
        used += column.width + 1
        if len(chosen) >= 2 and used + (_NAME if column.rank < _EXTRA else _LONG_NAME) > width:
            break
        chosen.append(column)
    return [column for column in _COLUMNS if column in chosen]


_NAME, _LONG_NAME = 12, 18
#: Columns from this rank on are left out before names are cut.
_EXTRA = 5


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of the table of sinks; the lowest rank is the most important."""

    name: str
    width: int
    rank: int
    text_of: Callable[[Sink], str]
    style_of: Callable[[Sink], str] = lambda sink: ""
    is_there: Callable[[Sequence[Sink]], bool] = lambda sinks: True


def _is_counted(sinks: Sequence[Sink]) -> bool:
    return any(sink.errors is not None for sink in sinks)


def _is_timed(sinks: Sequence[Sink]) -> bool:
    return any(sink.p50 is not None for sink in sinks)


def _number(value: int | None) -> str:
    return "-" if value is None else short(value)


def _latency(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    if seconds >= 1:
        return duration(seconds)
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.1 else f"{seconds * 1000:.1f} ms"


_COLUMNS = (
    _Column("rows", 6, 0, lambda sink: short(sink.rows)),
    _Column("bytes", 9, 4, lambda sink: size(sink.bytes)),
    _Column("bad", 6, 5, lambda sink: _number(sink.quarantined), lambda sink: "warn" if sink.quarantined else "dim"),
    _Column(
        "errors", 6, 1, lambda sink: _number(sink.errors), lambda sink: "bad" if sink.errors else "dim", _is_counted
    ),
    _Column("p50", 7, 3, lambda sink: _latency(sink.p50), is_there=_is_timed),
    _Column("p99", 7, 2, lambda sink: _latency(sink.p99), is_there=_is_timed),
    _Column("files", 6, 6, lambda sink: _number(sink.files)),
)
