"""Dialects: judged by all lines, with quotes understood, and honest about what does not pair."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_worker.detection import Detected, Dialect, Sample, Table, detect
from casparian_worker.detection.rows import first_rows
from casparian_worker.detection.text import read_text
from tests.cost import assert_linear

ROWS = "".join(f"{n},name {n},{n / 7:.2f},2024-01-{n % 28 + 1:02}\n" for n in range(1, 30))
PLAIN = Dialect(",", '"', None, 4, 1, ("id", "name", "amount", "day"), 0, 0, None, 30, 30, has_own_names=True)


def judged(text: str) -> Detected:
    return detect(Sample.of_bytes(text.encode()))


def dialect_of(text: str) -> Dialect:
    details = judged(text).details
    assert isinstance(details, Dialect), judged(text).kind
    return details


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ("", "", PLAIN),
        (
            "Report of the day\nprinted 2024-01-02\n\n",
            "Total: 29 rows\n",
            replace(PLAIN, preamble_lines=3, footer_lines=1),
        ),
        ("# made by x\n# for y\n", "", replace(PLAIN, comment="#")),
        ("", "\n\nend of report\n", replace(PLAIN, footer_lines=1)),
    ],
)
def test_what_stands_around_the_table_is_told_apart(before: str, after: str, found: Dialect) -> None:
    assert dialect_of(f"{before}id,name,amount,day\n{ROWS}{after}") == found


def test_several_header_lines_name_the_columns_once() -> None:
    units = dialect_of("id,name,amount,day\n-,text,EUR,date\n" + ROWS)
    assert (units.header_lines, units.names) == (2, ("id", "name", "amount", "day"))
    groups = dialect_of("who,who,what,what\nid,name,amount,day\n" + ROWS)
    assert groups.names == ("id", "name", "amount", "day")
    assert dialect_of("1,2\n3,4\n").header_lines == 0
    unclear = judged("a,b\nc,d\ne,f\n")
    assert isinstance(unclear.details, Dialect) and unclear.details.header_lines is None
    assert any("header is not certain" in doubt for doubt in unclear.doubts)


def test_a_mark_before_each_delimiter_is_no_part_of_it() -> None:
    text = "name|rate|day\n" + "".join(f"n{n}|{n / 7:.2f}%|2024-01-{n:02}\n" for n in range(1, 20))
    found = dialect_of(text)
    assert (found.delimiter, found.names) == ("|", ("name", "rate", "day"))
    mails = "".join(f"n{n}#@#n{n}@x.org#@#{n}\n" for n in range(1, 20))
    assert dialect_of(mails).delimiter == "#@#"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|", "\x1f", "\x01", "~", "^", "||", "|~|", "::", ";;", ":"])
def test_delimiters_of_one_or_more_characters(delimiter: str) -> None:
    text = "".join(delimiter.join([str(n), f"name{n}", "x y", f"{n}.5"]) + "\n" for n in range(20))
    found = dialect_of(text)
    assert (found.delimiter, found.column_count, found.agreeing_count) == (delimiter, 4, 20)


def test_two_delimiters_in_a_row_are_an_empty_field_if_one_stands_alone_too() -> None:
    found = dialect_of("".join(f"{n}||na|{'' if n % 2 else 'z'}|x\n" for n in range(20)))
    assert (found.delimiter, found.column_count) == ("|", 5)


def test_a_decimal_comma_is_no_delimiter() -> None:
    found = dialect_of("name;betrag;tag\n" + "".join(f"n{n};{n},{n:02};0{n % 9 + 1}.01.2024\n" for n in range(1, 20)))
    assert (found.delimiter, found.column_count) == (";", 3)


def test_quoted_fields_span_lines_and_hold_delimiters() -> None:
    text = "id,note,n\n" + "".join(f'{n},"one ""line""\nand, another {n}",{n}\n' for n in range(30))
    found = judged(text)
    assert found.details == Dialect(",", '"', None, 3, 1, ("id", "note", "n"), 0, 0, None, 31, 31, has_own_names=True)
    assert found.confidence == 1 and not any("quot" in doubt for doubt in found.doubts)


def test_quotes_that_do_not_pair_are_text_and_are_named() -> None:
    text = "".join(f"{n}\t{'' if n else chr(34)}name\tx\t{n}\n" for n in range(8))
    found = judged(text)
    assert isinstance(found.details, Dialect) and found.details.column_count == 4
    assert found.doubts[0] == "quoting is not certain: quotes do not pair (line 1: a quote opens and never closes)"


def test_an_open_quote_does_not_swallow_the_rest() -> None:
    lines = [f'{n},"name, {n}",{n}\n' for n in range(50)]
    lines[20] = '20,"name 20,20\n'
    found = judged("".join(lines))
    assert isinstance(found.details, Dialect)
    assert (found.details.record_count, found.details.agreeing_count, found.details.column_count) == (50, 49, 3)
    assert any("line 21" in doubt for doubt in found.doubts)


def test_escaped_quotes_and_single_quotes_are_understood() -> None:
    escaped = dialect_of("a,b\n" + "".join(f'{n},"said \\"no\\", {n}"\n' for n in range(10)))
    assert (escaped.quote, escaped.escape, escaped.agreeing_count) == ('"', "\\", 11)
    single = dialect_of("".join(f"{n},'x, y',{n}\n" for n in range(10)))
    assert (single.quote, single.column_count) == ("'", 3)


def test_a_ragged_record_is_a_doubt_and_not_another_dialect() -> None:
    lines = [f"{n},n{n},{n}\n" for n in range(60)]
    lines[7] = "7,n7,7,extra\n"
    found = judged("id,name,amount\n" + "".join(lines))
    assert found.confidence == round(60 / 61, 4)
    assert "1 record has another number of fields: line 9 (4)" in found.doubts


def test_several_tables_in_a_file_are_listed() -> None:
    found = dialect_of("a,b,c\n1,2,3\n4,5,6\n\nx,y\n1,2\n3,4\n5,6\n")
    assert found.tables == (Table(1, 3, 3, "a,b,c"), Table(5, 8, 2, "x,y"))


def test_a_trailing_delimiter_gives_a_column_without_a_name() -> None:
    found = dialect_of("id,name,\n1,a,\n2,b,\n")
    assert (found.column_count, found.header_lines, found.names) == (3, 1, ("id", "name", "column_3"))


CELLS = st.text(alphabet='ab1 ,"\n', max_size=6)


@given(st.lists(st.tuples(st.integers(0, 999), CELLS, CELLS), min_size=8, max_size=20))
def test_what_csv_writes_is_cut_as_it_was_written(rows: list[tuple[int, str, str]]) -> None:
    """Python's writer quotes every text, so that there is one reading; the first rows are the ones that were written."""
    text = "".join(f'{a},"{b.replace(chr(34), chr(34) * 2)}","{c.replace(chr(34), chr(34) * 2)}"\n' for a, b, c in rows)
    sample = Sample.of_bytes(text.encode())
    found = detect(sample)
    if found.kind == "delimited" and isinstance(found.details, Dialect) and found.details.agreeing_count == len(rows):
        _, shown = first_rows(found, read_text(sample, "utf-8"), len(rows))
        assert shown[-1] == [str(rows[-1][0]), *rows[-1][1:]]


