"""What becomes of a FIX log, line by line."""

from pathlib import Path

import pytest
from fix_lanes import Lanes
from fix_messages import DATA_FIELD_OF, byte_sum, find_messages
from fix_parser import BadParameter
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.contract import Contract
from casparian_sentinel.registry.bundle_tests import Observed, bundle_tests, differences
from casparian_sentinel.registry.gatekeeper import inspect_source
from casparian_worker import FIX_DATA
from casparian_worker.validation.validator import OutputValidator
from tests.parsers.fix_runs import Recorded, message, read, verdicts

BUNDLE = Path(__file__).parents[2] / "parsers" / "fix"
ORDER = ("D", "11=A1", "55=KO", "54=1", "38=100", "60=20240304-10:20:30.125")


def log(tmp_path: Path, *lines: bytes, end: bytes = b"\n", **params: str) -> Recorded:
    path = tmp_path / "some.fix"
    path.write_bytes(b"".join(line + end for line in lines))
    return read(path, **params)


def reasons(recorded: Recorded) -> list[tuple[str, str, int]]:
    return [(output, reason, line) for output, _, reason, line, _ in recorded.rejected]


def codes(recorded: Recorded, output: str = "fix_orders") -> list[tuple[str, str]]:
    return sorted((code.value, column) for code, column in verdicts(recorded)[output].violations)


@pytest.mark.parametrize("separator", ["|", "\x01", "^", ";", "^A", "<SOH>"])
@pytest.mark.parametrize("begin", ["FIX.4.0", "FIX.4.2", "FIXT.1.1", "FIX.5.0SP2"])
def test_every_separator_and_version_is_verified_and_read(tmp_path: Path, separator: str, begin: str) -> None:
    line = message(*ORDER, separator=separator, begin=begin)

    recorded = log(tmp_path, *[line] * 12)

    assert recorded.rejected == []
    assert [row["cl_ord_id"] for row in recorded.of("fix_orders")] == ["A1"] * 12
    assert recorded.of("fix_orders")[11]["begin_string"] == begin
    assert verdicts(recorded)["fix_orders"].valid == 12


def test_one_changed_byte_is_told_with_both_numbers(tmp_path: Path) -> None:
    line = message(*ORDER).replace(b"38=100", b"38=1000")

    recorded = log(tmp_path, *[message(*ORDER)] * 20, line)

    (output, row, reason, number, raw) = recorded.rejected[0]
    assert (output, number, raw) == ("fix_orders", 21, line.decode())
    assert reason.startswith("BodyLength (9) says")
    assert "CheckSum (10) says" in reason
    assert row["cl_ord_id"] == "A1"
    assert row["order_qty"] == "1000"


@pytest.mark.parametrize(("mode", "valid"), [("verify", 0), ("dummies", 2), ("ignore", 3)])
def test_made_up_trailers_are_read_when_the_parameter_says_so(tmp_path: Path, mode: str, valid: int) -> None:
    dummy = b"8=FIX.4.4|9=000|35=0|49=A|56=B|34=1|52=20240304-10:20:30|10=000"
    wrong = dummy.replace(b"10=000", b"10=001")

    recorded = log(tmp_path, dummy, dummy + b"|", wrong, checksums=mode)

    assert len(recorded.of("fix_session")) == valid
    assert len(recorded.rejected) == 3 - valid


def test_a_prefix_a_json_tail_and_two_messages_on_a_line(tmp_path: Path) -> None:
    first, second = message("0"), message("1", "112=X")
    line = b'{"msg":"' + first + b" " + second + b'"}'

    recorded = log(tmp_path, line)

    assert [(row["event"], row["message_index"]) for row in recorded.of("fix_session")] == [
        ("heartbeat", 0),
        ("test_request", 1),
    ]
    assert "".join(row["_cf_raw"] for row in recorded.of("fix_session")) == line.decode()
    assert [row["raw_tags"] for row in recorded.of("fix_session")] == [first.decode(), second.decode()]


def test_a_data_field_may_hold_separators_and_even_a_message(tmp_path: Path) -> None:
    inner = f"a|b=c|10=123|{message('0').decode()}"
    line = message("B", "148=News", f"95={len(inner)}", f"96={inner}", separator="\x01")

    recorded = log(tmp_path, line)

    assert recorded.rejected == []
    assert recorded.of("fix_session") == []
    assert recorded.of("fix_other")[0]["raw_tags"] == line.decode()


