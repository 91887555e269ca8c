"""The wide lane and line by line are one parser: the same rows, rejected rows, order and tape, for any log and any block size."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fix_columns
import fix_parser
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from fix_tables import Clock
from hypothesis import example, given, settings
from hypothesis import strategies as st

from casparian.demo.fix_logs import generate, write_big_log
from casparian_shim.readers.tape import What
from tests.parsers.fix_runs import Recorded, message, read

NEVER = 1 << 40


@contextmanager
def path_of(few: int, wide_from: int, block_bytes: int) -> Iterator[None]:
    """Messages of one shape from `few` on, in blocks of at least `wide_from` lines, take the wide lane."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fix_columns, "_FEW", few)
        patch.setattr(fix_parser, "_WIDE_FROM", wide_from)
        patch.setattr(fix_parser, "_BLOCK_BYTES", block_bytes)
        yield


def story(recorded: Recorded) -> dict[str, Any]:
    """All that a run says, in an order that does not depend on blocks."""
    order = {
        output: [
            {name: value for name, value in each.items() if value is not None} if isinstance(each, dict) else each
            for each in rows
        ]
        for output, rows in recorded.order.items()
    }
    tape = [each for each in recorded.entries if each[2] not in (What.POSITION, What.COMPLETE)]
    return {"order": order, "skips": recorded.skips, "tape": tape, "accounting": recorded.accounting}


def stories(path: Path, block_bytes: int = 4 << 20, **params: str) -> tuple[dict[str, Any], dict[str, Any]]:
    with path_of(NEVER, NEVER, 4 << 20):
        careful = story(read(path, **params))
    with path_of(1, 1, block_bytes):
        return story(read(path, **params)), careful


def _dummy(line: bytes) -> bytes:
    return line[: line.rindex(b"10=") + 3] + b"000" + line[-1:] * (line[-1:] in b"|^;\x01")


ORDER = ("D", "11=A1", "55=KO", "54=1", "38=100", "60=20240304-10:20:30.125")
FILL = ("8", "11=A1", "37=O1", "17=E1", "150=F", "39=2", "54=1", "31=59.09", "32=100", "60=20240304-23:59:59.999999")
SHAPES: list[tuple[str, ...]] = [
    ORDER,
    FILL,
    (*ORDER[:-1], "60=20240305-00:00:00"),
    (*ORDER[:-1], "60=2024-03-05 10:00"),
    (*ORDER, "11=A2"),  # a column given twice
    (*ORDER, "453=2", "448=X", "447=D", "448=Y", "447=D"),
    ("8", "11=A1", "150=4", "39="),
    ("8", "11=A1", "20=1", "39=2", "150="),
    ("0",),
    ("0", "112=café", "43=Y", "122=20240304-10:20:30"),
    ("A", "98=0", "108=30", "95=5", "96=a|b=c"),
    ("AE", "571=T1"),
    ("AE", "95=3", "96=abc"),
    ("D", "58=10=123 is no CheckSum"),
    ("D", "58=8=FIX.4.4 is said here", "1234567890=x"),
    ("D", "11=", "58=\r"),
]
DAMAGES = [
    *[lambda line: line] * 8,
    lambda line: line[:-1],  # no separator at the end
    lambda line: line[:40],
    lambda line: line[40:],
    lambda line: line[:25] + b"\xe9" + line[26:],
    lambda line: line.replace(b"10=", b"10=9"),
    lambda line: line.replace(b"9=", b"9=0", 1),
    lambda line: line.replace(b"49=ALPHA", b"49=ALPHB"),
    lambda line: line.replace(b"49=ALPHA", b"49"),
    lambda line: line.replace(b"49=", b"049="),
    lambda line: line.replace(b"|", b"").replace(b"\x01", b""),
    lambda line: line.replace(b"FIX.4.4", b"FIX.44"),
    lambda line: line + line,
    lambda line: line + b" and more",
    lambda line: b"2024-03-04 10:20:30 IN  " + line,
    lambda line: b"2024-03-04 10:20:30 OUT " + line,
    lambda line: b"# " + line,
    lambda line: b"  # a comment, 24 bytes " + line,
    lambda line: b'{"m":"' + line + b'"}',
    lambda line: b"",
    lambda line: b"\t ",
    lambda line: line[:40] + b"\t\x02\x00" + line[40:],
    lambda line: line[:-5] + b"\x0b" + line[-5:],
    lambda line: b"nothing like it",
    lambda line: line.replace(b"|", b"^"),
    _dummy,
]
LINES = st.tuples(st.sampled_from(SHAPES), st.sampled_from(range(len(DAMAGES))), st.integers(1, 4))


@settings(max_examples=40)
@given(
    lines=st.lists(LINES, max_size=12),
    separator=st.sampled_from(["|", "\x01", "^A", "<SOH>", ";"]),
    begin=st.sampled_from(["FIX.4.4", "FIXT.1.1", "FIX.5.0SP2"]),
    end=st.sampled_from([b"\n", b"\r\n"]),
    is_ended=st.booleans(),
    block_bytes=st.sampled_from([1, 7, 100, 500, 4 << 20]),
    params=st.sampled_from(
        [
            {},
            {},
            {"checksums": "dummies"},
            {"checksums": "ignore"},
            {"encoding": "latin-1"},
            {"tz": "America/New_York"},
        ]
    ),
)
@example(lines=[(ORDER, 0, 4), (FILL, 0, 4), (ORDER, 20, 3), (("0",), 0, 4)], separator="|", begin="FIX.4.4", end=b"\n",
         is_ended=True, block_bytes=500, params={})  # fmt: skip