def test_a_dialect_is_said_as_the_arguments_of_a_reader() -> None:
    assert PLAIN.options == {}
    assert dialect_of("1;'x;y';2\n3;'z;w';4\n5;'a;b';6\n").options == {
        "delimiter": ";", "quote": "'", "header": False, "columns": ["column_1", "column_2", "column_3"],
    }  # fmt: skip
    around = "Report\n# by x\n" + "id,name,amount,day\n" + ROWS + "Total: 29\n"
    assert dialect_of(around).options == {"comment": "#", "skip_lines": 2, "footer": 1}


@pytest.mark.parametrize(
    ("header", "names", "options"),
    [
        ("id,name,amount,day,", ("id", "name", "amount", "day"), {"header": False, "skip_lines": 1}),
        ("id,name,amount", ("id", "name", "amount", "column_4"), {"header": False, "skip_lines": 1}),
        ("id,name,id,day", ("id", "name", "id_2", "day"), {}),
        ("id,,amount,day", ("id", "column_2", "amount", "day"), {}),
    ],
)
def test_a_damaged_header_still_names_what_it_can(
    header: str, names: tuple[str, ...], options: dict[str, object]
) -> None:
    found = dialect_of(f"{header}\n{ROWS}")
    assert found.names == names
    assert found.options == {**options, "columns": list(names)}


