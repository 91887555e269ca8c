"""The sentinel's questions to the projector: how long it waits for an answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

import msgpack
import pytest
import zmq

from casparian_protocol.client import Rows
from casparian_protocol.home import Home
from casparian_sentinel.daemon import projector
from casparian_sentinel.daemon.projector import ProjectionAway, ProjectionQueries
from casparian_sentinel.projection.answers import WAIT_SECONDS, Pending, Question, working

Answering = Callable[["zmq.Socket[bytes]", bytes, str], None]


def asked_of(home: Home, answering: Answering) -> Rows:
    """The answer of a projector that answers so."""
    context = zmq.Context[zmq.Socket[bytes]]()
    endpoint = context.socket(zmq.ROUTER)
    endpoint.bind(home.query_endpoint)

    def serve() -> None:
        peer, _kind, body = endpoint.recv_multipart()
        answering(endpoint, peer, msgpack.unpackb(body)["id"])

    async def ask() -> Rows:
        queries = ProjectionQueries(context, home)
        try:
            return await queries.ask("select 1", [], at_least_seq=0, limit_rows=10)
        finally:
            queries.close()

    server = threading.Thread(target=serve)
    server.start()
    try:
        return asyncio.run(ask())
    finally:
        server.join()
        endpoint.close(linger=0)
        context.term()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    Path(home.query_endpoint.removeprefix("ipc://")).parent.mkdir(parents=True, exist_ok=True)
    return home


def test_an_answer_is_waited_for_as_long_as_the_projector_works_on_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projector, "_ANSWER_SECONDS", 2.0)

    def slowly(endpoint: zmq.Socket[bytes], peer: bytes, id_: str) -> None:
        for _ in range(6):
            endpoint.poll(400)  # nothing comes
            endpoint.send_multipart([peer, *working(id_)])
        head = {"id": id_, "ok": True, "seq": 7, "columns": ["one"], "is_cut": False}
        endpoint.send_multipart([peer, b"rows", msgpack.packb(head), msgpack.packb([[1]])])

    assert asked_of(home, slowly).seq == 7


def test_a_projector_that_says_nothing_is_away(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projector, "_ANSWER_SECONDS", 0.2)
    with pytest.raises(ProjectionAway, match="no answer in time"):
        asked_of(home, lambda *_: None)


def test_a_question_of_the_sentinel_waits_as_long_as_events_are_applied() -> None:
    sentinels, users = (Pending(b"peer", Question(id="q", at_least_seq=10_000), False, WAIT_SECONDS) for _ in range(2))
    for turn in range(1, 100):
        now_s = turn * WAIT_SECONDS / 2
        assert not sentinels.is_overdue(turn, now_s, is_patient=True)
        assert users.is_overdue(turn, now_s, is_patient=False) == (now_s > WAIT_SECONDS)
    assert not sentinels.is_overdue(99, now_s + WAIT_SECONDS, is_patient=True)
    assert sentinels.is_overdue(99, now_s + WAIT_SECONDS + 0.1, is_patient=True)
