"""The projector as a process: tails a growing log, answers, may be killed at any time, ends with its sentinel."""

from __future__ import annotations

import random
import socket
import time
from contextlib import ExitStack
from pathlib import Path

import msgpack
import psutil
import pyarrow as pa
import pytest
import zmq

from casparian_protocol.home import Home
from casparian_sentinel.projection.projector import Projector
from tests.sentinel.projection.lives import History, new_home, open_writer, write_history
from tests.sentinel.projection.processes import Asker, eventually, running
from tests.sentinel.projection.test_projection import rebuilt


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path)


def test_it_catches_up_says_so_and_answers(home: Home) -> None:
    end = write_history(home)
    with running(home) as projector, Asker(home) as asker:
        projector.tell(end, 0)
        seq = projector.hear("ready")["seq"]
        assert asker.rows("select max(seq) from cf_audit", at_least_seq=seq) == [[seq]]
        assert projector.leave() == 0


def test_a_question_is_told_that_it_was_taken_before_a_batch_is_applied(home: Home) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs, zmq.Context() as context, context.socket(zmq.ROUTER) as bus, context.socket(zmq.DEALER) as asker:
        bus.set(zmq.ROUTER_MANDATORY, 1)
        bus.bind("inproc://tables")
        asker.connect("inproc://tables")
        projector = Projector(home, theirs, 500, 100)
        try:
            asker.send_multipart([b"query", msgpack.packb({"id": "1", "sql": "select 1", "at_least_seq": 1_000_000})])
            assert bus.poll(10_000)
            projector._take_questions(bus)
            assert asker.poll(10_000)
            assert asker.recv_multipart() == [b"working", msgpack.packb({"id": "1"})]
        finally:
            projector.close()


def test_it_never_reads_past_the_watermark(home: Home) -> None:
    history, writer = History(home, 1), open_writer(home)
    writer.append(history.opening())
    first = writer.end
    writer.append(history.jobs(50))
    with running(home) as projector, Asker(home) as asker:
        projector.tell(first.position, first.seq)
        assert projector.hear("ready")["seq"] == first.seq
        assert asker.rows("select count(*) from cf_processing_queue") == [[0]]
        asker.ask("select count(distinct id) from cf_processing_queue", at_least_seq=writer.end.seq)
        projector.tell(writer.end.position, writer.end.seq)
        kind, head, body = asker.answer()
        assert (kind, head["seq"], msgpack.unpackb(body)) == ("rows", writer.end.seq, [[50]])
        assert projector.hear("applied", writer.end.seq)
    writer.close(seal=False)


def test_killed_at_random_moments_while_the_log_grows_it_counts_every_event_once(home: Home) -> None:
    history, writer, dice = History(home, 7), open_writer(home, segment_bytes=50_000), random.Random(7)
    writer.append(history.opening())
    for _ in range(5):
        with running(home, batch_events=dice.choice([1, 20, 200])) as projector:
            until = time.monotonic() + 0.3 + dice.random() * 0.7
            while time.monotonic() < until:
                writer.append(history.jobs(dice.randrange(1, 4)))
                projector.tell(writer.end.position, writer.end.seq)
                time.sleep(0.02)  # the pace of the log, not a wait for anything
            projector.kill()
    writer.append(history.closing())
    writer.close(seal=False)
    end = writer.durable
    with running(home) as projector:
        projector.tell(end.position, end.seq)
        projector.hear("ready")
        assert projector.leave() == 0
    assert _as_it_is(home) == rebuilt(home, end.position)


def _as_it_is(home: Home) -> object:
    from casparian_sentinel.projection.projector import open_projection
    from tests.sentinel.projection.test_projection import tables

    with open_projection(home) as projection:
        return tables(projection)


