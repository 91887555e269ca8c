"""The premade EVTX parser: its own tests, every type of value, checksums, and damage at every byte.

The files are written by `evtx_files`, by the rules of the format.
"""

from __future__ import annotations

import json
import struct

import evtx_parser
import pytest
from evtx_binxml import BadBinXml, time_of, value_of
from hypothesis import given
from hypothesis import strategies as st

from casparian.shipped import bundled
from casparian_app.parsers import run_bundle_tests
from casparian_sentinel.registry.gatekeeper import inspect_source
from tests.parsers.bank_runs import Row, run, table
from tests.parsers.evtx_files import ChunkWriter, Reference, Slot, Tree, evtx_file, number, text
from tests.steps import every

LOGON = Tree("EventData", {}, (
    Tree("Data", {"Name": "User"}, (Slot(0),)),
    Tree("Data", {"Name": "LogonType"}, (Slot(1, 0x08),)),
    Tree("Data", {"Name": "Flags"}, (Slot(2, 0x15),)),
))  # fmt: skip
STRINGS = Tree("EventData", {}, (Tree("Data", {}, (Slot(0, 0x81),)), Tree("Binary", {}, (Slot(1, 0x0E),))))
USER_DATA = Tree("UserData", {}, (
    Tree("LogCleared", {"xmlns": "urn:x"}, (
        Tree("By", {}, ("domain\\", Slot(0))),
        Tree("Client", {"pid": Slot(1, 0x08)}),
        Tree("Client", {}, ("second",)),
    )),
))  # fmt: skip
TICKS = 133_632_000_001_234_567
SIZE = 65536


def chunk(first_id: int = 1, count: int = 3) -> bytes:
    writer = ChunkWriter(first_id)
    for place in range(count):
        values = [text(f"user-{first_id + place}"), number(0x08, "<I", place), number(0x15, "<Q", 255)]
        writer.record(LOGON, TICKS + place, values)
    return writer.finished()


TWO = evtx_file(chunk(1), chunk(4), next_id=7)


def users(rows: list[Row]) -> list[str]:
    return [json.loads(row["data"])["User"] for row in rows]


def data_row(content: Tree, values: list[tuple[int, bytes]]) -> object:
    writer = ChunkWriter()
    writer.record(content, TICKS, values)
    (row,) = run(evtx_parser, evtx_file(writer.finished())).of("evtx_events")
    return row["data_element"], json.loads(row["data"])


def test_the_bundle_passes_its_own_tests_and_the_gatekeeper() -> None:
    bundle = bundled("parsers/evtx")
    assert [one.differences for one in run_bundle_tests(bundle)] == [(), ()]
    for source in bundle.glob("*.py"):
        assert inspect_source(source.read_text(encoding="utf-8"), source.name) == ()


def test_the_columns_of_an_event() -> None:
    told = run(evtx_parser, TWO)

    assert (told.rejected, told.bad, told.skips) == ([], [], {})
    row = dict(table(evtx_parser, told, "evtx_events")[4])
    assert str(row.pop("time")) == str(row.pop("written_at")) == "2024-06-18 16:00:00.123456800Z"
    assert row == {
        "record_id": 5, "channel": "Security", "provider": "Casparian-Test", "event_source": None,
        "provider_guid": "{54849625-5478-4994-A5BA-3E3B0328C30D}", "event_id": 4624, "qualifiers": 0, "version": 1, "level": 4,
        "task": 12544, "opcode": 0, "keywords": "0x8020000000000000", "computer": "host-1.example", "event_record_id": 5,
        "process_id": 4711, "thread_id": 12, "activity_id": None, "related_activity_id": None, "user_id": "S-1-5-21-1-2-500",
        "is_verified": True, "data_element": "EventData",
        "data": '{"User": "user-5", "LogonType": "1", "Flags": "0xff"}',
    }  # fmt: skip