def test_a_wrong_data_length_spoils_that_message_only(tmp_path: Path) -> None:
    recorded = log(tmp_path, message("B", "95=99", "96=abc") + b" " + message("0"))

    assert reasons(recorded) == [("fix_other", "data tag 96 does not end after the 99 bytes given", 1)]
    assert len(recorded.of("fix_session")) == 1


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"nothing like it, a=b", "no FIX message on this line"),
        (b"\0\0\0", "no FIX message on this line"),
        (b"8=FIX.4.49=535=D10=000", "separators stripped?"),
        (message(*ORDER)[:60], "the line ends before a CheckSum (10)"),
        (b"8=FIX.4.4|9=5|35=0|", "the line ends before a CheckSum (10)"),
        (b"8=FIX.4.4|9=5|49=A|35=0|10=000|", "the third field is not a MsgType (35)"),
        (b"8=FIX.4.4|9=5|35=0|foo|10=000|", "field 4 is not tag=value"),
        (b"8=FIX.4.4|9=5|35=0|10=0x0|", "CheckSum (10) is not three digits"),
        (b"8=FIX.4.4|9=5|35=0|34=1|9=5|10=000|", "a second tag 9"),
    ],
)
def test_damage_is_rejected_with_its_text_and_never_half_read(tmp_path: Path, line: bytes, reason: str) -> None:
    recorded = log(tmp_path, line, message("0"), checksums="ignore")

    (output, row, told, number, raw) = recorded.rejected[0]
    assert (output, row, number, raw) == ("fix_other", {}, 1, line.decode())
    assert reason in told
    assert recorded.of("fix_orders") == []
    assert len(recorded.of("fix_session")) == 1


def test_a_truncated_message_does_not_swallow_the_next_one_on_its_line(tmp_path: Path) -> None:
    recorded = log(tmp_path, message(*ORDER)[:50] + message("0"))

    assert [output for output, _, _ in reasons(recorded)] == ["fix_other"]
    assert [row["event"] for row in recorded.of("fix_session")] == ["heartbeat"]


def test_a_column_tag_given_twice_is_rejected_rather_than_chosen_from(tmp_path: Path) -> None:
    recorded = log(tmp_path, message(*ORDER, "11=A2"))

    assert reasons(recorded) == [("fix_orders", "given more than once: cl_ord_id (11)", 1)]


def test_repeating_groups_stay_in_raw_tags(tmp_path: Path) -> None:
    recorded = log(tmp_path, *[message(*ORDER, "453=2", "448=X", "447=D", "448=Y", "447=D")] * 20)

    assert recorded.rejected == []
    assert all("|448=X|447=D|448=Y|" in row["raw_tags"] for row in recorded.of("fix_orders"))


def test_crlf_no_last_newline_comments_and_blank_lines_are_all_accounted_for(tmp_path: Path) -> None:
    recorded = log(tmp_path, b"# a comment with 8=FIX.4.4|9=", b"  ", message("0"), b"", end=b"\r\n")

    assert recorded.skips == {"comment": 1, "blank line": 2}
    assert [row["__cf_row_id"] for row in recorded.of("fix_session")] == [3]
    assert recorded.accounted_lines == 4


def test_an_empty_file_gives_nothing(tmp_path: Path) -> None:
    recorded = log(tmp_path)

    assert (recorded.rows, recorded.rejected, recorded.skips) == ({}, [], {})


def test_a_line_too_long_to_hold_is_one_rejected_row_and_the_next_lines_keep_their_numbers(tmp_path: Path) -> None:
    monster = b"x" * (19 << 20)

    recorded = log(tmp_path, message("0"), monster, message("0"))

    ((output, row, reason, number, raw),) = recorded.rejected
    assert (output, row, number) == ("fix_other", {}, 2)
    assert reason == "is longer than 8,388,608 bytes"
    assert raw == monster[: 16 << 10].decode() + f"… ({len(monster) + 1 - (16 << 10):,} more bytes)"
    assert [row["__cf_row_id"] for row in recorded.of("fix_session")] == [1, 3]
    assert recorded.accounting is not None and recorded.accounting.bytes_rejected == len(monster) + 1


def test_undecodable_bytes_are_written_out_and_lose_nothing(tmp_path: Path) -> None:
    line = message(*ORDER, "58=caf~").replace(b"~", b"\xe9")

    assert log(tmp_path, line, checksums="ignore").of("fix_orders")[0]["text"] == "caf\\xe9"
    assert log(tmp_path, line, checksums="ignore", encoding="latin-1").of("fix_orders")[0]["text"] == "café"


@pytest.mark.parametrize(
    ("sent", "iso"),
    [
        ("20240304-10:20:30", "2024-03-04T10:20:30Z"),
        ("20240304-10:20:30.125000000", "2024-03-04T10:20:30.125000000Z"),
        ("2024-03-04 10:20:30", "2024-03-04 10:20:30"),
    ],
)
def test_fix_times_become_iso_and_other_times_stay_as_sent(tmp_path: Path, sent: str, iso: str) -> None:
    recorded = log(tmp_path, message(*ORDER[:-1], f"60={sent}"))

    assert recorded.of("fix_orders")[0]["transact_time"] == iso


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("44=12,5", ("type_mismatch", "price")),
        ("44=1.12345678901", ("precision_exceeded", "price")),
        ("54=Z", ("value_not_allowed", "side")),
        ("60=20240304-10:20:30.123456789", ("precision_exceeded", "transact_time")),
        ("60=20240230-10:20:30", ("format_mismatch", "transact_time")),
        ("11=", ("null_not_allowed", "cl_ord_id")),
    ],
)
def test_the_contract_finds_what_the_parser_leaves_as_it_stands(
    tmp_path: Path, field: str, expected: tuple[str, str]
) -> None:
    fields = [one for one in (*ORDER, "44=1.5") if one[:3] != field[:3]]

    assert codes(log(tmp_path, message(*fields, field))) == [expected]


