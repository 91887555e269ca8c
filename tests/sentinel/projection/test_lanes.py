"""Lanes by themselves, over a real socket and a real database: limits of time, and what is said at them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import duckdb
import msgpack
import pytest
import zmq

from casparian_sentinel.projection import lanes
from casparian_sentinel.projection.answers import read_question
from casparian_sentinel.projection.lanes import Lanes
from casparian_sentinel.sql.second_look import is_too_deep

ENDLESS = "select count(*) from range(10000000000) a, range(1000) b"


class Table:
    """A projector's loop without a projection."""

    def __init__(self, query_seconds: float, files: Path | None = None) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.bus = self.context.socket(zmq.ROUTER)
        self.bus.set(zmq.ROUTER_MANDATORY, 1)
        self.bus.bind("inproc://tables")
        self.db = duckdb.connect()
        self.dealers: list[zmq.Socket[bytes]] = []
        self.lanes = Lanes(query_seconds=query_seconds, files=files)

    def asker(self) -> zmq.Socket[bytes]:
        dealer = self.context.socket(zmq.DEALER)
        dealer.set(zmq.LINGER, 0)
        dealer.connect("inproc://tables")
        self.dealers.append(dealer)
        return dealer

    def close(self) -> None:
        self.lanes.close()
        for one in (*self.dealers, self.bus):
            one.close(linger=0)
        self.context.term()
        self.db.close()

    def turn(self) -> None:
        while self.bus.poll(10):
            self.lanes.add(read_question(self.bus.recv_multipart()))
        self.lanes.start(lambda: (self.db.cursor(), 1))
        self.lanes.send_news(self.bus)

    def answer_of(self, dealer: zmq.Socket[bytes], seconds: float = 20.0) -> dict[str, object]:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.turn()
            while dealer.poll(0):
                kind, head, *_ = dealer.recv_multipart()
                if kind != b"working":
                    said: dict[str, object] = msgpack.unpackb(head)
                    return said
        raise AssertionError("no answer")


@pytest.fixture
def table() -> Iterator[Table]:
    table = Table(query_seconds=1.0)
    yield table
    table.close()


def ask(dealer: zmq.Socket[bytes], sql: str, name: str = "q") -> None:
    dealer.send_multipart([b"query", msgpack.packb({"id": name, "sql": sql})])


def test_a_question_that_takes_too_long_is_stopped_and_told_the_truth(table: Table) -> None:
    asker = table.asker()
    ask(asker, ENDLESS)
    assert table.answer_of(asker)["problem"] == "The query took longer than 1 s and was stopped."
    ask(asker, "select 1")
    assert table.answer_of(asker)["ok"]


def test_a_question_that_is_not_answered_at_once_is_told_in_the_same_turn(table: Table) -> None:
    asker = table.asker()
    ask(asker, ENDLESS)
    table.turn()
    assert asker.poll(0) and asker.recv_multipart()[0] == b"working"


def test_the_greediest_gives_way_when_somebody_waits(table: Table) -> None:
    table.lanes.query_seconds = 60.0
    greedy, other, third = table.asker(), table.asker(), table.asker()
    for _ in range(10):
        ask(greedy, ENDLESS)
    for dealer in (other, third):
        ask(dealer, ENDLESS)
        ask(dealer, ENDLESS)
    small = table.asker()
    began = time.monotonic()
    ask(small, "select 1")
    assert table.answer_of(small)["ok"]
    assert time.monotonic() - began < 10


def test_one_asker_may_not_pile_up_questions_without_end(table: Table) -> None:
    asker = table.asker()
    for number in range(210):
        ask(asker, ENDLESS, str(number))
    asker.poll(50)
    refused = 0
    while table.bus.poll(20):
        refused += table.lanes.add(read_question(table.bus.recv_multipart())) is not None
    assert refused == 10


@pytest.mark.parametrize(
    ("sql", "is_deep"),
    [
        ("select (((1)))", False),
        ("select '" + "(" * 500 + "'", False),
        ('select "' + "(" * 500 + '"', False),
        ("select 1 -- " + "(" * 500, False),
        ("select 1 /* " + "(" * 500 + "*/", False),
        ("select " + "+".join(["(1)"] * 1000), False),
        ("select " + "(" * 201, True),
        ("select e'\\''" + "(" * 201 + "'", True),
        ("select $$'$$" + "[" * 201 + "'", True),
        ("select " + "x." * 201 + "x", True),
        ("select a.b, " * 300 + "a.b", False),
    ],
)
def test_depth_is_read_from_the_text(sql: str, is_deep: bool) -> None:
    assert is_too_deep(sql) is is_deep


@pytest.mark.parametrize("form", ["file", "dump"])
def test_the_file_of_an_asker_who_left_is_removed_at_once(tmp_path: Path, form: str) -> None:
    table = Table(query_seconds=10.0, files=tmp_path)
    try:
        table.db.execute("create table cf_position as select 1 as seq, '' as sha256")
        other, asker = table.asker(), table.asker()
        asker.send_multipart([b"query", msgpack.packb({"id": "q", "sql": "select 1 as one", "format": form})])
        other.send_multipart([b"query", msgpack.packb({"id": "o", "sql": "select 1 as one", "format": form})])
        while table.bus.poll(50):
            table.lanes.add(read_question(table.bus.recv_multipart()))
        table.lanes.start(lambda: (table.db.cursor(), 1))
        asker.close(linger=0)
        taken = table.answer_of(other)
        deadline = time.monotonic() + 20
        while table.lanes.is_busy and time.monotonic() < deadline:
            table.turn()
        assert [str(path) for path in tmp_path.iterdir()] == [taken["path"]]
    finally:
        table.close()


def test_a_file_that_nobody_takes_is_removed_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(query_seconds=10.0, files=tmp_path)
    try:
        old, young = tmp_path / "old.arrows", tmp_path / "young.arrows"
        for path in (old, young):
            path.touch()
        os.utime(old, (0, 0))
        table.turn()
        assert old.exists()
        monkeypatch.setattr(lanes, "_FILE_SECONDS", 0.0)
        os.utime(young, (time.time() + 60, time.time() + 60))
        table.turn()
        assert [path.name for path in tmp_path.iterdir()] == ["young.arrows"]
    finally:
        table.close()
