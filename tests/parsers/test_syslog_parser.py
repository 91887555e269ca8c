"""The premade syslog parser: its own tests, what it gives, and lines rebuilt from their rows."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import syslog_parser
from hypothesis import given
from hypothesis import strategies as st
from syslog_parser import BadParameter, Clock, line_of, row_of

from casparian.shipped import bundled
from casparian_app.parsers import run_bundle_tests
from casparian_sentinel.registry.gatekeeper import inspect_source

CLOCK = Clock("UTC", "2025-03-01")


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """A reader outside of a job logs its first rejected record."""
    logging.getLogger("casparian.readers").disabled = True
    yield
    logging.getLogger("casparian.readers").disabled = False


@dataclass
class Recorded:
    params: dict[str, str]
    rejected: list[tuple[int, str]] = field(default_factory=list)
    skips: list[int] = field(default_factory=list)

    def skip(self, _reason: str, source_row: int) -> None:
        self.skips.append(source_row)

    def reject(self, _output: str, _row: object, reason: str, source_row: int) -> None:
        self.rejected.append((source_row, reason))


def read(tmp_path: Path, data: bytes, **params: str) -> tuple[Recorded, list[dict[str, Any]]]:
    path = tmp_path / "some.log"
    path.write_bytes(data)
    recorded = Recorded({**syslog_parser.params, **params})
    return recorded, [row for _, row in syslog_parser.parse(str(path), recorded)]


def test_the_bundle_passes_its_own_tests_and_the_gatekeeper() -> None:
    bundle = bundled("parsers/syslog")
    assert [one.differences for one in run_bundle_tests(bundle)] == [(), ()]
    for source in bundle.glob("*.py"):
        assert inspect_source(source.read_text(encoding="utf-8"), source.name) == ()


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("Mar  1 00:00:01", "2025-03-01T00:00:01+00:00"),
        ("Mar  2 00:00:01", "2024-03-02T00:00:01+00:00"),
        ("Dec 31 23:59:59", "2024-12-31T23:59:59+00:00"),
        ("Feb 29 01:02:03", "2024-02-29T01:02:03+00:00"),
        ("Mar 01 25:00:00", "2025-03-01T25:00:00"),
    ],
)
def test_a_time_without_a_year_is_in_the_last_year_before_the_reference(text: str, time: str) -> None:
    assert row_of(f"<13>{text} gate su[12]: text", CLOCK)["time"] == time


def test_a_local_time_that_its_zone_has_twice_keeps_no_offset() -> None:
    clock = Clock("Europe/Zurich", "2024-12-31")

    times = [row_of(f"{text} gate su: text", clock)["time"] for text in ("Oct 27 02:30:00", "Oct 28 02:30:00")]

    assert times == ["2024-10-27T02:30:00", "2024-10-28T02:30:00+01:00"]


def test_each_line_ends_as_a_row_a_rejected_row_or_a_skip(tmp_path: Path) -> None:
    lines = [b"<34>Oct 11 22:14:15 gate su: text", b"", b"Foo 11 22:14:15 gate su: text", b"Feb 30 22:14:15 gate x", b"\xe9",
             b"<192>Oct 11 22:14:15 gate x", b"2024-10-11T22:14:15 gate last message repeated 2 times"]  # fmt: skip

    recorded, rows = read(tmp_path, b"\r\n".join(lines), reference="2024-12-31")

    assert [(row["__cf_row_id"], row["format"], row["app"], row["message"]) for row in rows] == [
        (1, "rfc3164", "su", "text"),
        (7, "file", None, "last message repeated 2 times"),
    ]
    assert recorded.skips == [2]
    assert recorded.rejected == [
        (3, "has a month that does not exist: 'Foo'"),
        (4, "has a day that does not exist: 'Feb 30'"),
        (6, "has a priority beyond 191: 192"),
    ]


def test_without_a_reference_no_year_is_guessed(tmp_path: Path) -> None:
    recorded, rows = read(tmp_path, b"<34>Oct 11 22:14:15 gate su: text\n")

    assert rows == []
    assert recorded.rejected == [
        (1, "has a time without a year; give the parameter reference, a day like 2024-12-31"),
    ]


def test_a_line_of_another_encoding_says_which_one_read_it(tmp_path: Path) -> None:
    data = "<34>Oct 11 22:14:15 gate su: caf\u00e9\n".encode()

    _, rows = read(tmp_path, data + data.decode().encode("cp1252"), reference="2024-12-31", encoding="utf-8, cp1252")

    assert [(row["message"], row["_cf_raw_encoding"]) for row in rows] == [
        ("caf\u00e9", "utf-8"),
        ("caf\u00e9", "cp1252"),
    ]


@pytest.mark.parametrize(
    ("name", "value"), [("tz", "Mars/Olympus"), ("reference", "last year"), ("framing", "tcp"), ("continuation", "yes")]
)
def test_a_parameter_nobody_knows_is_told_before_a_line_is_read(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(BadParameter, match=name):
        read(tmp_path, b"", **{name: value})


PRIORITIES = st.integers(0, 191).map(lambda number: f"<{number}>")
WORDS = st.from_regex(r"\A[!-~]{1,32}\Z") | st.just("-")
ELEMENTS = st.lists(
    st.from_regex(r'\A\[[a-z@0-9]{1,9}( [a-z]{1,9}="([a-z =\[]|\\["\\\]])*")*\]\Z'), min_size=1, max_size=3
).map("".join)
TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=40)
TIMES = st.sampled_from(["2024-10-11T22:14:15.003Z", "2024-10-11T22:14:15+02:00", "-", "nonsense"])


@given(PRIORITIES, st.integers(1, 999), TIMES, WORDS, WORDS, WORDS, WORDS, ELEMENTS | st.just("-"), TEXTS | st.none())
def test_a_line_of_rfc_5424_can_be_rebuilt_from_its_row(
    priority: str, number: int, time: str, host: str, app: str, proc: str, msg: str, data: str, message: str | None
) -> None:
    line = f"{priority}{number} {time} {host} {app} {proc} {msg} {data}" + ("" if message is None else f" {message}")

    row = row_of(line, CLOCK)

    assert row["format"] == "rfc5424"
    assert (row["structured_data"], row["message"]) == (None if data == "-" else data, message)
    assert line_of(row) == line


@given(
    PRIORITIES | st.just(""),
    st.sampled_from(["Oct 11 22:14:15", "Jan  1 00:00:00", "2024-10-11T22:14:15"]),
    WORDS,
    TEXTS,
)
def test_a_line_of_rfc_3164_can_be_rebuilt_from_its_row(priority: str, time: str, host: str, rest: str) -> None:
    line = f"{priority}{time} {host} {rest}"

    assert line_of(row_of(line, CLOCK)) == line


MESSAGES = [
    "<34>1 2024-10-11T22:14:15Z h su - - - a\nb\u00e9",
    "<13>1 - h app - - - x",
    "<13>Oct 11 22:14:15 gate su[1]: t",
]


def octets(*messages: str) -> bytes:
    return b"".join(b"%d %s" % (len(each.encode()), each.encode()) for each in messages)


def test_messages_behind_their_lengths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian_shim.readers.source.BLOCK_BYTES", 7)
    recorded, rows = read(tmp_path, octets(*MESSAGES) + b"\n", framing="octets", reference="2024-12-31")

    assert [(row["__cf_row_id"], row["app"], row["message"]) for row in rows] == [
        (1, "su", "a\nb\u00e9"),
        (2, "app", "x"),
        (3, "su", "t"),
    ]
    assert [line_of(row) for row in rows] == MESSAGES and recorded.rejected == []


def test_a_cut_stream_gives_the_messages_before_the_cut(tmp_path: Path) -> None:
    data = octets(*MESSAGES)
    ends = [len(octets(*MESSAGES[:count])) for count in range(4)]
    for cut in range(len(data)):
        _, rows = read(tmp_path, data[:cut], framing="octets", reference="2024-12-31")
        assert len(rows) == sum(0 < end <= cut for end in ends)


@pytest.mark.parametrize("length", [b"1", b"38", b"99999", b"x", b""])
def test_a_wrong_length_costs_its_message_and_one_that_is_none_the_message_before_it_too(
    tmp_path: Path, length: bytes
) -> None:
    parts = [octets(each) for each in MESSAGES]
    parts[1] = length + parts[1][parts[1].index(b" ") :]

    _, rows = read(tmp_path, b"".join(parts), framing="octets", reference="2024-12-31")

    assert [row["message"] for row in rows] == (["a\nb\u00e9", "t"] if length.isdigit() else ["t"])


def test_lines_of_a_message_are_joined_if_asked_for(tmp_path: Path) -> None:
    data = b"before\n<13>1 - h app - - - x\n\tat y\nCaused by z\nOct 11 22:14:15 gate su: t\n"

    recorded, rows = read(tmp_path, data, continuation="join", reference="2024-12-31")

    assert [(row["__cf_row_id"], row["message"]) for row in rows] == [(2, "x\n\tat y\nCaused by z"), (5, "t")]
    assert recorded.rejected == []
