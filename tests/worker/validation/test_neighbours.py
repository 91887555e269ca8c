"""What is said about a value depends on the value and the contract alone: never on neighbours, batches or routes."""

from __future__ import annotations

import datetime as dt
import enum
import math
import pickle
import random
import sys
import uuid
from collections.abc import Iterator, Sequence
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from casparian_app.devrun.engine import run_input
from casparian_app.devrun.parser import load_parser
from casparian_protocol.contract import Contract
from casparian_shim.arrow.batches import aligned, batch_of_columns, columns_of_rows, columns_of_table, messages
from casparian_worker.validation import Checked, OutputFailed, OutputValidator, read_batch, read_schema
from tests.worker.attempts import Desk
from tests.worker.validation.python_values import verdict
from tests.worker.validation.reference import Spec
from tests.worker.validation.test_against_reference import NASTY, plain, same

UTC = dt.UTC
STRUCT = {
    "kind": "struct",
    "fields": [{"name": "a", "type": "int64", "nullable": False}, {"name": "b", "type": "string"}],
}
KINDS: list[Any] = [
    "string",
    "boolean",
    "int64",
    "float64",
    "date",
    "time",
    "timestamp",
    "timestamp_ns",
    "duration",
    "binary",
    {"kind": "decimal", "precision": 18, "scale": 2},
    {"kind": "decimal", "precision": 38, "scale": 0},
    {"kind": "timestamp_tz", "tz": "Europe/Berlin"},
    {"kind": "timestamp_tz", "tz": "UTC", "unit": "ns"},
    {"kind": "list", "item": "int64"},
    {"kind": "list", "item": "string"},
    {"kind": "list", "item": {"kind": "list", "item": "float64"}},
    {"kind": "list", "item": "date"},
    STRUCT,
    {"kind": "list", "item": STRUCT},
]


class Size(enum.IntEnum):
    S = 3


class Shade(enum.StrEnum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


class Hostile:
    """Whoever asks it anything is sorry."""

    def __repr__(self) -> str:
        raise SystemExit("repr was called")

    __str__ = __repr__
    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        raise RuntimeError


class HostileMeta(type):
    def __hash__(cls) -> int:
        raise RuntimeError

    def __repr__(cls) -> str:
        raise SystemExit

    __name__ = property(lambda cls: 1 / 0)


class HostileClass(metaclass=HostileMeta):
    pass


class Liar(str):
    def __str__(self) -> str:
        return "not what I am"

    def encode(self, *args: Any, **more: Any) -> bytes:
        return b"nor this"


class Odd(dt.tzinfo):
    def utcoffset(self, when: dt.datetime | None) -> dt.timedelta:
        raise ValueError

    __hash__ = None  # type: ignore[assignment]


NOON = dt.datetime(2024, 1, 2, 12, 0, 0, 250)
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 5, 2**53, 2**53 + 1, -(2**53) - 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**64, 2**70,
    10**40, 10**400, -(10**5_000), 0.0, -0.0, 0.1, 1.0, 1.5, 1e22, 1e300, 5e-324, math.nan, math.inf, -math.inf,
    Decimal("0"), Decimal("0E-10"), Decimal("-0.00"), Decimal("1.5"), Decimal("1.50"), Decimal("1.500"), Decimal("1.555"),
    Decimal("1E+5"), Decimal("1e400"), Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"), Decimal("1" * 50),
    Decimal("0." + "1" * 45), Decimal("1e999999"), dt.date(1, 1, 1), dt.date(2024, 1, 2), dt.date(9999, 12, 31), NOON,
    dt.datetime(2024, 1, 2), dt.datetime.min, dt.datetime.max, NOON.replace(tzinfo=UTC), dt.datetime(2024, 1, 2, tzinfo=UTC),
    NOON.replace(tzinfo=dt.timezone(dt.timedelta(hours=2))), dt.datetime.min.replace(tzinfo=dt.timezone(dt.timedelta(hours=5))),
    dt.datetime.max.replace(tzinfo=dt.timezone(dt.timedelta(hours=-5))), NOON.replace(fold=1),
    NOON.replace(tzinfo=dt.timezone(dt.timedelta(microseconds=7))), dt.time(), dt.time(1, 2, 3, 4), dt.time(1, tzinfo=UTC),
    dt.timedelta(), dt.timedelta(seconds=5), dt.timedelta(-1, 1, 1), dt.timedelta.max, dt.timedelta.min, b"", b"\xff", b"\\xff",
    b"caf\xc3\xa9", bytearray(b"abc"), memoryview(b"abcdef")[::2], [], [None], [1], [5, "x"], ["x"], ["1"], [1.0], [[]], [[1]],
    [[1, 2.5]], [[None]], [dt.date(2024, 1, 2)], [dt.date(2024, 1, 2), None], [[1], "x"], [2**70], [True], [b"x"], ["\ud800"],
    [{"a": 1, "b": "x"}], [{"a": None, "b": "x"}], [{"a": 1}], (), (1, 2), Point(1, 2), {}, {"a": 1}, {"a": 1, "b": "x"},
    {"b": "x", "a": 1}, {"a": 1, "b": 5}, {"a": None, "b": None}, {"a": "1", "b": None}, {"a": 1, "b": "x", "c": 2}, {1: 2},
    {"a": {"a": 1}, "b": []}, {"\ud800": 1}, {"a": 1, "b": Hostile()}, {1, 2}, frozenset(), object, object(), ValueError("x"),
    1j, Fraction(1, 3), uuid.UUID(int=5), Path("/x"), range(3), len, Hostile(), HostileClass(), HostileClass, ..., Size.S,
    Shade.RED, Liar("true"), Liar("5"), "\ud800x", "a\x00b", "x" * 5_000, "5", "1", "true", "2024-01-02", "NaN",
    *NASTY[::4],
]  # fmt: skip