@pytest.mark.parametrize(
    ("frames", "problem"),
    [
        ([b"nonsense"], "Not a question"),
        ([b"query", b"\xc1"], "Not a question"),
        ([b"query", b"\xc1", b"more"], "Not a question"),
        ([b"other", msgpack.packb({"id": "1"})], "Not a question"),
        ([b"query", msgpack.packb({"sql": "select 1"})], "id"),
        ([b"query", msgpack.packb({"id": 5, "sql": "select 1"})], "id"),
        ([b"query", msgpack.packb({"id": "1", "sql": "select 1", "format": "pickle"})], "format"),
        ([b"query", msgpack.packb({"id": "1", "sql": "select 1", "at_least_seq": -1})], "at_least_seq"),
        ([b"query", msgpack.packb({"id": "1", "sql": "x" * 70_000})], "Not a question"),
        ([b"query", msgpack.packb({"id": "1", "sql": "selec"})], "yntax"),
        ([b"query", msgpack.packb({"id": "1", "sql": "select nothing_like_it"})], "nothing_like_it"),
        ([b"query", msgpack.packb({"id": "1", "sql": "select ?", "params": []})], ""),
        ([b"query", msgpack.packb({"id": "1", "sql": "select ?", "params": [{"a": [1, {"b": 2}]}, 2]})], ""),
        ([b"query", msgpack.packb({"id": "1", "sql": ""})], "one SELECT"),
        ([b"query", msgpack.packb({"id": "1", "sql": "select 1; select 2"})], "one SELECT"),
        ([b"query", msgpack.packb({"id": "1", "sql": "delete from cf_audit"})], "one SELECT"),
        ([b"query", msgpack.packb({"id": "1", "sql": "set threads = 9"})], "one SELECT"),
        ([b"query", msgpack.packb({"id": "1", "sql": "with a as (delete from cf_audit returning *) from a"})], ""),
        ([b"query", msgpack.packb({"id": "1", "sql": "from read_text('/etc/passwd')"})], "disabled"),
        ([b"query", msgpack.packb({"id": "1", "sql": "copy cf_audit to '/x'"})], "one SELECT"),
    ],
)
def test_what_is_no_question_is_told_and_does_no_harm(
    served: tuple[Asker, int], frames: list[bytes], problem: str
) -> None:
    asker, events = served
    asker.send(*frames)
    assert problem in asker.problem()
    assert asker.rows("select count(*) from cf_audit where type <> ''")[0][0] == events


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> object:
    home = new_home(tmp_path_factory.mktemp("served"))
    end = write_history(home)
    with running(home) as projector, Asker(home) as asker:
        projector.tell(end, 0)
        projector.hear("ready")
        yield asker, asker.rows("select count(*) from cf_audit")[0][0]


def test_values_of_every_kind_arrive(served: tuple[Asker, int]) -> None:
    asker, _ = served
    sql = (
        "select 1 as a, 2 as a, 1.50::decimal(9,2) as d, 12::hugeint as h, 170141183460469231731687303715884105727::hugeint"
        " as hh, timestamp '1970-01-01 00:00:01' as t, timestamptz '1970-01-01 00:00:01+00' as z, date '2024-01-31' as dd,"
        " null as n, [1, 2] as l, 'é' as e, true as b, timestamp_ns '1970-01-01 00:00:01.123456789' as ns"
    )
    row = asker.rows(sql)[0]
    assert row[:7] == [1, 2, "1.50", 12, "170141183460469231731687303715884105727", 1_000_000, 1_000_000]
    assert row[7:] == ["2024-01-31", None, [1, 2], "é", True, "1970-01-01T00:00:01.123456789"]
    table = asker.table(sql)
    assert table.column_names[:2] == ["a", "a"]
    assert table.column(5).type == pa.timestamp("us")


def test_rows_are_cut_at_the_limit_and_it_is_said(served: tuple[Asker, int]) -> None:
    asker, _ = served
    asker.ask("from range(10)", limit_rows=3)
    _kind, head, body = asker.answer()
    assert (head["is_cut"], msgpack.unpackb(body)) == (True, [[0], [1], [2]])
    assert asker.rows("from range(10) where false") == []


