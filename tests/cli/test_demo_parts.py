"""The demo's pure parts: what is checked, how commands are shown, which directories are refused."""

import io
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from casparian.demo import facts
from casparian.demo.facts import FileFound, Found, LineageFound, OrderFound, check
from casparian.demo.fix_logs import Truth, generate
from casparian.demo.session import Narrator, PlaceTaken, aligned, choose, command_lines
from casparian.demo.steps import check_lines, verdict

HASH = "ab" * 32


@pytest.fixture
def truth(tmp_path: Path) -> Truth:
    return generate(tmp_path / "logs", seed=3, files=2, orders_per_file=40)


def as_planted(truth: Truth) -> Found:
    """What a perfect run finds."""
    planted, total = truth.broken_order, truth.total
    assert planted is not None
    files = {
        one.name: FileFound(
            one.name,
            f"{number:016x}",
            "PARTIAL_SUCCESS" if one.quarantined_rows.total() else "COMPLETED",
            1,
            Counter(one.valid_rows),
            Counter(one.quarantined_rows),
            Counter(one.skips),
            one.valid_rows.total() + one.quarantined_rows.total(),
            (one.valid_rows.total(), one.quarantined_rows.total(), one.skips.total()),
        )
        for number, one in enumerate(truth.files)
    }
    return Found(
        scanned_files=len(files),
        scanned_bytes=total.size_bytes,
        lines_in_files=total.line_count,
        files=files,
        violations=Counter(total.violations),
        order_events=Counter(total.order_events),
        order=OrderFound(
            planted.events,
            planted.lines,
            planted.quarantined_line,
            planted.quarantined_value,
            float(planted.cum_qty),
            float(planted.valid_last_qty),
        ),
        lineage=LineageFound(planted.file, planted.lines[-1], "0" * 16, "1.0.0", HASH, HASH, True),
        log_status=0,
    )


def differing(truth: Truth, found: Found) -> list[str]:
    return [one.name for one in check(truth, found) if not one.is_good]


def test_a_run_that_finds_what_was_planted_is_good(truth: Truth) -> None:
    checks = check(truth, as_planted(truth))

    assert [one for one in checks if not one.is_good] == []
    assert verdict(checks, 20.4) == f"All {len(checks)} checks agree with what was planted, in 20 s."
    assert all(len(line) <= 78 for line in check_lines(checks))


def test_a_lost_row_is_noticed_wherever_it_counts(truth: Truth) -> None:
    found = as_planted(truth)
    first = found.files[truth.files[0].name]
    first.valid_rows["fix_orders"] -= 1
    first.lines_with_rows -= 1

    assert differing(truth, found) == [
        "rows in fix_orders",
        "lines that are a row, a bad row or a skip",
        "files whose own numbers all agree",
    ]


def test_two_errors_that_cancel_out_in_the_sums_are_noticed(truth: Truth) -> None:
    found = as_planted(truth)
    one, other = (found.files[file.name] for file in truth.files)
    one.skips["comment"] += 1
    one.lines_with_rows -= 1
    other.skips["comment"] -= 1
    other.lines_with_rows += 1

    (bad,) = [each for each in check(truth, found) if not each.is_good]

    assert (bad.name, bad.expected, bad.found) == ("files whose own numbers all agree", 2, 0)
    assert "skips: comment" in bad.details[0]


def test_a_tampered_truth_differs_from_a_true_run(truth: Truth) -> None:
    found = as_planted(truth)
    truth.files[1].violations[("fix_orders", "type_mismatch", "price")] += 1

    checks = check(truth, found)

    assert [one.name for one in checks if not one.is_good] == ["fix_orders type_mismatch price"]
    assert verdict(checks, 1).startswith(f"1 of {len(checks)} checks DIFFER")
    assert any(line.startswith("✗  fix_orders type_mismatch price") for line in check_lines(checks))


def test_a_violation_that_nobody_planted_is_noticed(truth: Truth) -> None:
    found = as_planted(truth)
    found.violations[("fix_session", "type_mismatch", "text")] += 1

    assert differing(truth, found) == ["fix_session type_mismatch text"]


def test_a_file_processed_twice_is_noticed(truth: Truth) -> None:
    found = as_planted(truth)
    name = truth.files[0].name
    jobs: list[dict[str, Any]] = [
        {
            "id": job,
            "input_file": f"/logs/{name}",
            "status": "COMPLETED",
            "attempt": 1,
            "skipped_json": None,
            "rows_valid": 0,
            "quarantine_rows": 0,
            "rows_skipped": 0,
        }
        for job in ("a" * 16, "b" * 16)
    ]
    found.files |= facts.read_files(jobs[1:], []) | {"again": facts.read_files(jobs, []).popitem()[1]}

    assert "jobs, one for each file" in differing(truth, found)


def test_the_order_is_read_from_published_and_quarantined_rows() -> None:
    life = [
        {"line": 1, "event": "ack", "last_qty": None, "last_px": None, "cum_qty": "0", "row": "published"},
        {"line": 2, "event": "fill", "last_qty": "100", "last_px": "1,5", "cum_qty": "100", "row": "quarantined"},
        {"line": 3, "event": "fill", "last_qty": "50.0", "last_px": "1.5", "cum_qty": "150.0", "row": "published"},
    ]

    assert facts.read_order(life) == OrderFound(("ack", "fill", "fill"), (1, 2, 3), 2, "1,5", 150.0, 50.0)


def test_a_command_is_shown_so_that_a_shell_reads_the_same_words() -> None:
    sql = facts.life_of("NO00-000060")
    words = ["casparian", "--home", "/some where/it's", "sql", sql, "--out", "a$b", "x" * 70]

    shown = command_lines(words)

    assert all(len(line) <= 80 for line in shown)
    script = "set -- " + "\n".join(shown).replace("  $ ", "", 1) + "\nprintf '%s\\0' \"$@\""
    read = subprocess.run(["sh", "-c", script], capture_output=True, check=True, text=True).stdout.split("\0")[:-1]
    assert [" ".join(word.split()) for word in read] == words


def test_what_comes_from_files_cannot_command_the_terminal() -> None:
    out = io.StringIO()
    narrator = Narrator(out)

    narrator.prose("raw: \x1b[2J evil")
    narrator.lines(aligned([("\x1b]0;title\x07", 12_345)], right=[1]))

    assert "\x1b" not in out.getvalue()
    assert "12,345" in out.getvalue()


def test_a_directory_with_anything_in_it_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(PlaceTaken, match=r"not empty \(it has 'mine.txt'\)"):
        choose(tmp_path)

    assert [one.name for one in tmp_path.iterdir()] == ["mine.txt"]
    with pytest.raises(PlaceTaken, match="is a file"):
        choose(tmp_path / "mine.txt")


def test_a_demo_from_before_is_named_with_a_way_on(tmp_path: Path) -> None:
    place = choose(tmp_path / "new" / "demo")
    place.truth.write_text("{}")

    with pytest.raises(PlaceTaken, match="already holds a demo") as refused:
        choose(place.root)
    assert str(place.home) in refused.value.remedy


def test_what_a_command_said_in_two_lines_is_told_in_two_lines() -> None:
    out = io.StringIO()
    Narrator(out).prose("intact: 127 events\ntables: 23 equal\tx")
    assert out.getvalue() == "  intact: 127 events\n  tables: 23 equal\\tx\n"
