"""One record of CSV: what is a row, what is rejected, and that no damage ever gives another row than was written."""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_shim.readers.csv.record import Judge, Seen, Verdict
from casparian_shim.readers.csv.scan import Dialect
from tests.cost import assert_linear

Cells = list[str | None]
COMMAS = Dialect()
TAIL = "is followed by the end of a quoted field that no quote opens; the field may begin in this record"
NOTHING = Seen()


@dataclass(frozen=True)
class Read:
    """A file as the careful path reads it: line → fields, and line → reason."""

    rows: dict[int, Cells]
    rejected: dict[int, str]
    lines: dict[int, int]


def cut(text: str) -> list[tuple[str, str]]:
    wholes = io.StringIO(text, newline="").readlines()
    bare = [whole.rstrip("\r\n") for whole in wholes]
    return [(line, whole[len(line) :]) for line, whole in zip(bare, wholes, strict=True)]


def read(text: str, field_count: int | None, dialect: Dialect = COMMAS, *, pads: bool = False) -> Read:
    lines = cut(text)
    rules = Judge(dialect, field_count, pads)
    rows: dict[int, Cells] = {}
    rejected: dict[int, str] = {}
    taken: dict[int, int] = {}
    at, seen = 0, Seen()

    def line_at(place: int) -> tuple[str, str] | None:
        return lines[place] if place < len(lines) else None

    while at < len(lines):
        if not lines[at][0]:
            at += 1
            continue
        verdict = rules.judge(line_at, at, seen)
        seen = verdict.added_to(seen)
        taken[at + 1] = verdict.lines
        if verdict.fields is None:
            rejected[at + 1] = verdict.reason
        else:
            rows[at + 1] = verdict.fields
        at += verdict.lines
    return Read(rows, rejected, taken)


def judged(text: str, field_count: int = 3, dialect: Dialect = COMMAS, seen: Seen = NOTHING) -> Verdict:
    lines = cut(text)
    rules = Judge(dialect, field_count)
    return rules.judge(lambda place: lines[place] if place < len(lines) else None, 0, seen)


def test_places_with_quotes_as_data_are_rows_or_rejected_and_never_swallowed() -> None:
    text = (
        "RU.45.1\tNovotor\"yal'skiy\tx\t517838\n"
        'US.01.2\t"Big" Rock\tx\t2\nUS.01.3\tPlain\tx\t3\nUS.01.4\t"Toys\tx\t4\nUS.01.5\tMill\tx\t5\n'
        'US.01.6\tHill\tx\t6\nUS.01.7\tR Us"\tx\t7\nUS.01.8\tTail\tx\t8\n'
    )
    without = read(text, 4, Dialect(delimiter="\t", quote=None))
    assert [row[1] for row in without.rows.values()] == [
        "Novotor\"yal'skiy", '"Big" Rock', "Plain", '"Toys', "Mill", "Hill", 'R Us"', "Tail",
    ]  # fmt: skip
    quoted = read(text, 4, Dialect(delimiter="\t"))
    assert {line: row[1] for line, row in quoted.rows.items()} == {1: "Novotor\"yal'skiy", 3: "Plain", 8: "Tail"}
    assert quoted.lines == {1: 1, 2: 1, 3: 1, 4: 4, 8: 1}
    assert quoted.rejected[4] == "is one record in 4 lines if its quotes enclose a field, or 4 records if they are text"


def test_items_with_an_inch_mark_escapes_and_an_open_quote() -> None:
    text = 'A1,pipe 12" long,1\nA2,"said \\"no\\"",2\nA3,plain,3\nA4,"open quote,4\nA5,five,5\nA6,six,6\n'
    escaped = read(text, 3, Dialect(escape="\\"))
    assert escaped.rows == {
        1: ["A1", 'pipe 12" long', "1"],
        2: ["A2", 'said "no"', "2"],
        3: ["A3", "plain", "3"],
        5: ["A5", "five", "5"],
        6: ["A6", "six", "6"],
    }
    assert escaped.rejected == {4: "has a quote that opens in field 2 and is never closed"}
    plain = read(text, 3)
    assert sorted(plain.rows) == [1, 3, 5, 6] and sorted(plain.rejected) == [2, 4]


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("a,b,c", ["a", "b", "c"]),
        (",,", [None, None, None]),
        ('"",,"x"', ["", None, "x"]),
        ('a,"b,""c""",d', ["a", 'b,"c"', "d"]),
        ('a,"two\nlines",c', ["a", "two\nlines", "c"]),
        ('a,"two\r\n\r\nlines",c', ["a", "two\r\n\r\nlines", "c"]),
        ('a,5" pipe,c', ["a", '5" pipe', "c"]),
        ('a,"say "hi" now",c', ["a", 'say "hi" now', "c"]),
        ('a,"x\ny",c\n"d",e,f', ["a", "x\ny", "c"]),
    ],
)
def test_a_record_is_read(text: str, fields: Cells) -> None:
    assert judged(text).fields == fields