def test_a_huge_answer_is_refused_and_a_large_one_arrives(served: tuple[Asker, int]) -> None:
    asker, _ = served
    asker.ask("select i, repeat('x', 100) from range(10000000) r(i)", format="arrow")
    assert "more than" in asker.problem()
    assert asker.table("select i from range(2000000) r(i)").num_rows == 2_000_000


def test_an_answer_beyond_a_message_is_a_file(served: tuple[Asker, int]) -> None:
    asker, _ = served
    asker.ask("select i, repeat('x', 100) as text from range(1000000) r(i)", format="file")
    kind, head, _body = asker.answer()
    assert kind == "rows", head
    path = Path(head["path"])
    assert path.stat().st_size > 64 * 1024 * 1024
    with pa.memory_map(head["path"]) as source:
        assert pa.ipc.open_stream(source).read_all().num_rows == 1_000_000
    path.unlink()


def test_a_quick_question_does_not_wait_for_a_slow_one(served: tuple[Asker, int]) -> None:
    asker, _ = served
    slow = asker.ask("select count(*) from range(30000) a, range(10000) b where (a.range * b.range) % 7 = 3")
    quick = asker.ask("select 1")
    assert [asker.answer()[1]["id"], asker.answer()[1]["id"]] == [quick, slow]


ENDLESS = "select count(*) from range(10000000000) a, range(1000) b"


def test_a_question_ends_when_its_asker_has_left(home: Home) -> None:
    end = write_history(home)
    with running(home) as projector, Asker(home) as asker:
        projector.tell(end, 0)
        projector.hear("ready")
        for _ in range(6):
            with Asker(home) as other:
                for _ in range(2):
                    other.ask(ENDLESS)
                other.hear_that_it_is_worked_on()
        began = time.monotonic()
        assert asker.rows("select 1") == [[1]]
        assert time.monotonic() - began < 30  # the questions would take years
        process = psutil.Process(projector.process.pid)
        eventually(lambda: process.cpu_percent(0.5) < 50)


def test_a_query_that_cannot_be_stopped_ends_with_its_process(home: Home) -> None:
    """One function that works for minutes is one step to DuckDB; the next projector has the same tables, at once."""
    history, writer = History(home, 1), open_writer(home)
    writer.append(history.opening())
    end = writer.end
    writer.close(seal=False)
    with running(home) as projector:
        projector.tell(end.position, end.seq)
        projector.hear("ready")
        said = None
        while said is None:  # a query that is stopped before its one step begins is no stubborn one
            with Asker(home) as mad:
                mad.ask("select levenshtein(repeat('ab', 500000), repeat('ba', 500000 + range::int)) from range(3)")
                for _ in range(3):
                    mad.hear_that_it_is_worked_on()
            said = projector.hear_within(15, "error")
        assert "did not stop" in said["error"]
        assert projector.process.wait(10) == 1
    with running(home) as projector, Asker(home) as asker:
        projector.tell(end.position, end.seq)
        projector.hear("ready")
        assert asker.rows("select max(seq) from cf_audit") == [[end.seq]]
        assert projector.leave() == 0
        assert "rebuilding" not in projector.errors()


def test_heavy_questions_of_one_asker_hold_up_nobody_else(home: Home) -> None:
    """Eight askers with endless questions: somebody else's small ones are answered, and events are applied."""
    history, writer = History(home, 5), open_writer(home)
    writer.append(history.opening())
    with running(home) as projector, ExitStack() as askers:
        projector.tell(writer.end.position, writer.end.seq)
        projector.hear("ready")
        for _ in range(5):
            mad = askers.enter_context(Asker(home))
            for _ in range(5):
                mad.ask(ENDLESS)
        small = askers.enter_context(Asker(home))
        for _ in range(3):
            writer.append(history.jobs(20))
            projector.tell(writer.end.position, writer.end.seq)
            began = time.monotonic()
            [[seq]] = small.rows("select max(seq) from cf_audit", at_least_seq=writer.end.seq)
            assert seq <= writer.end.seq
            assert time.monotonic() - began < 60  # the others never end
    writer.close(seal=False)


