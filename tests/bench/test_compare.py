"""Two commits compared: what is called a difference, and a comparison of the present commit with itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench.__main__ import main
from bench.compare import changes


def document(*cases: tuple[str, str, float], is_higher_better: bool = True) -> dict[str, Any]:
    return {
        "figures": [{"name": "rate", "unit": "rows/s", "is_higher_better": is_higher_better}],
        "cases": [
            {"name": name, "kind": kind, "samples": [{"figures": {"rate": value}, "facts": {}}]}
            for name, kind, value in cases
        ],
    }


def words(before: list[float], after: list[float], *, is_higher_better: bool = True) -> tuple[float, str]:
    old, new = (
        [document(("ours", "casparian", value), is_higher_better=is_higher_better) for value in values]
        for values in (before, after)
    )
    [change] = changes(old, new)
    return round(change.times_better, 2), change.word


def test_a_difference_is_one_of_medians_whose_ranges_lie_apart() -> None:
    assert words([100, 110, 90, 100], [200, 190, 220, 200]) == (2.0, "better")
    assert words([200, 190, 220, 200], [100, 110, 90, 100]) == (0.5, "worse")
    assert words([100, 110, 90, 100], [108, 130, 120, 120]) == (1.2, "")
    assert words([100, 100, 100, 100], [101, 101, 101, 101]) == (1.01, "")
    assert words([100, 110, 90], [200, 190, 220]) == (2.0, ""), "too few runs"


def test_less_may_be_better() -> None:
    assert words([10.0] * 4, [5.0] * 4, is_higher_better=False) == (2.0, "better")


def test_what_only_one_commit_has_is_left_out_and_the_order_stays() -> None:
    before = [document(("b", "bare", 1), ("a", "casparian", 2), ("gone", "peer", 3))]
    after = [document(("new", "peer", 3), ("a", "casparian", 4), ("b", "bare", 1))]
    assert [(one.case, one.times_better) for one in changes(before, after)] == [("b", 1), ("a", 2)]


def test_a_commit_that_does_not_exist_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "no-such-commit", "HEAD", "validation"]) == 1
    assert "no-such-commit" in capsys.readouterr().err


@pytest.mark.campaign
def test_the_present_commit_is_compared_with_itself(tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    sizes = ["--rows", "2000", "--runs", "1", "--no-peers", "--scratch", str(tmp_path), "--json", str(report)]
    assert main(["compare", "HEAD", "HEAD", "validation", *sizes]) == 0

    told = json.loads(report.read_text())
    assert [commit["name"] for commit in told["commits"]] == ["HEAD", "HEAD"]
    assert told["changes"]
    assert [path.name for path in tmp_path.iterdir()] == ["report.json"]