def test_local_times_get_the_offset_of_their_day_and_the_ambiguous_hour_gets_none(tmp_path: Path) -> None:
    summer, winter, twice = "20240704-10:00:00.5", "20240104-10:00:00", "20241103-01:30:00"
    lines = [message(*ORDER[:-1], f"60={time}") for time in (summer, winter, twice)]

    recorded = log(tmp_path, *lines, tz="America/New_York")

    assert [row["transact_time"] for row in recorded.of("fix_orders")] == [
        "2024-07-04T10:00:00.5-04:00",
        "2024-01-04T10:00:00-05:00",
        "2024-11-03T01:30:00",
    ]
    assert codes(recorded) == [("timezone_required", "transact_time")]


@pytest.mark.parametrize(("name", "value"), [("tz", "Mars/Olympus"), ("checksums", "maybe"), ("encoding", "rot13")])
def test_a_parameter_nobody_knows_is_told_before_a_line_is_read(tmp_path: Path, name: str, value: str) -> None:
    path = tmp_path / "some.fix"
    path.write_bytes(message("0"))

    with pytest.raises(BadParameter, match=name):
        read(path, **{name: value})


def test_unknown_message_types_are_kept(tmp_path: Path) -> None:
    recorded = log(tmp_path, message("U99", "5000=own"), message("AE", "571=T1"))

    assert [row["msg_type"] for row in recorded.of("fix_other")] == ["U99", "AE"]


VALUES = st.text(st.characters(codec="utf-8", exclude_characters="|\n\r\x01"), min_size=1, max_size=12)


@given(st.lists(VALUES, max_size=5), st.binary(max_size=20), st.binary(max_size=20), st.integers(0, 3))
def test_a_lane_gives_the_same_as_careful_framing_or_nothing(
    texts: list[str], before: bytes, after: bytes, cut: int
) -> None:
    plain = message("D", "11=A1", *(f"{5000 + place}={text}" for place, text in enumerate(texts)))
    (found,) = [one for one in find_messages(plain) if one.text == plain]
    line = (before if cut == 1 else b"") + plain[: len(plain) - (cut == 2) * 3] + (after if cut == 3 else b"")
    lanes = Lanes()
    lanes.learn(found, None, None)  # type: ignore[arg-type]  # only its match is asked

    for lane in lanes.by_shape.get((b"|", line.count(b"|")), []):
        match = lane.match(line)
        if match is not None:
            framed = list(find_messages(line))
            assert [(one.text, one.values) for one in framed] == [(line, list(match.groups()))]


@given(st.binary(max_size=2_000))
def test_byte_sum_is_the_sum_of_the_bytes(data: bytes) -> None:
    assert byte_sum(data) == sum(data)


@given(st.lists(st.sampled_from([b"8=FIX.4.4|9=5|35=0|", b"8=FIX", b"10=000|", b"95=3|96=", b"|", b"x", b"=", b"\0"])))
def test_the_parts_of_a_line_put_together_are_the_line(pieces: list[bytes]) -> None:
    line = b"".join(pieces)

    found = list(find_messages(line))

    assert not found or b"".join(one.raw for one in found) == line


def test_the_bundle_passes_its_own_tests_and_the_gatekeeper() -> None:
    cases = bundle_tests(BUNDLE)
    assert [case.case for case in cases] == ["damage", "lifecycle"]
    for case in cases:
        recorded = read(case.input_path)
        counts = verdicts(recorded)
        rows = {output: _valid_rows(recorded, output) for output in counts}
        quarantined = {output: count.quarantined for output, count in counts.items()}
        assert differences(case, Observed(rows, quarantined, sum(recorded.skips.values()))) == ()
    for source in BUNDLE.glob("*.py"):
        assert inspect_source(source.read_text(encoding="utf-8"), source.name) == ()


def _valid_rows(recorded: Recorded, output: str) -> list[dict[str, object]]:
    import fix_parser

    validator = OutputValidator(output, Contract.from_literal(fix_parser.outputs[output]))
    batches = [batch for table in recorded.tables.get(output, []) for batch in table.to_batches()]
    return [row for batch in batches for row in validator.check(batch, 0).valid.to_pylist()]


def test_the_detector_knows_the_same_data_fields() -> None:
    assert {b"%d" % length: b"%d" % data for length, data in FIX_DATA.items()} == DATA_FIELD_OF