@pytest.mark.parametrize(
    "sql", ["select " + "(" * 29_000 + "1" + ")" * 29_000, "select " + "(" * 50_000, "select " + "x." * 29_000 + "x"]
)
def test_deep_nesting_is_refused_before_it_is_parsed(served: tuple[Asker, int], sql: str) -> None:
    asker, _ = served
    began = time.monotonic()
    asker.ask(sql)
    assert "more than 200 deep" in asker.problem()
    assert time.monotonic() - began < 20


def test_questions_for_events_that_never_come_are_bounded_in_number(home: Home) -> None:
    """One asker holds so many of them, all askers together so many; others are served, and events are applied, meanwhile."""
    history, writer = History(home, 3), open_writer(home)
    writer.append(history.opening())
    with ExitStack() as stack:
        projector = stack.enter_context(running(home))
        projector.tell(writer.end.position, writer.end.seq)
        projector.hear("ready")
        greedy, *others = (stack.enter_context(Asker(home)) for _ in range(6))
        for asker in (greedy, *others[:4]):
            for _ in range(200):
                asker.ask("select 1", at_least_seq=2**50)
        greedy.ask("select 1", at_least_seq=2**50)
        assert greedy.problem() == "200 of your questions are already waiting."
        others[0].ask("select 1", at_least_seq=2**50)
        assert others[0].problem() == "200 of your questions are already waiting."
        others[4].ask("select 1")
        assert others[4].problem() == "1,000 questions of other clients are already waiting."
        writer.append(history.jobs(20))
        projector.tell(writer.end.position, writer.end.seq)
        assert projector.hear("applied", writer.end.seq)
    writer.close(seal=False)


def test_questions_are_answered_while_events_are_applied(home: Home) -> None:
    history, writer = History(home, 3), open_writer(home)
    writer.append(history.opening())
    with running(home, batch_events=50) as projector, Asker(home) as one, Asker(home) as two:
        for _ in range(8):
            writer.append(history.jobs(25))
            projector.tell(writer.end.position, writer.end.seq)
            seqs = []
            for asker in (one, two):
                asker.ask("select count(*), count(distinct id) from cf_processing_queue")
            for asker in (one, two):
                _kind, head, body = asker.answer()
                count, ids = msgpack.unpackb(body)[0]
                assert count == ids
                seqs.append(head["seq"])
            assert max(seqs) <= writer.end.seq
        assert one.rows("select count(*) from cf_processing_queue", at_least_seq=writer.end.seq) == [[200]]
    writer.close(seal=False)


@pytest.mark.parametrize("is_asked", [False, True])
def test_the_end_of_the_control_socket_ends_it_even_in_the_middle_of_a_question(home: Home, is_asked: bool) -> None:
    end = write_history(home)
    with running(home) as projector, Asker(home) as asker:
        projector.tell(end, 0)
        projector.hear("ready")
        if is_asked:
            asker.ask("select count(*) from range(10000000000) a, range(1000) b")
            asker.rows("select 1")
        began = time.monotonic()
        assert projector.leave() == 0
        assert time.monotonic() - began < 20  # the question would take years


def test_a_rebuild_still_hears_that_the_sentinel_is_gone(home: Home) -> None:
    end = write_history(home, jobs=3000, batch_events=1000)
    with running(home, batch_events=10) as projector:
        projector.tell(end, 0)
        projector.hear("applied")
        assert projector.leave() == 0
        assert not any("ready" in said for said in projector.heard)


def test_events_whose_blobs_are_lost_are_set_aside_and_counted(home: Home) -> None:
    end = write_history(home)
    for path in home.blobs.glob("??/*"):
        path.unlink()
    with running(home) as projector:
        projector.tell(end, 0)
        assert projector.hear("poison")["poison"] >= 4
        assert projector.leave() == 0