def _can_be_shown(value: Any) -> bool:
    """Hypothesis asks every value, and its class, who it is."""
    if value is HostileClass or isinstance(value, HostileClass | Hostile):
        return False
    try:
        return len(repr(value)) < 1000
    except (ValueError, SystemExit):
        return False


scalars = st.one_of(
    st.sampled_from([value for value in VALUES if _can_be_shown(value)]),
    st.booleans(),
    st.integers(),
    st.integers(-(2**64), 2**64),
    st.floats(),
    st.decimals(),
    st.text(max_size=6),
    st.binary(max_size=6),
    st.dates(),
    st.datetimes(timezones=st.none() | st.just(UTC) | st.just(dt.timezone(dt.timedelta(hours=-3)))),
    st.times(),
    st.timedeltas(),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=5,
)


class Seen(NamedTuple):
    """All that is said about one row."""

    value: Any
    violations: tuple[tuple[str, ...], ...]
    text: str | None


def judged(kind: Any, batches: Sequence[Sequence[Any]], **checks: Any) -> list[Seen]:
    """Every row's verdict, by the shim's own conversion, messages and the worker's guard and judge."""
    contract = Contract.from_literal({"columns": [{"name": "v", "type": kind} | checks]})
    validator, schema, index = OutputValidator("o", contract), None, 0
    seen: list[Seen] = []
    for rows in batches:
        columns = aligned("o", columns_of_rows([{"v": value} for value in rows]), schema)
        batch = batch_of_columns(columns)
        schema = batch.schema
        read = read_schema(schema.serialize().to_pybytes())
        for message in messages(batch):
            came = read_batch(message, read)
            seen += _seen(validator.check(came, index), index, came.num_rows)
            index += came.num_rows
    return seen


