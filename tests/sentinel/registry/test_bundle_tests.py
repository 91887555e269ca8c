"""A parser's own tests are found beside it and compared as text, so that 185.60 is not 185.6."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pytest

from casparian_sentinel.registry.bundle_tests import Observed, bundle_tests, differences
from casparian_sentinel.registry.prepare import BundleTestInvalid

EXPECTED = '{"a": {"rows": [{"p": 185.60, "d": "2024-05-31", "x": null, "b": true}], "quarantined": 1, "skipped": 2}}'


def place(root: Path, **files: str) -> Path:
    (root / "tests").mkdir(parents=True)
    for name, text in files.items():
        (root / "tests" / name.replace("__", ".")).write_text(text)
    return root


def seen(price: object, quarantined: int = 1, skipped: int = 2) -> Observed:
    row = {"p": price, "d": dt.date(2024, 5, 31), "x": None, "b": True, "other": 1}
    return Observed({"a": [row]}, {"a": quarantined}, skipped)


def test_a_case_is_an_input_and_what_is_expected_of_it(tmp_path: Path) -> None:
    root = place(tmp_path / "p", one__csv__gz="", one__expected__json=EXPECTED, notes__txt="no case")

    (test,) = bundle_tests(root)

    assert (test.case, test.input_path.name) == ("one", "one.csv.gz")
    assert differences(test, seen(Decimal("185.60"))) == ()
    assert differences(test, seen("185.60")) == ()
    assert differences(test, seen(185.6)) == ("a: row 0, 'p': expected '185.60', got '185.6'",)
    assert len(differences(test, seen("185.60", quarantined=0, skipped=0))) == 2
    assert differences(test, Observed({}, {"a": 1}, 2)) == ("a: 1 rows were expected, 0 came",)
    surprise = Observed({**seen("185.60").rows, "b": [{}]}, {"a": 1}, 2)
    assert differences(test, surprise) == ("b: has 1 rows, none were expected",)


def test_a_single_file_owns_the_cases_of_its_name(tmp_path: Path) -> None:
    files = {f"{case}__{end}": "{}" for case in ("fix", "fix_bad", "hl7") for end in ("log", "expected__json")}
    root = place(tmp_path / "p", **files)
    assert [test.case for test in bundle_tests(root / "fix.py")] == ["fix", "fix_bad"]
    assert len(bundle_tests(root)) == 3
    assert bundle_tests(tmp_path) == ()


@pytest.mark.parametrize(
    "text", ["", "[]", '{"a": {"row": []}}', '{"a": {"rows": [{"x": []}]}}', '{"A": {}}', '{"a": {"skipped": -1}}']
)
def test_an_expectation_that_cannot_be_read_says_why(tmp_path: Path, text: str) -> None:
    root = place(tmp_path / "p", one__log="", one__expected__json=text)
    with pytest.raises(BundleTestInvalid, match=r"one\.expected\.json"):
        bundle_tests(root)


def test_a_case_without_its_input_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BundleTestInvalid, match="found none"):
        bundle_tests(place(tmp_path / "p", one__expected__json="{}"))