def test_the_content_of_an_event_is_json() -> None:
    strings = [(0x81, "one\0two\0".encode("utf-16-le")), (0x0E, b"\1\xff")]

    assert data_row(LOGON, [text("a<&>\u00e9"), (0x00, b""), (0x00, b"")]) == (
        "EventData",
        {"User": "a<&>\u00e9", "LogonType": None, "Flags": None},
    )
    assert data_row(STRINGS, strings) == ("EventData", {"Data": [["one", "two"]], "Binary": "01FF"})
    assert data_row(USER_DATA, [text("eve"), number(0x08, "<I", 7)]) == (
        "UserData",
        {"LogCleared": {"By": "domain\\eve", "Client": [{"@pid": "7"}, "second"]}},
    )
    written = Tree("EventData", {}, (Tree("A", {}, ("x", Reference(0xE4), Reference("lt"))),))
    assert data_row(written, []) == ("EventData", {"A": "xä<"})


@pytest.mark.parametrize("to", [0xD83D, "auml"])
def test_a_reference_that_is_no_character_rejects_its_record(to: int | str) -> None:
    writer = ChunkWriter()
    writer.record(Tree("EventData", {}, (Tree("A", {}, ("x", Reference(to))),)), TICKS, [])
    told = run(evtx_parser, evtx_file(writer.finished()))
    assert (told.of("evtx_events"), len(told.rejected)) == ([], 1)


@pytest.mark.parametrize(
    ("kind", "data", "value"),
    [
        (0x00, b"", None), (0x01, "a\u00e9\0".encode("utf-16-le"), "a\u00e9"), (0x02, b"a\xe9\0", "a\u00e9"),
        (0x03, b"\xff", "-1"), (0x04, b"\xff", "255"), (0x05, b"\xfe\xff", "-2"), (0x07, b"\xff\xff\xff\xff", "-1"),
        (0x09, b"\xff" * 8, "-1"), (0x0A, b"\xff" * 8, "18446744073709551615"), (0x0C, struct.pack("<d", 0.1), "0.1"),
        (0x0D, b"\1\0\0\0", "true"), (0x0D, b"\0\0\0\0", "false"), (0x0E, b"", ""), (0x10, b"\x10\0\0\0", "0x10"),
        (0x11, bytes(8), "1601-01-01T00:00:00.0000000Z"), (0x14, b"\xff\0\0\0", "0xff"),
        (0x12, struct.pack("<8H", 2024, 2, 4, 29, 23, 59, 58, 7), "2024-02-29T23:59:58.007Z"),
        (0x13, b"\1\1\0\0\0\0\0\5\x12\0\0\0", "S-1-5-18"), (0x86, b"\1\0\2\0", ["1", "2"]), (0x81, b"", []),
    ],
)  # fmt: skip
def test_values_are_texts_as_windows_shows_them(kind: int, data: bytes, value: object) -> None:
    assert value_of(kind, data) == value


@pytest.mark.parametrize(
    ("kind", "data"), [(0x08, b"1"), (0x13, b"\1\2"), (0x12, bytes(16)), (0x22, b"x"), (0x86, b"x")]
)
def test_a_value_that_is_none_of_its_type_is_refused(kind: int, data: bytes) -> None:
    with pytest.raises(BadBinXml):
        value_of(kind, data)


def test_times_are_exact_to_100_nanoseconds() -> None:
    assert time_of(TICKS) == "2024-06-18T16:00:00.1234567Z"
    with pytest.raises(BadBinXml, match="no FILETIME"):
        time_of(1 << 63)


def test_a_chunk_with_a_wrong_checksum_costs_only_its_records() -> None:
    damaged = bytearray(TWO)
    damaged[4096 + 900] ^= 1

    checked, ignored = run(evtx_parser, bytes(damaged)), run(evtx_parser, bytes(damaged), checksums="ignore")

    assert users(checked.of("evtx_events")) == ["user-4", "user-5", "user-6"]
    assert checked.reasons == [
        "is a chunk with another checksum of its records than it says; checksums=ignore reads its records all the same"
    ]
    assert [row["is_verified"] for row in ignored.of("evtx_events")][-3:] == [True, True, True]
    assert not any(row["is_verified"] for row in ignored.of("evtx_events") if row["record_id"] <= 3)