def _seen(checked: Checked, first: int, count: int) -> Iterator[Seen]:
    bad = {row["_cf_output_row_index"]: row for row in (checked.bad.to_pylist() if checked.bad is not None else [])}
    good = iter(plain(checked.valid.column("v")))
    for row in range(first, first + count):
        if row in bad:
            faults = tuple(tuple(map(str, each.values())) for each in bad[row]["_cf_violations"])
            yield Seen(None, faults, bad[row]["v"])
        else:
            yield Seen(_counted(next(good)), (), None)


def _counted(value: Any) -> Any:
    """Dates inside lists as days, as `plain` has them outside."""
    if isinstance(value, list):
        return [_counted(each) for each in value]
    return (value - dt.date(1970, 1, 1)).days if type(value) is dt.date else value


def codes_of(seen: Seen) -> set[str]:
    return {fault[0] for fault in seen.violations}


def _alike(one: Seen, other: Seen) -> bool:
    return repr(one) == repr(other)  # NaN is itself here, and -0.0 is not 0.0


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_every_value_gets_the_reference_verdict_alone_and_among_all_others(kind: Any) -> None:
    spec = Spec(kind)
    alone = judged(kind, [[value] for value in VALUES])
    together = judged(kind, [VALUES])

    for value, seen, among in zip(VALUES, alone, together, strict=True):
        shown = "a hostile object" if isinstance(value, Hostile | HostileClass) else ascii(type(value))
        expected = verdict(_plain_value(value), spec)
        assert same((seen.value, codes_of(seen)), expected), (kind, shown, seen, expected)
        assert _alike(seen, among), (kind, shown, seen, among)


def _plain_value(value: Any) -> Any:
    """What the reference may be asked: it knows no hostile metaclasses, and a UUID is its bytes."""
    if isinstance(value, Hostile | HostileClass):
        return ...
    return value.bytes if isinstance(value, uuid.UUID) else value


@pytest.mark.parametrize("kind", KINDS, ids=str)
@settings(max_examples=6, deadline=None)
@given(rows=st.lists(values, min_size=1, max_size=8), seed=st.integers(0, 2**16))
def test_shuffling_splitting_and_joining_rows_changes_no_verdict(kind: Any, rows: list[Any], seed: int) -> None:
    _require_one_verdict(kind, rows, seed)


@pytest.mark.campaign
@pytest.mark.parametrize("kind", KINDS, ids=str)
@settings(max_examples=500, deadline=None)
@given(rows=st.lists(values, min_size=1, max_size=20), seed=st.integers(0, 2**16))
def test_no_verdict_changes_however_long_one_shuffles(kind: Any, rows: list[Any], seed: int) -> None:
    _require_one_verdict(kind, rows, seed)


def _require_one_verdict(kind: Any, rows: list[Any], seed: int) -> None:
    chance = random.Random(seed)
    order = list(range(len(rows)))
    chance.shuffle(order)
    border = chance.randint(0, len(rows))

    together = judged(kind, [rows])
    shuffled = judged(kind, [[rows[at] for at in order]])
    split = judged(kind, [part for part in (rows[:border], rows[border:]) if part])
    alone = [judged(kind, [[row]])[0] for row in rows]

    for at, seen in enumerate(together):
        assert _alike(seen, alone[at])
        assert _alike(seen, split[at])
        assert _alike(seen, shuffled[order.index(at)])


def test_checks_of_a_column_mind_the_value_alone() -> None:
    rows = [None, "", "n/a", 5, -1, "7", 2.0, True, Decimal("3"), "x", b"5"]
    checks = {"min": 0, "max": 6, "nullable": False, "null_values": ["n/a"]}

    together = judged("int64", [rows], **checks)

    assert together == [judged("int64", [[row]], **checks)[0] for row in rows]
    wrong = [sorted(codes_of(seen)) for seen in together]
    assert wrong == [
        ["null_not_allowed"], ["type_mismatch"], ["null_not_allowed"], [], ["out_of_range"], ["out_of_range"], ["type_mismatch"],
        ["type_mismatch"], ["type_mismatch"], ["type_mismatch"], ["type_mismatch"],
    ]  # fmt: skip