@pytest.mark.parametrize(
    ("text", "lines", "reason"),
    [
        ("a,b", 1, "has 2 fields instead of 3"),
        ("a;b;c", 1, "has 1 field instead of 3"),
        ("a,b,c,", 1, "has 4 fields instead of 3"),
        ('a,b",c', 1, "has a quote at the beginning or end of field 2, which no quote opens"),
        ('5"Doe, John",x', 1, "has a quote at the beginning or end of field 2, which no quote opens"),
        ('a, "b",c', 1, "has a quote at the beginning or end of field 2, which no quote opens"),
        ('a,"b"c,d', 1, "has a quote that opens in field 2 and is never closed"),
        ('a,"b" ,d', 1, "has a quote in field 2 that neither closes it nor stands between two letters"),
        ('a,""b"",c', 1, "has a quote in field 2 that neither closes it nor stands between two letters"),
        ('a,"b\\"c",d', 1, "has a quote in field 2 that neither closes it nor stands between two letters"),
        ('1;"b,c,d";y', 1, 'has quotes inside fields 1 and 3, which may enclose what is between them'),
        ('1,a,5"b\nc,d"\n', 2, "has a quote inside field 3, and the next line is no record: the field may continue there"),
        ('1,a,5"b\nc",2,d\n', 2, "has a quote inside field 3, and the next line is no record: the field may continue there"),
        ('1,"a\nb",c,d\n2,b,c', 2, "has 4 fields instead of 3, in 2 lines"),
        ('1,"a\n5,x\n2,b,c', 2, "has a quote that opens in field 2 and is never closed"),
        ('1,"a,b\n5,6,x\n2,b,c', 1, "has a quote that opens in field 2 and is never closed"),
        ('1,x,two\nmore\nlines"\n2,b,c', 3, TAIL),
        ('1,"x,b\n2,y"\n3,b,c', 2, "has 2 fields instead of 3, in 2 lines"),
    ],
)  # fmt: skip
def test_a_record_is_rejected_with_its_reason(text: str, lines: int, reason: str) -> None:
    assert judged(text) == Verdict(lines, None, reason)


@pytest.mark.parametrize("delimiter", [",", "\t", " ", "||", " | ", "\t|"])
def test_a_quote_beside_a_delimiter_is_never_text_even_if_the_delimiter_looks_like_padding(delimiter: str) -> None:
    record = delimiter.join(["1", '"one', 'two"2', "x", '"y"', "z"])
    reason = "has a quote in field 2 that neither closes it nor stands between two letters"
    assert read(record, 3, Dialect(delimiter=delimiter)).rejected == {1: reason}


NEVER = "has a quote that opens in field 2 and is never closed"
NEAR = "has a quote inside field 2, and the next line is no record: the field may continue there"


@pytest.mark.parametrize(
    ("text", "lines", "reason"),
    [
        # Without its last quote. The cell reaches to the last line that is no record by itself;
        ('1,"x\n7,8,9\ny,z\n2,b,c\n', 3, NEVER),
        ('1,"x\n7,8,9\n\n7,8,9\n\ny,z\n2,b,c\n', 6, NEVER),
        ('1,"x, y\n7,8,9\ny,z\n2,b,c\n', 3, NEVER),
        ('1,"x, y\n2,b,c\n3,b,c\n', 1, NEVER),
        # if no line can be its end, to a line with a quote or over ten records;
        ('1,"x\n7,8,9\n2,b,c\n3,b,c', 4, NEVER),
        ('1,"x\n' + "7,8,9\n" * 10 + "2,b,c\n" * 5, 11, NEVER),
        ('1,"x\n7,8,9\n"2",b,c\n3,b,c\n', 2, NEVER),
        ('1,"x\n7,8,9\n2,b,"c"\n3,b,c\n', 3, NEVER),
        # and over a record with the same quote, since one quote more than written is as likely.
        ('1,"x\n7,"8,9\ny",z\n2,b,c\n', 3, NEVER),
        # Without its first quote: a line before a quote that closes what none opened may be in its cell.
        ('7,8,9\n4,5,6\ny",z\n2,b,c\n', 3, TAIL),
        ('7,8,9\n\n4,5,6\nx\ny",z\n2,b,c\n', 5, TAIL),
        ('1,x\n7,8,9\nx, y",z\n2,b,c\n', 3, "has 2 fields instead of 3"),
        ('1,-"x, z\n7,8,9\ny",z\n2,b,c\n', 3, NEAR),
        # With one more: a record that ends early may go on.
        ('"x\n7",8,9\n4,5,6\ny",2,3\n2,b,c\n', 4, TAIL),
        ('"x\n7,8",9\n4,5,6\ny",2,3\n2,b,c\n', 4, "has 2 fields instead of 3, in 2 lines"),
        ('1,"x"\n7,8,9\ny, y",z\n2,b,c\n', 3, "has 2 fields instead of 3"),
    ],
)
def test_a_line_in_a_cell_of_a_damaged_record_is_no_record(text: str, lines: int, reason: str) -> None:
    assert judged(text) == Verdict(lines, None, reason)