def test_a_chunk_that_windows_was_writing_to_is_read_and_marked() -> None:
    data = bytearray(TWO)
    data[4096 + 120] = 1  # still in use: its checksums are not up to date
    data[4096 + 52] ^= 1

    told = run(evtx_parser, bytes(data))

    assert told.rejected == []
    assert [row["is_verified"] for row in told.of("evtx_events")] == [False] * 3 + [True] * 3


def test_older_records_behind_the_last_one_of_a_chunk_in_use_are_not_read() -> None:
    data = bytearray(TWO)
    data[4096 + 120] = 1
    third = data.index(struct.pack("<Q", 3) + struct.pack("<Q", TICKS + 2), 4096)
    data[third : third + 8] = struct.pack("<Q", 1)

    told = run(evtx_parser, bytes(data))

    assert users(told.of("evtx_events")) == ["user-1", "user-2", "user-4", "user-5", "user-6"]
    assert told.reasons == ["is older than the one before it: 1, so the rest of its chunk is not read"]


def test_what_is_no_evtx_file_is_rejected() -> None:
    told = run(evtx_parser, b"no log" * 2000)

    assert told.reasons == ["is no header of an EVTX file", "is no chunk of an EVTX file"]
    with pytest.raises(ValueError, match="Give check or ignore"):
        run(evtx_parser, TWO, checksums="some")


# --- every byte ---


ONE_CHUNK_END = 4096 + int.from_bytes(TWO[4096 + 48 : 4096 + 52], "little")


@every(41)
def test_one_damaged_byte_costs_at_most_its_chunk(step: int) -> None:
    clean = run(evtx_parser, TWO).of("evtx_events")
    for at in [*range(0, 4096, 401), *range(4096, ONE_CHUNK_END, step), ONE_CHUNK_END + 100]:
        damaged = bytearray(TWO)
        damaged[at] ^= 0x55
        told = run(evtx_parser, bytes(damaged), checks=False)
        rows = [{name: row[name] for name in row if name != "__cf_row_id"} for row in told.of("evtx_events")]
        same = [{name: row[name] for name in row if name != "__cf_row_id"} for row in clean]
        assert rows in (same, same[3:]), at
        assert rows == same or told.rejected, at


@every(41)
def test_a_damaged_byte_never_fails_the_file_even_if_checksums_are_ignored(step: int) -> None:
    for at in range(4096 + 512, ONE_CHUNK_END, step):
        damaged = bytearray(TWO)
        damaged[at] ^= 0xA5
        told = run(evtx_parser, bytes(damaged), checksums="ignore", checks=False)
        assert users(told.of("evtx_events")[-3:]) == ["user-4", "user-5", "user-6"], at


@every(41)
def test_a_file_cut_at_any_byte_keeps_the_records_before_the_cut(step: int) -> None:
    starts = [at for at in range(4096 + 512, len(TWO)) if TWO[at : at + 4] == b"**\0\0"]
    ends = [at + int.from_bytes(TWO[at + 4 : at + 8], "little") for at in starts]
    second = 4096 + SIZE
    for cut in [
        *range(0, 4700, 97),
        *range(4608, ONE_CHUNK_END, step),
        *range(second - 40, second + 700, 37),
        *ends[3:],
    ]:
        told = run(evtx_parser, TWO[:cut], checks=False)
        assert [row["record_id"] for row in told.of("evtx_events")] == [
            n for n, end in enumerate(ends, 1) if end <= cut
        ], cut
        assert told.rejected or not cut, cut


@given(st.binary(max_size=600), st.integers(0, 600))
def test_any_bytes_in_a_chunk_are_accounted_for(data: bytes, at: int) -> None:
    damaged = bytearray(TWO[: 4096 + SIZE])
    place = 4096 + 512 + at
    damaged[place : place + len(data)] = data
    run(evtx_parser, bytes(damaged[: 4096 + SIZE]), checks=False, checksums="ignore")
