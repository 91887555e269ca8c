"""The client against real sockets: what it sends, which answer it takes, and what it says when there is none."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq

from casparian_protocol.client import (
    REQUEST_SECONDS,
    Client,
    DaemonLost,
    NoSentinel,
    RequestRefused,
    Rows,
    TablesAway,
    default_actor,
    read_query_answer,
    unpack_rows,
)
from casparian_protocol.errors import code_of
from casparian_protocol.home import Home, make_home
from casparian_protocol.packing import MalformedMessage, pack
from casparian_protocol.queries.jobs import JobsByStatus
from casparian_protocol.wire.messages import Refused, Request, decode
from casparian_protocol.wire.operations.daemon import (
    OpenJob,
    ParsersView,
    ProjectionView,
    QueueCounts,
    Snapshot,
    StatusResult,
)
from tests.protocol.small_bus import head_of, no, rows, say, small_bus, talk, yes


def status_with(phase: str, state: str) -> dict[str, Any]:
    """The answer to `status` of a sentinel that does nothing else, by how its projector is."""
    return StatusResult(
        pid=1,
        seq=9,
        ready=True,
        version="0",
        home="/",
        mode="daemon",
        workers=[],
        queue=QueueCounts(queued=0, running=0, retrying=0, dead_letter=0),
        projection=ProjectionView(seq=9, lag=0, state=state, phase=phase),
        parsers=ParsersView(),
    ).model_dump()


READY = status_with("ready", "ready")


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


# --- whether anybody is there


def test_without_a_home_there_is_no_sentinel(tmp_path: Path) -> None:
    with pytest.raises(NoSentinel, match="not running") as refused:
        Client.connect(Home(tmp_path / "nowhere"))

    assert refused.value.remedy == "Start one with `casparian start`, or check --home."
    assert str(tmp_path / "nowhere") in refused.value.problem


def test_a_socket_left_by_a_killed_sentinel_is_noticed_at_once(home: Home) -> None:
    make_home(home)
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(home.bus_endpoint.removeprefix("ipc://"))
    with pytest.raises(NoSentinel, match="it has ended"):
        Client.connect(home)


def test_who_listens_but_does_not_answer_is_no_sentinel(home: Home) -> None:
    make_home(home)
    with socket.socket(socket.AF_UNIX) as mute:
        mute.bind(home.bus_endpoint.removeprefix("ipc://"))
        mute.listen()
        with pytest.raises(NoSentinel, match="no answer in time"):
            Client.connect(home, timeout_seconds=0.1)


def test_the_actor_names_user_and_client(monkeypatch: pytest.MonkeyPatch) -> None:
    assert default_actor("cli").startswith("user:")
    assert default_actor("cli").endswith("@cli")

    monkeypatch.setattr("getpass.getuser", lambda: "n" * 300)
    assert default_actor("console") == f"user:{'n' * 64}@console"

    def nobody() -> str:
        raise KeyError("no such uid")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert default_actor("mcp") == f"user:{os.getuid()}@mcp"


# --- requests


def test_a_request_carries_operation_arguments_and_actor(home: Home) -> None:
    with talk(home, actor="user:ann@cli", cancel=lambda request: yes(request, {"seq": 4})) as (client, bus):
        assert client.request("cancel", {"job": "00aa"}) == {"seq": 4}
        assert client.request("cancel", actor="user:bob@mcp") == {"seq": 4}

    assert [(each.op, each.args, each.actor) for each in bus.requests] == [
        ("ping", {}, "user:ann@cli"),
        ("cancel", {"job": "00aa"}, "user:ann@cli"),
        ("cancel", {}, "user:bob@mcp"),
    ]
    assert len({each.id for each in bus.requests}) == 3


def test_a_refusal_keeps_the_sentinels_own_words(home: Home) -> None:
    with (
        talk(home, cancel=lambda request: no(request, "It ended.", "Look: `casparian jobs`.", "ENDED")) as (client, _),
        pytest.raises(RequestRefused) as refused,
    ):
        client.request("cancel")

    error = refused.value
    assert (error.problem, error.remedy, error.reply_code) == ("It ended.", "Look: `casparian jobs`.", "ENDED")


def test_a_message_that_was_not_understood_is_a_refusal(home: Home) -> None:
    with (
        talk(home, cancel=lambda request: say(Refused(reason="args: too large", code="MALFORMED"))) as (client, _),
        pytest.raises(RequestRefused, match=r"the message: args: too large\.$"),
    ):
        client.request("cancel")


def test_a_result_too_large_for_the_body_comes_attached(home: Home) -> None:
    large = {"jobs": ["j" * 1000] * 200}
    with talk(home, snapshot=lambda request: yes(request, attached=large)) as (client, _):
        assert client.request("snapshot") == large


def test_an_attached_result_that_is_no_map_is_malformed(home: Home) -> None:
    with (
        talk(home, snapshot=lambda request: yes(request, attached=[1])) as (client, _),
        pytest.raises(MalformedMessage, match="an attached result is not a map"),
    ):
        client.request("snapshot")


def test_the_late_answer_to_an_earlier_request_is_passed_over(home: Home) -> None:
    earlier: list[Request] = []

    def late(request: Request) -> Sequence[bytes] | None:
        earlier.append(request)
        return None

    with (
        small_bus(home, retry=late, status=lambda request: yes(request, {"n": 2})) as bus,
        Client.connect(home) as client,
    ):
        with pytest.raises(NoSentinel, match="no answer in time"):
            client.request("retry", timeout_seconds=0.05)
        bus.answers["cancel"] = lambda request: yes(earlier[0], {"n": 1})
        with pytest.raises(NoSentinel):  # what came answers `retry`, which nobody waits for any more
            client.request("cancel", timeout_seconds=0.1)
        assert client.request("status") == {"n": 2}


def test_a_request_waits_no_longer_than_it_was_told(home: Home) -> None:
    with talk(home, drain=lambda request: None) as (client, _):
        began = time.monotonic()
        with pytest.raises(NoSentinel, match="no answer in time"):
            client.request("drain", timeout_seconds=0.2)
        assert 0.15 <= time.monotonic() - began < 30


@contextmanager
def ending_daemon(home: Home, *, answers: int) -> Iterator[None]:
    """A bus that answers that many requests, reads one more and ends without an answer."""
    make_home(home)

    def serve() -> None:
        for _ in range(answers):
            identity, *frames = router.recv_multipart()
            request, _attachments = decode(frames)
            assert isinstance(request, Request)
            router.send_multipart([identity, *yes(request, {"seq": 1})])
        router.recv_multipart()
        router.close(linger=0)

    with zmq.Context[zmq.Socket[bytes]]() as context:
        router = context.socket(zmq.ROUTER)
        router.bind(home.bus_endpoint)
        served = threading.Thread(target=serve)
        served.start()
        yield
        served.join()


def test_a_daemon_that_ends_while_a_request_waits_is_reported_at_once(home: Home) -> None:
    began = time.monotonic()
    with ending_daemon(home, answers=1), Client.connect(home) as client:
        with pytest.raises(DaemonLost) as lost:
            client.request("drain")
        with pytest.raises(NoSentinel, match=r"has ended|not running"):
            client.request("drain")  # nothing waits for a daemon that is known to have ended

    assert time.monotonic() - began < REQUEST_SECONDS / 2
    assert lost.value.problem == f"The daemon of {home.root} ended before it answered the request."
    assert "`casparian status`" in (lost.value.remedy or "")
    assert code_of(lost.value) == "DAEMON_LOST"


def test_a_daemon_that_ends_while_a_query_waits_is_reported_at_once(home: Home) -> None:
    began = time.monotonic()
    with ending_daemon(home, answers=1), Client.connect(home) as client, pytest.raises(DaemonLost):
        client.query("select 1")  # nobody serves the tables; the daemon ends when it is asked about them
    assert time.monotonic() - began < REQUEST_SECONDS / 2


def test_the_next_daemon_answers_the_client_of_an_earlier_one_and_gets_no_old_request(home: Home) -> None:
    with ending_daemon(home, answers=1), Client.connect(home) as client:
        with pytest.raises(DaemonLost):
            client.request("drain")
        with small_bus(home, status=lambda request: yes(request, {"n": 2})) as bus:
            assert client.request("status") == {"n": 2}
            assert [request.op for request in bus.requests] == ["status"]


# --- questions to the tables


def test_rows_come_as_of_an_event(home: Home) -> None:
    def tables(frames: Sequence[bytes]) -> list[Sequence[bytes]]:
        return [rows(frames, 12, ["id", "n"], [["a", 1], ["b", None]])]

    with talk(home, tables=tables) as (client, bus):
        found = client.query("select * from jobs where n > ?", [0], at_least_seq=11, limit_rows=5)

    assert found == Rows(12, ["id", "n"], [["a", 1], ["b", None]])
    asked = head_of(bus.questions[0])
    assert bus.questions[0][0] == b"query"
    assert asked.pop("id")
    assert asked == {
        "sql": "select * from jobs where n > ?",
        "params": [0],
        "format": "rows",
        "at_least_seq": 11,
        "limit_rows": 5,
    }


def test_arrow_comes_as_it_was_sent(home: Home) -> None:
    def tables(frames: Sequence[bytes]) -> list[Sequence[bytes]]:
        return [[b"rows", pack({"id": head_of(frames)["id"], "seq": 1, "columns": []}), b"\xff\xff\xff\xffARROW"]]

    with talk(home, tables=tables) as (client, bus):
        assert client.ask_arrow(JobsByStatus()) == b"\xff\xff\xff\xffARROW"
    assert head_of(bus.questions[0])["format"] == "arrow"


def test_many_rows_come_as_a_file_and_all_tables_as_a_folder(home: Home, tmp_path: Path) -> None:
    def tables(frames: Sequence[bytes]) -> list[Sequence[bytes]]:
        asked = head_of(frames)
        head = {"id": asked["id"], "seq": 7, "columns": [], "path": str(tmp_path / asked["format"]), "sha256": "ab"}
        return [[b"rows", pack(head), b""]]

    with talk(home, tables=tables) as (client, _bus):
        assert client.ask_file(JobsByStatus()) == tmp_path / "file"
        assert client.dump_tables() == (tmp_path / "dump", 7, "ab")


def test_publishing_the_catalogue_waits_for_its_answer(home: Home) -> None:
    def tables(frames: Sequence[bytes]) -> list[Sequence[bytes]]:
        id_ = head_of(frames)["id"]
        return [[b"working", pack({"id": id_})], [b"catalog", pack({"id": id_, "ok": True, "path": "c", "seq": 4})]]

    with talk(home, tables=tables) as (client, bus):
        client.publish_output_views(4)
    assert (bus.questions[0][0], head_of(bus.questions[0])["at_least_seq"]) == (b"catalog", 4)


def test_a_query_that_fails_is_refused_in_the_projectors_words(home: Home) -> None:
    def tables(frames: Sequence[bytes]) -> list[Sequence[bytes]]:
        head = {"id": head_of(frames)["id"], "ok": False, "problem": "No table x.", "remedy": "`casparian sql`."}
        return [[b"error", pack(head)]]

    with talk(home, tables=tables) as (client, _):
        with pytest.raises(RequestRefused) as refused:
            client.query("from x")
        assert (refused.value.problem, refused.value.remedy) == ("No table x.", "`casparian sql`.")
        with pytest.raises(RequestRefused):  # the same socket serves on
            client.query("from x")


def test_answers_to_other_questions_and_signs_of_work_are_passed_over(home: Home) -> None:
    def tables(frames: Sequence[bytes]) -> list[Sequence[bytes]]:
        other = [b"rows", pack({"id": "another", "seq": 3, "columns": ["x"]}), pack([[0]])]
        working = [b"working", pack({"id": head_of(frames)["id"]})]
        return [other, working, working, rows(frames, 5, ["x"], [[1]])]

    with talk(home, tables=tables) as (client, _):
        assert client.query("select 1 as x").rows == [[1]]


@pytest.mark.parametrize("phase", ["away", "given_up", "broken", "hung"])
def test_a_projector_that_is_gone_is_reported_at_once(home: Home, phase: str) -> None:
    status = status_with(phase, f"in the phase {phase}")
    with talk(home, status=lambda request: yes(request, status)) as (client, _), pytest.raises(TablesAway) as away:
        client.query("select 1")

    assert away.value.problem == f"The tables are not available now: the projector is in the phase {phase}."
    assert away.value.reply_code == "TABLES_AWAY"


def test_a_projector_that_is_ready_and_says_nothing_is_given_a_second_look(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casparian_protocol.client._FIRST_SILENCE_SECONDS", 0.02)
    monkeypatch.setattr("casparian_protocol.client._SILENCE_SECONDS", 0.05)
    with (
        talk(home, status=lambda request: yes(request, READY)) as (client, bus),
        pytest.raises(TablesAway, match="the projector does not answer this query"),
    ):
        client.query("select 1")
    assert [each.op for each in bus.requests] == ["ping", "status", "status"]


def test_a_patient_client_asks_again_until_the_tables_are_back(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian_protocol.client._FIRST_SILENCE_SECONDS", 0.02)
    monkeypatch.setattr("casparian_protocol.client._ASK_AGAIN_SECONDS", 0.02)
    asked: list[Sequence[bytes]] = []

    def tables(frames: Sequence[bytes]) -> list[Sequence[bytes]]:
        asked.append(frames)
        return [] if len(asked) < 3 else [rows(frames, 1, ["x"], [[8]])]

    with talk(home, status=lambda request: yes(request, status_with("away", "away")), tables=tables) as (client, _):
        client.patience_seconds = 30.0
        assert client.query("select 8 as x").rows == [[8]]
        assert len(asked) == 3
        asked.clear()
        client.patience_seconds = 0.0
        with pytest.raises(TablesAway):
            client.query("select 8 as x")


@pytest.mark.parametrize("phase", ["starting", "reading", "busy"])
def test_a_projector_that_only_starts_or_is_busy_is_waited_for(
    home: Home, monkeypatch: pytest.MonkeyPatch, phase: str
) -> None:
    monkeypatch.setattr("casparian_protocol.client._FIRST_SILENCE_SECONDS", 0.02)
    monkeypatch.setattr("casparian_protocol.client._SILENCE_SECONDS", 0.02)
    looks = threading.Semaphore(0)
    asked: list[Sequence[bytes]] = []

    def status(request: Request) -> Sequence[bytes]:
        looks.release()
        return yes(request, status_with(phase, "in words"))

    def tables(frames: Sequence[bytes]) -> list[Sequence[bytes]]:
        asked.append(frames)
        return [] if len(asked) == 1 else [rows(asked[0], 1, ["x"], [[8]])]

    with talk(home, status=status, tables=tables) as (client, bus):
        found: list[Rows] = []
        asking = threading.Thread(target=lambda: found.append(client.query("select 8 as x")))
        asking.start()
        for _ in range(3):
            assert looks.acquire(timeout=30)
        bus.tables_say(rows(asked[0], 1, ["x"], [[8]]))
        asking.join(30)
    assert [each.rows for each in found] == [[[8]]]


def test_a_question_that_takes_too_long_ends_and_its_answer_reaches_nobody(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("casparian_protocol.client._SILENCE_SECONDS", 0.05)
    slow: list[Sequence[bytes]] = []

    def tables(frames: Sequence[bytes]) -> list[Sequence[bytes]]:
        slow.append(frames)
        if len(slow) == 1:
            return [[b"working", pack({"id": head_of(frames)["id"]})]]
        return [rows(slow[0], 1, ["x"], [[1]]), rows(frames, 2, ["x"], [[2]])]

    with talk(home, status=lambda request: yes(request, READY), tables=tables) as (client, _):
        with pytest.raises(TablesAway):
            client._ask_tables({"sql": "select 1"}, seconds=0.05)
        assert client.query("select 2 as x").rows == [[2]]


@pytest.mark.parametrize(
    ("kind", "parts", "words"),
    [
        (b"rows", [], "no head"),
        (b"rows", [pack([1]), b""], "no head"),
        (b"rows", [pack({"seq": 1}), b""], "no head"),
        (b"rows", [pack({"id": "q", "seq": "one"}), b""], "no head"),
        (b"rows", [b"\xc1", b""], "not msgpack"),
    ],
)
def test_an_answer_of_another_protocol_is_malformed(kind: bytes, parts: list[bytes], words: str) -> None:
    with pytest.raises(MalformedMessage, match=words):
        read_query_answer(kind, parts, "q")


def test_an_answer_without_words_still_says_that_the_query_failed() -> None:
    with pytest.raises(RequestRefused, match=r"^The query failed\.$"):
        read_query_answer(b"error", [pack({"id": "q"})], "q")
    with pytest.raises(RequestRefused):  # rows without a body
        read_query_answer(b"rows", [pack({"id": "q"})], "q")
    assert read_query_answer(b"error", [pack({"id": "other", "problem": "no"})], "q") is None


@pytest.mark.parametrize("body", [pack({"a": 1}), pack(7), pack(None)])
def test_rows_that_are_no_list_are_malformed(body: bytes) -> None:
    with pytest.raises(MalformedMessage, match="not a list"):
        unpack_rows(body)


# --- the picture that a feed begins with


def test_a_snapshot_is_all_that_is_open(home: Home) -> None:
    picture: dict[str, Any] = {
        "seq": 40,
        "jobs": [{"job_id": "a", "type": "PARSE", "state": "QUEUED"}],
        "workers": [],
        "totals": {"QUEUED": 1},
        "groups": [],
    }
    with talk(home, snapshot=lambda request: yes(request, picture)) as (client, _):
        open_job = OpenJob(job_id="a", type="PARSE", state="QUEUED")
        snapshot = Snapshot(seq=40, jobs=[open_job], workers=[], totals={"QUEUED": 1})
        assert client.snapshot() == snapshot
        with client.follow() as feed:
            assert feed.next(5.0) == snapshot


def test_a_closed_client_closes_its_feed(home: Home) -> None:
    picture: dict[str, Any] = {"seq": 1, "jobs": [], "workers": [], "totals": {}, "groups": []}
    with small_bus(home, snapshot=lambda request: yes(request, picture)):
        client = Client.connect(home)
        feed = client.follow()
        client.close()
        assert feed.socket.closed
        assert list(feed) == []