def test_a_record_is_in_no_cell_if_more_records_follow_than_a_cell_has() -> None:
    text = "0,b,c\n" * 3 + "7,8,9\n" * 10 + 'y",z\n2,b,c\n'
    assert sorted(read(text, 3).rows) == [1, 2, 15]


@pytest.mark.parametrize("after", ['2,"', '2,b,"', '"', '2",b,c\n'])
def test_what_follows_costs_no_record_that_is_whole(after: str) -> None:
    assert judged(f"1,b,c\n{after}").fields == ["1", "b", "c"]


def test_lines_that_are_records_both_ways_are_one_record_once_quotes_are_proved_to_enclose() -> None:
    text = '1,"Dear Bob\nHello, World"\n'
    assert judged(text, 2).fields is None
    assert judged(text, 2, seen=Seen(encloses=True)) == Verdict(2, ["1", "Dear Bob\nHello, World"], "", 0, True)
    assert read('0,"Hi, you"\n' + text, 2).rows == {1: ["0", "Hi, you"], 2: ["1", "Dear Bob\nHello, World"]}


def test_delimiters_of_several_characters_escapes_and_other_quotes() -> None:
    assert judged("a||b|c||d", 3, Dialect(delimiter="||")).fields == ["a", "b|c", "d"]
    assert judged("a~'b~c'~d", 3, Dialect(delimiter="~", quote="'")).fields == ["a", "b~c", "d"]
    assert judged("a\\,b,c,d\\\\", 3, Dialect(escape="\\", quote=None)).fields == ["a,b", "c", "d\\"]
    assert judged("a,b\\\nc,d\n", 3, Dialect(escape="\\")).fields == ["a", "b\nc", "d"]
    assert judged('a,"b""c",d', 3, Dialect(doublequote=False)).fields is None
    assert judged("a,b", 3, Dialect(delimiter=";")).reason == "has 1 field instead of 3"


def test_short_records_are_filled_up_on_request() -> None:
    assert read('a,b\na\n"x\ny",b,c\na,b,c,d\n', 3, pads=True).rows == {
        1: ["a", "b", None],
        2: ["a", None, None],
        3: ["x\ny", "b", "c"],
    }


@pytest.mark.parametrize("mark", ["quote", "escape"])
@pytest.mark.parametrize("value", ["", "ab", "\n"])
def test_marks_are_one_character(mark: str, value: str) -> None:
    options: dict[str, Any] = {mark: value}
    with pytest.raises(ValueError, match=f"is not a valid {mark}"):
        Dialect(**options)


# --- properties

CELLS = st.text(st.sampled_from('ab,;"\n\r é€'), max_size=5)


@given(
    st.lists(st.lists(CELLS, min_size=3, max_size=3), max_size=5), st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
)
def test_what_python_writes_is_read_or_is_a_record_in_two_ways(
    records: list[list[str]], quoting: Literal[0, 1]
) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\r\n", quoting=quoting).writerows(records)

    rows: dict[int, list[str]] = {}
    reader = csv.reader(io.StringIO(out.getvalue(), newline=""))
    before = 0
    for record in reader:
        if record:
            rows[before + 1] = record
        before = reader.line_num
    got = read(out.getvalue(), 3, Dialect(empty=""))
    assert got.rows == {line: row for line, row in rows.items() if line not in got.rejected}
    assert all("records if they are text" in reason for reason in got.rejected.values())


@given(
    st.text(st.sampled_from('ab,"\n\\'), max_size=30), st.sampled_from([1, 2, 3, None]), st.booleans(), st.booleans()
)
def test_any_text_is_judged_line_by_line_to_its_end(
    text: str, field_count: int | None, pads: bool, escapes: bool
) -> None:
    got = read(text, field_count, Dialect(escape="\\" if escapes else None), pads=pads)

    assert set(got.rows) | set(got.rejected) == set(got.lines)
    lines = cut(text)
    blank = {number for number, line in enumerate(lines, 1) if not line[0]}
    covered = [line + place for line, count in got.lines.items() for place in range(count)]
    assert len(covered) == len(set(covered)) and set(covered) | blank == set(range(1, len(lines) + 1))


@pytest.mark.parametrize(
    "line",
    ['"', '"""', '""', 'a,"b', 'a,"', '"a",b"c', 'a"b"c"d', ',""', '"x""', 'a,b"', '"a"b"c', "x\\", '"a\nb",c'],
    ids=repr,
)
def test_time_is_linear_whatever_the_quotes(line: str) -> None:
    dialect = Dialect(escape="\\" if line.endswith("\\") else None)
    assert_linear(lambda count: read((line + "\n") * count, 2, dialect), 1_000)


@pytest.mark.parametrize("text", ['"', '""', 'a"', "a,", '","', '\\"', '" '])
def test_a_long_line_of_one_thing_is_judged_at_once(text: str) -> None:
    assert_linear(lambda count: judged(text * count, 3, Dialect(escape="\\")), 100_000)