@pytest.mark.parametrize("lossy", [True, False])
def test_floats_in_a_decimal_column_are_judged_by_their_shortest_text_or_not_at_all(lossy: bool) -> None:
    kind, rows = (
        {"kind": "decimal", "precision": 18, "scale": 2},
        [0.1, 0.125, "0.10", 1e30, math.nan, 5, Decimal("0.10")],
    )
    for together in (rows, [row for row in rows if isinstance(row, float)]):
        for value, seen in zip(together, judged(kind, [together], lossy=lossy), strict=True):
            expected = verdict(value, Spec(kind, lossy=lossy))
            assert same((seen.value, codes_of(seen)), expected), (value, seen, expected)


def test_numpy_scalars_are_the_values_they_hold() -> None:
    numpy = pytest.importorskip("numpy")
    pairs: list[tuple[Any, Any]] = [
        (numpy.int64(5), 5),
        (numpy.uint64(2**64 - 1), 2**64 - 1),
        (numpy.int8(-1), -1),
        (numpy.float64(0.1), 0.1),
        (numpy.float32(0.5), 0.5),
        (numpy.float16(0.5), 0.5),
        (numpy.bool_(True), True),
        (numpy.str_("x"), "x"),
        (numpy.bytes_(b"x"), b"x"),
        (numpy.datetime64("2024-01-02"), dt.date(2024, 1, 2)),
        (numpy.datetime64("2024-01-02T03:04:05.000006"), dt.datetime(2024, 1, 2, 3, 4, 5, 6)),
        (numpy.datetime64("2024-01-02T03", "ns"), dt.datetime(2024, 1, 2, 3)),
        (numpy.datetime64("NaT"), None),
        (numpy.timedelta64(90, "s"), dt.timedelta(seconds=90)),
        (numpy.timedelta64("NaT"), None),
        (numpy.array([1, 2]), [1, 2]),
        (numpy.complex64(1), 1j),
        (numpy.datetime64(10**18, "s"), object),
    ]
    for kind in (*KINDS[:9], *KINDS[9:14:3]):
        among = judged(kind, [["x", 1.5, *(given_value for given_value, _ in pairs)]])[2:]
        for (given_value, means), seen in zip(pairs, among, strict=True):
            its = judged(kind, [[means]])[0]
            assert (seen.value, codes_of(seen)) == (its.value, codes_of(its)), (kind, given_value)


def _judged_array(kind: Any, array: pa.Array, **checks: Any) -> list[Seen]:
    """The verdicts on a column that came as Arrow."""
    contract = Contract.from_literal({"columns": [{"name": "v", "type": kind} | checks]})
    validator = OutputValidator("o", contract)
    ((columns,),) = [list(columns_of_table(pa.table({"v": array}), 100))]
    batch = batch_of_columns(aligned("o", columns, None))
    read = read_schema(batch.schema.serialize().to_pybytes())
    validator.begin(read)
    (came,) = [read_batch(message, read) for message in messages(batch)]
    return _seen_all(validator, came)


def _seen_all(validator: OutputValidator, came: pa.RecordBatch) -> list[Seen]:
    return list(_seen(validator.check(came, 0), 0, came.num_rows))