@pytest.mark.parametrize(
    "last",
    ["30,name,4.2\n", "30,name,4.2,2024-01-01,\n", "30,na", "30", "30,name,4.2\n31,name,4.3,2024-01-01\n"],
)
def test_a_bad_record_at_the_end_is_no_footer(last: str) -> None:
    assert dialect_of(f"id,name,amount,day\n{ROWS}{last}").footer_lines == 0


def test_a_long_end_is_no_footer() -> None:
    for lines, wanted in ((20, 20), (21, 0)):
        assert dialect_of(f"id,name,amount,day\n{ROWS * 9}" + "Total of some rows\n" * lines).footer_lines == wanted


def test_a_table_before_the_table_is_no_plain_preamble() -> None:
    before = "run,a,b\n" + "".join(f"{n},x,y\n" for n in range(9))
    after = "".join(",".join(f"{n}{column}" for column in range(9)) + "\n" for n in range(30))
    (doubt,) = [each for each in judged(before + after).doubts if "before the table" in each]
    assert doubt == "10 lines before the table have 3 fields each: they may be a table too, and would be skipped"
    assert not [each for each in judged(f"Report,May\nby,Ann\n{ROWS}").doubts if "before the table" in each]


def test_damage_in_the_first_record_does_not_make_a_preamble() -> None:
    text = "id,name,note\n1,a,'x\ny' 2\n" + "".join(f"{n},a,'p, q'\n" for n in range(3, 9))
    assert dialect_of(text).preamble_lines == 0


def test_cells_of_sentences_are_no_prose_unless_a_blank_follows_each_comma() -> None:
    lines = ["EventId,EventTemplate", *(f"E{number},failed to open the file <*> on <*>" for number in range(9))]
    found = detect(Sample.of_bytes("\r\n".join(lines).encode())).details

    assert isinstance(found, Dialect)
    assert (found.column_count, found.names) == (2, ("EventId", "EventTemplate"))
    letter = "Dear Anna, it was very good to see you\nlast week, when we met at the big lake\nand again, in the end at home\n"
    assert judged(letter).kind == "text"


def test_a_header_below_other_records_is_the_header() -> None:
    found = detect(Sample.of_bytes(b"some notes\nmore notes,...\nnumber,text,date\n345.0,TEST4,2000-12-13\n")).details

    assert isinstance(found, Dialect)
    assert (found.options, found.names) == ({"skip_lines": 2}, ("number", "text", "date"))


def test_a_blank_after_each_delimiter_belongs_to_it_if_quotes_follow() -> None:
    lines = ["id, name, at", *(f'{number}, "a, b ""c""", 12:00:{number:02}' for number in range(10, 20))]
    found = detect(Sample.of_bytes("\n".join(lines).encode())).details

    assert isinstance(found, Dialect)
    assert (found.options, found.column_count, found.agreeing_count) == ({"delimiter": ", "}, 3, 11)


def test_long_runs_of_blanks_are_judged_in_linear_time() -> None:
    def judge(size: int) -> None:
        detect(Sample.of_bytes(b"".join(b"a" + b" " * size + b",b\n" for _ in range(8))))

    assert_linear(judge, 1_000)  # once minutes: the pattern of a clean cell had three runs of blanks
