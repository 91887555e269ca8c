"""Monitoring: what the four panes say, focus, pause, reset; charts."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import pytest

from casparian_console.canvas import ASCII, UNICODE
from casparian_console.facts.readings import Throughput
from casparian_console.screens.jobs import Jobs
from casparian_console.screens.jobs.monitoring import binned, chart
from casparian_protocol.events import JobCancelled, JobOutputsCommitted
from casparian_protocol.wire.operations.daemon import WorkerView
from tests.console.driving import Driver, matches_snapshot, run_job
from tests.console.jobs_scene import work_day

#: More rows than `monitored` has read.
READ = 1_000_000.0


def worker(name: str, **fields: Any) -> dict[str, Any]:
    return {"id": name, "pid": 1, "host": "h", "state": "busy", "slots": 1, "sandbox": "full", "cpu_percent": 93.0,
            "rss_bytes": 214 << 20, "last_beat_seconds_ago": 0.3, "jobs": [], **fields}  # fmt: skip


def seen(name: str, **fields: Any) -> WorkerView:
    return WorkerView.model_validate(worker(name, **fields))


def held(path: str, rows: int = 0) -> dict[str, Any]:
    job = {"job_id": "0" * 16, "epoch": 1, "guest_pid": 1, "parser": "fix", "input": path, "seconds": 12.5}
    return {**job, "progress": {"items_done": rows, "payload": {"rows": rows}}}


def written(output: str, uri: str = "parquet://outputs", **more: Any) -> dict[str, Any]:
    sink = {"rows": 120, "bytes": 5000, "errors": 0, "p50_ms": 0.4, "p99_ms": 12.8}
    return {"uri": uri, "output": output, **sink, **more}


def sample(driver: Driver, rates: Iterable[float], rows: float = 0.0) -> None:
    """A second for each rate, as the sentinel tells it: what the workers have read so far, then the throughput."""
    for rate in rates:
        rows += rate
        driver.tick(1)
        driver.metric("workers", workers=[worker("w1", jobs=[held("/data/fix/a.fix", round(rows))])], local_workers=1)
        driver.metric("throughput", rows_per_second=0.0, bytes_per_second=rate * 80)


def monitored(*, is_ascii: bool = False) -> Driver:
    """Some minutes of work, and three workers."""
    driver = work_day(is_ascii=is_ascii)
    sample(driver, (2000 + 1500 * math.sin(second / 20) for second in range(310)))
    workers = [
        worker("w1", jobs=[held("/data/fix/osier_000.fix")]),
        worker(
            "w2", state="stalled", cpu_percent=0.0, last_beat_seconds_ago=7.3, jobs=[held("/data/fix/osier_001.fix")]
        ),
        worker("w3", state="idle", cpu_percent=0.4),
    ]
    driver.metric("workers", workers=workers, local_workers=3)
    driver.metric("sinks", sinks=[written("fix_orders"), written("fix_orders", "parquet://quarantine", rows=7)])
    driver.press("alt-j", "m")
    return driver


def jobs_of(driver: Driver) -> Jobs:
    screen = driver.shell.screens["jobs"]
    assert isinstance(screen, Jobs)
    return screen


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
def test_monitoring_looks_like_this(width: int, height: int) -> None:
    driver = monitored()
    driver.press("1" if width == 80 else "2" if width == 120 else "3")

    matches_snapshot(driver.text(width, height), f"monitoring_{width}x{height}")


def test_monitoring_looks_like_this_in_ascii() -> None:
    driver = monitored(is_ascii=True)
    text = "\n".join(driver.text(120, 40).splitlines()[1:-2])

    assert text.isascii(), [character for character in text if not character.isascii()]
    matches_snapshot(text, "monitoring_ascii_120x40")


def test_the_panes_tell_queue_throughput_workers_and_sinks() -> None:
    text = monitored().text(200, 60)

    for name, number in (("queued", 2), ("running", 3), ("done", 9), ("failed", 4)):
        assert f"{name:<10}{number:>12}" in text
    assert "1 dead letter" in text
    assert "rows/s avg" in text and "now" in text
    assert "w2             stalled" in text and "osier_001.fix" in text
    assert "fix_orders" in text and "32.0 KiB" in text
    assert "p50" in text and "0.4 ms" in text and "12.8 ms" in text


def test_errors_and_latencies_are_there_only_when_somebody_measured() -> None:
    driver = monitored()
    driver.metric("sinks", sinks=[])
    driver.press("4")
    assert "32.0 KiB" in driver.text(120, 40)
    assert not {"errors", "p50", "p99"} & set(driver.text(120, 40).split())

    driver.metric("sinks", sinks=[written("fix_orders", errors=3, p50_ms=None, p99_ms=None)])
    (head,) = (line for line in driver.lines(120, 40) if " output " in line)
    assert head.split("│")[-2].split() == ["output", "rows", "bytes", "bad", "errors", "files"]


def test_committed_rows_of_an_output_stay_and_what_is_not_committed_yet_is_told_as_it_was_written() -> None:
    driver = monitored()
    others = written("", "other://", rows=5)
    driver.metric("sinks", sinks=[others, written("fix_orders", errors=3, p99_ms=2896.3), written("new", rows=77)])
    driver.press("4")
    lines = [line.split("│")[-2] for line in driver.lines(200, 60) if "ms" in line]

    assert [" ".join(line.split()) for line in lines] == [
        "fix_orders 8K 32.0 KiB 7 3 0.4 ms 2.9 s 8",
        "new 77 4.9 KiB - 0 0.4 ms 12.8 ms -",
        "others 5 4.9 KiB - 0 0.4 ms 12.8 ms -",
    ]


def test_each_sink_is_named_by_its_uri_and_has_a_sum_over_its_outputs() -> None:
    driver = monitored()
    old = {"name": "older", "parser": "fix", "version": 1, "rows": 5, "bytes": 7, "files": 1, "quarantined": 0}
    driver.answer(("facts", "outputs"), (*old, "last_commit"), [(*old.values(), 1)])
    aside = [written("fix_orders", "parquet://quarantine", rows=999)]  # a counter of the daemon's, too high
    driver.metric("sinks", sinks=[written("older", errors=2), *aside])
    driver.press("4")
    lines = [" ".join(line.split("│")[-2].split()) for line in driver.lines(200, 60) if "│" in line]
    begin = next(at for at, line in enumerate(lines) if line.startswith("parquet://outputs"))

    assert [line.split()[:3] for line in lines[begin : begin + 2]] == [
        ["parquet://outputs", "5", "7"],
        ["older", "5", "7"],
    ]
    assert any(line.startswith("parquet://quarantine 999") for line in lines)


def test_errors_and_latencies_matter_more_than_bytes_where_there_is_little_room() -> None:
    driver = monitored()
    driver.press("4")
    (head,) = (line for line in driver.lines(80, 24) if " output " in line)

    assert head.split("│")[-2].split() == ["output", "rows", "errors", "p50", "p99"]


def test_a_sentinel_that_starts_again_measures_anew() -> None:
    driver = monitored()
    driver.event("SentinelStarted", pid=2, version="0", mode="daemon")
    assert "12.8 ms" not in driver.text(200, 60)


def test_digits_and_tab_focus_a_pane_and_it_grows() -> None:
    driver = monitored()

    def widths() -> tuple[int, int]:
        top = driver.lines(120, 40)[2]
        return top.index("┐") + 1, 120 - top.index("┐") - 1

    assert widths()[0] > widths()[1]
    driver.press("2")
    assert widths()[0] < widths()[1]
    assert "▸ 2 THROUGHPUT" in driver.text(120, 40)
    driver.press("tab")
    assert "▸ 3 WORKERS" in driver.text(120, 40)


def test_p_freezes_what_is_shown_while_the_samples_go_on() -> None:
    driver = monitored()
    driver.press("p")
    before = list(driver.lines(120, 40)[2:-2])
    sample(driver, [9_000] * 20, READ)
    assert driver.lines(120, 40)[2:-2] == before
    assert "paused  since 20s ago" in driver.text(120, 40)
    driver.press("p")
    assert "9K now" in driver.text(120, 40)


def test_r_begins_the_history_anew_and_leaving_keeps_it() -> None:
    driver = monitored()
    driver.press("esc")
    assert "ACTIONABLE" in driver.text(120, 40)
    driver.press("m")
    assert "last 5m 00s" in driver.text(120, 40)
    sample(driver, [100], READ)
    driver.press("r")
    sample(driver, [100] * 12, READ + 100)
    assert "last 12 s" in driver.text(120, 40)
    assert "100 rows/s avg" in driver.text(120, 40)


def test_j_and_k_scroll_the_focused_pane_within_its_lines() -> None:
    driver = monitored()
    driver.metric("workers", workers=[worker(f"w{number:02d}") for number in range(40)], local_workers=40)
    driver.press("3")
    assert "w39" not in driver.text(80, 24)
    driver.press("G")
    assert "w39" in driver.text(80, 24)
    driver.press("k", "g")
    assert "w00" in driver.text(80, 24) and "w39" not in driver.text(80, 24)


def test_without_workers_or_samples_the_panes_say_so() -> None:
    driver = Driver()
    driver.snapshot()
    driver.press("alt-j", "m")
    text = driver.text(120, 40)

    assert "No worker is connected: jobs stay queued." in text
    assert "no samples yet" in text
    assert "Nothing was written yet." in text


def test_hostile_names_of_workers_and_inputs_are_harmless() -> None:
    driver = monitored()
    driver.metric("workers", workers=[worker("w\x1b[2J", jobs=[held("/d/\u202egnp.exe\n\x07")])], local_workers=1)
    driver.press("3")

    assert not set("".join(driver.lines(200, 60))) & {"\x1b", "\u202e", "\n", "\x07"}


def test_a_chart_reaches_from_zero_to_the_highest_value() -> None:
    assert chart([0, 1, 2, 4, 8], 6, 2, UNICODE) == ["     █", "  ▂▄██"]
    assert chart([], 4, 1, UNICODE) == ["    "]
    assert chart([0, 0], 4, 1, UNICODE) == ["    "]
    assert chart([5, 10], 3, 2, ASCII) == ["  #", " ##"]


def test_more_samples_than_columns_become_means() -> None:
    assert binned([1, 3, 5, 7], 2) == [2, 6]
    assert binned([1, 2], 5) == [1, 2]


def committed(job_id: str, rows: int) -> JobOutputsCommitted:
    counts: dict[str, Any] = {"rows": rows, "quarantined": 0, "skipped": 0, "seconds": 1.0, "part_names": 2}
    return JobOutputsCommitted(job_id=job_id, epoch=1, versions={}, **counts)


def test_rows_of_jobs_too_short_for_a_heartbeat_are_counted_and_none_twice() -> None:
    flow = Throughput()
    assert flow.per_second(1_000_000) == 0.0
    flow.fold(committed("short", 500))
    flow.add([seen("w1", jobs=[held("a", 300)])])
    assert flow.per_second(2_000_000) == 800.0
    flow.add([seen("w1", jobs=[held("a", 700)])])
    flow.fold(committed("0" * 16, 1000))
    assert flow.per_second(4_000_000) == 350.0  # 700 in two seconds
    assert flow.per_second(5_000_000) == 0.0
    flow.add([seen("w1", jobs=[held("a", 50)])])
    flow.fold(JobCancelled(job_id="0" * 16, reason=""))
    flow.add([seen("w1", jobs=[held("a", 20)])])  # the next attempt begins anew
    assert flow.per_second(6_000_000) == 70.0


def test_running_jobs_that_have_reported_no_rows_yet_are_no_throughput_of_zero_without_a_word() -> None:
    driver = Driver()
    driver.snapshot()
    run_job(driver, 1)
    sample(driver, [0.0, 0.0, 0.0])
    assert "no rows reported yet" in driver.text(120, 40)
    driver.press("alt-j", "m")
    assert "No rows were reported yet: a parser reports them batch by batch." in driver.text(200, 40)