@pytest.mark.parametrize(
    "kind", [*KINDS[:12], {"kind": "decimal", "precision": 18, "scale": 2, "lossy": True}], ids=str
)
def test_single_precision_and_uuids_are_judged_alike_as_values_of_rows_and_as_arrow(kind: Any) -> None:
    numpy = pytest.importorskip("numpy")
    numbers = [0.1, 0.5, 1.0, -2.5e-7, 3e38, math.inf, -math.inf, math.nan, -0.0]
    halves = [65504.0 if number == 3e38 else number for number in numbers]  # the largest that float16 has
    kind = dict(kind) if isinstance(kind, dict) else kind
    checks = {"lossy": kind.pop("lossy")} if isinstance(kind, dict) and "lossy" in kind else {}
    columns = [
        ([numpy.float32(number) for number in numbers], pa.array(numbers, pa.float32())),
        ([numpy.float16(number) for number in halves], pa.array([numpy.float16(n) for n in halves], pa.float16())),
        (
            [uuid.UUID(int=5), uuid.UUID(int=2**127)],
            pa.array([uuid.UUID(int=5).bytes, uuid.UUID(int=2**127).bytes], pa.uuid()),
        ),
    ]
    for rows, array in columns:
        as_arrow = _judged_array(kind, array, **checks)
        among = judged(kind, [["x", 1.5, *rows]], **checks)[2:]
        for by_row, beside, by_arrow in zip(judged(kind, [rows], **checks), among, as_arrow, strict=True):
            assert _alike(by_row, by_arrow), (kind, by_row, by_arrow)
            assert _alike(beside, by_arrow), (kind, beside, by_arrow)