@example(lines=[(ORDER, 22, 4), (FILL, 22, 4), (ORDER, 24, 2)], separator="\x01", begin="FIXT.1.1", end=b"\r\n",
         is_ended=False, block_bytes=4 << 20, params={})  # fmt: skip
def test_both_paths_give_the_same_for_any_log_and_any_block_size(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[tuple[tuple[str, ...], int, int]],
    separator: str,
    begin: str,
    end: bytes,
    is_ended: bool,
    block_bytes: int,
    params: dict[str, str],
) -> None:
    texts = [
        DAMAGES[damage](message(*shape, separator=separator, begin=begin))
        for shape, damage, count in lines
        for _ in range(count)
    ]
    data = end.join(texts) + end * is_ended
    path = tmp_path_factory.getbasetemp() / "paths.fix"
    path.write_bytes(data)

    wide, careful = stories(path, block_bytes, **params)

    assert wide == careful


def test_a_generated_directory_is_read_alike_and_nearly_all_of_it_by_the_wide_lane(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate(tmp_path / "logs", seed=7, files=2, orders_per_file=200)
    left = []
    careful_way = fix_parser._Reader._read_lines

    def counted(self: Any, block: Any, places: pa.Array | None) -> None:
        left.append(len(block) if places is None else len(places))
        careful_way(self, block, places)

    monkeypatch.setattr(fix_parser._Reader, "_read_lines", counted)
    for path in (tmp_path / "logs").iterdir():
        with path_of(NEVER, NEVER, 1000):
            careful = story(read(path))
        left.clear()
        assert story(read(path)) == careful
        assert sum(left) < 0.4 * len(path.read_bytes().splitlines())


def test_a_log_in_which_each_line_has_the_same_prefix_takes_the_wide_lane(tmp_path: Path) -> None:
    path = tmp_path / "some.fix"
    path.write_bytes(b"".join(b"10:20:30.%03d IN " % n + message(*ORDER) + b"\n" for n in range(100)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fix_parser._Reader, "_read_odd", None)
        recorded = read(path)

    assert {row["raw_tags"] for row in recorded.of("fix_orders")} == {message(*ORDER).decode()}
    assert len(recorded.of("fix_orders")) == 100


def test_the_rows_of_an_intact_log_put_together_are_the_log(tmp_path: Path) -> None:
    write_big_log(tmp_path / "big.fix", seed=4, messages=5_000)

    recorded = read(tmp_path / "big.fix")

    assert (
        "".join(f"{row['raw_tags']}\n" for row in recorded.of("fix_orders")).encode()
        == (tmp_path / "big.fix").read_bytes()
    )


def test_rows_rejected_rows_and_skips_of_a_damaged_log_put_together_are_the_log(tmp_path: Path) -> None:
    generate(tmp_path / "logs", seed=9, files=1, orders_per_file=150)
    (path,) = (tmp_path / "logs").iterdir()
    data = path.read_bytes()

    recorded = read(path)

    texts: dict[int, str] = {}
    for row in [row for rows in recorded.rows.values() for row in rows]:
        texts[row["__cf_row_id"]] = texts.get(row["__cf_row_id"], "") + (row.get("_cf_raw") or row["raw_tags"])
    for _, _, _, number, raw in recorded.rejected:
        texts[number] = texts.get(number, "") + raw
    lines = data.split(b"\n")
    skipped = {row for row, _, what in recorded.entries if what in (What.COMMENT, What.BLANK_LINE)}
    rebuilt = [lines[row - 1].decode() if row in skipped else texts[row] for row in range(1, data.count(b"\n") + 1)]
    assert "".join(f"{text}\n" for text in rebuilt).encode() == data


TIMES = st.from_regex(r"\A2024030[0-9]-[0-9]{2}:[0-9]{2}:[0-9]{2}([.][0-9]{1,9})?\Z") | st.text(max_size=21)


@given(st.lists(TIMES, max_size=4) | st.builds(lambda text, count: [text] * count, TIMES, st.integers(1, 4)))
def test_times_of_one_day_are_as_those_made_one_at_a_time(texts: list[str]) -> None:
    clock = Clock("UTC")

    alone = [clock.iso(pa.array([text])).to_pylist()[0] for text in texts]

    assert clock.iso(pa.array(texts, pa.string())).to_pylist() == alone
    by_regex = pc.replace_substring_regex(
        pa.array(texts, pa.string()),
        r"\A([0-9]{4})([0-9]{2})([0-9]{2})-([0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?)\z",
        r"\1-\2-\3T\4Z",
    )
    assert alone == by_regex.to_pylist()


BYTES = st.binary(max_size=300) | st.sampled_from([b"\xff" * 1_000, b"\xff" * 1_001, b"\xff" * 70_000])


@given(st.lists(BYTES, max_size=8), st.binary(max_size=17), st.integers(0, 3))
def test_sums_of_lines_are_the_sums_of_their_bytes(texts: list[bytes], before: bytes, cut: int) -> None:
    column = pa.array([before, *texts], pa.binary()).slice(1)[cut:]

    assert fix_columns._line_sums(column).to_pylist() == [sum(text) & 255 for text in texts[cut:]]