def test_the_counts_of_a_file_are_its_rows_verdicts_in_run_and_in_production(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.contracts = {"rows": {"columns": [{"name": "v", "type": "string"}]}}
    desk.policies = {"rows": {"max_pct": 100}}
    source = (
        "name, version, topics, dependencies = 'p', '1.0.0', ['t'], []\n"
        "outputs = {'rows': {'columns': [{'name': 'v', 'type': 'string'}], 'quarantine': {'max_pct': 100}}}\n"
        "class Sly:\n    def __repr__(self): raise SystemExit\n    __str__ = __repr__\n"
        "def parse(path):\n"
        "    for number in range(70_000):\n        yield {'v': number}\n"
        "    for value in ('text', {'a': 1}, object, {1}, 1j, ValueError('x'), '\\ud800x', Sly(), b'\\xff', None):\n"
        "        yield {'v': value}\n"
    )

    finished = desk.finished(source)
    accounting = finished.manifest.outputs["rows"]
    told = run_input(
        load_parser(desk.folder / "bundle" / "parser.py"),
        desk.input,
        params={},
        python=sys.executable,
        limit=None,
        rows_shown=5,
        on_rows=None,
    )

    assert (accounting.valid, accounting.quarantined) == (2, 70_008)
    assert [(each.code, each.rows) for each in accounting.violations] == [("type_mismatch", 70_008)]
    quarantined = desk.table("quarantine.rows.0.parquet")["v"].to_pylist()
    assert quarantined[:2] == ["0", "1"] and quarantined[69_999] == "69999"
    assert quarantined[70_000:] == [
        '{"a": 1}', "<type>", "<set>", "<complex>", "<ValueError>", "\\ud800x", "<parser.Sly>", "ff",
    ]  # fmt: skip
    assert pq.read_table(desk.staged("data.rows.0.parquet"))["v"].to_pylist() == ["text", None]
    assert (told.outputs["rows"].valid_count, told.outputs["rows"].bad_count, told.error) == (2, 70_008, None)
    assert dict(told.outputs["rows"].violations) == {("type_mismatch", "v"): 70_008}


def test_run_and_production_say_of_every_value_under_every_type_what_the_judge_says(tmp_path: Path) -> None:
    """The same rows through a real guest, real frames and both ways to run a parser; a column for each type."""
    rows = [value for value in VALUES if _can_be_sent(value)]
    names = [f"c{number}" for number in range(len(KINDS))]
    desk = Desk(tmp_path)
    outputs = {
        "rows": {
            "columns": [{"name": name, "type": kind} for name, kind in zip(names, KINDS, strict=True)],
            "quarantine": {"max_pct": 100},
        }
    }
    desk.contracts, desk.policies = outputs, {"rows": {"max_pct": 100}}
    desk.input.write_bytes(pickle.dumps(rows))
    source = (
        "import pickle\n"
        "name, version, topics, dependencies = 'p', '1.0.0', ['t'], []\n"
        f"outputs = {outputs!r}\n"
        "def parse(path):\n"
        "    for value in pickle.load(open(path, 'rb')):\n"
        f"        yield dict.fromkeys({names!r}, value)\n"
    )
    expected: list[set[tuple[str, str]]] = [set() for _ in rows]
    for name, kind in zip(names, KINDS, strict=True):
        for row, seen in enumerate(judged(kind, [rows])):
            expected[row] |= {(name, code) for code in codes_of(seen)}

    finished = desk.finished(source)
    bad_in_run: list[pa.RecordBatch] = []
    told = run_input(
        load_parser(desk.folder / "bundle" / "parser.py"),
        desk.input,
        params={},
        python=sys.executable,
        limit=None,
        rows_shown=0,
        on_rows=lambda output, batch, is_bad: bad_in_run.append(batch) if is_bad else None,
    )

    assert told.error is None
    assert finished.manifest.outputs["rows"].received == len(rows)
    for quarantined in (desk.table("quarantine.rows.0.parquet"), pa.Table.from_batches(bad_in_run)):
        found: list[set[tuple[str, str]]] = [set() for _ in rows]
        for row in quarantined.to_pylist():
            found[row["_cf_output_row_index"]] = {(each["column"], each["code"]) for each in row["_cf_violations"]}
        assert found == expected


COLUMNS = [{"name": "a", "type": "int64"}, {"name": "b", "type": "string", "nullable": False}]


def _columns_judged(batches: Sequence[Sequence[dict[str, Any]]], mode: str) -> Any:
    """Counts of rows whose keys differ, or the code of the fault for which the output fails."""
    validator, schema, index = OutputValidator("o", Contract.from_literal({"columns": COLUMNS, "mode": mode})), None, 0
    try:
        for rows in batches:
            batch = batch_of_columns(aligned("o", columns_of_rows(rows), schema))
            schema = batch.schema
            validator.check(batch, index)
            index += len(rows)
        counts = validator.finish()
    except OutputFailed as failed:
        return failed.violation.value
    return counts.valid, dict(counts.violations), dict(counts.extra_columns)


@pytest.mark.parametrize("mode", ["strict", "allow_missing_optional", "allow_extra"])
@pytest.mark.parametrize(
    "rows",
    [
        [{"a": 1}, {"a": 2}, {"a": 3, "b": "x"}],
        [{"b": "x"}, {"b": "y"}, {"a": 3, "b": "z"}],
        [{"a": 1, "b": "x"}, {"b": "y"}, {"a": 3}],
        [{"a": 1, "b": "x"}, {"a": 2, "b": "y"}, {"a": 3, "b": "z", "c": 1}],
        [{"a": 1}, {"a": 2}, {"a": 3}],
        [{"b": "x"}, {"b": "y"}, {"b": "z"}],
    ],
    ids=str,
)
def test_which_columns_an_output_has_is_said_of_the_file_and_not_of_a_batch(rows: list[Any], mode: str) -> None:
    together = _columns_judged([rows], mode)

    assert together == _columns_judged([[row] for row in rows], mode)
    assert together == _columns_judged([rows[:2], rows[2:]], mode)


def _can_be_sent(value: Any) -> bool:
    """Whether a pickle carries it to a guest that does not know this module."""
    try:
        return b"tests." not in pickle.dumps(value)
    except (TypeError, AttributeError, RuntimeError, pickle.PicklingError):
        return False


def test_frames_of_other_libraries_are_judged_by_their_own_types() -> None:
    table = pa.table({"v": pa.array([5, 6], pa.int16())})
    contract = Contract.from_literal({"columns": [{"name": "v", "type": "string"}]})
    checked = OutputValidator("o", contract).check(table.to_batches()[0], 0)

    assert checked.bad is not None and checked.bad["v"].to_pylist() == ["5", "6"]
