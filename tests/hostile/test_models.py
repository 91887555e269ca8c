"""Every field of every message, operation, setting and event, with every kind of wrong value, all the way to the tables.

Made from the models: a new field is tried without anybody thinking of it. What is refused is refused by the word that is
declared for that; what is accepted goes through the core, the log, the feed and the real tables, and nothing else happens.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from casparian_protocol.bounds import COUNT_MAX
from casparian_protocol.errors import CasparianError
from casparian_protocol.events.packing import EventRefused, pack_event
from casparian_protocol.feed import FeedEvent, encode_event
from casparian_protocol.feed import decode as decode_feed
from casparian_protocol.home import Home
from casparian_protocol.jobs import JobError, Manifest, OutputAccounting, StagedFile, ViolationCount
from casparian_protocol.packing import MalformedMessage, pack
from casparian_protocol.settings import SettingsError, known_keys, load
from casparian_protocol.wire import Progress
from casparian_protocol.wire import messages as m
from casparian_protocol.wire.messages import decode
from casparian_protocol.wire.operations import OPERATIONS
from casparian_sentinel import core as c
from casparian_sentinel.commit.offers import read_manifests
from casparian_sentinel.core.decision import Decision, SendToWorker
from casparian_sentinel.core.manifests import needs_blob
from casparian_sentinel.daemon.bus import encode_parts
from casparian_sentinel.daemon.inbox import command_of
from casparian_sentinel.local import LocalSentinel
from casparian_sentinel.log.format import Head, LogRecord, Position
from casparian_sentinel.operations.steps import OperationRefused
from casparian_sentinel.projection.database import as_json
from casparian_sentinel.projection.store import Projection
from tests.hostile.examples import example_of
from tests.hostile.extremes import EXTREMES, NUMBERS, spoiled
from tests.sentinel.core.play import CONTRACT, DIGEST
from tests.sentinel.daemon.test_failure_policy import Desk
from tests.sentinel.daemon.world import new_home, put
from tests.sentinel.projection.lives import History

_PROGRESS = Progress(
    items_done=1, items_total=3, unit="rows", throughput_per_sec=1.5, eta_seconds=2, updated_at=5, payload={"rows": 1}
)
_MANIFEST = Manifest(
    files=[
        StagedFile(name="data.orders.0.parquet", kind="data", output="orders", rows=3, bytes=1, digest=DIGEST),
        StagedFile(
            name="quarantine.orders.0.parquet", kind="quarantine", output="orders", rows=2, bytes=1, digest=DIGEST
        ),
    ],
    outputs={
        "orders": OutputAccounting(
            status="partial_success",
            received=5,
            valid=3,
            quarantined=2,
            rows_without_source_row=1,
            extra_columns={"more": 1},
            violations=[ViolationCount(code="type", column="n", rows=2)],
            contract_hash=CONTRACT,
        )
    },
    skipped={"blank": 1},
    source_hash="f" * 64,
    source_bytes=10,
    tz_database="2026a",
    guest_seconds=0.1,
    total_seconds=0.2,
)
_UNCOMMITTED = _MANIFEST.model_copy(update={"files": _MANIFEST.files[1:]})
_ERROR = JobError(
    code="INVALID_DATA",
    exception="ValueError",
    message="bad",
    trace="t",
    context={"line": 1},
    fingerprint="0" * 16,
    origin="parser",
)


def _messages(lease: m.Held) -> list[m.Message]:
    """One of each kind that a worker may send, every field filled."""
    job_id, epoch = lease.job_id, lease.epoch
    return [
        m.Hello(
            protocol=m.PROTOCOL_VERSION,
            worker_id="w1",
            host="h",
            pid=7,
            slots=2,
            labels={"gpu": "no"},
            version="1",
            sandbox="none",
            holding=[lease],
        ),
        m.Heartbeat(
            seq=1,
            cpu_percent=1.0,
            rss_bytes=1,
            free_bytes=1,
            jobs=[m.Beat(job_id=job_id, epoch=epoch, guest_pid=5, progress=_PROGRESS)],
        ),
        m.ProgressReport(job_id=job_id, epoch=epoch, progress=_PROGRESS),
        m.Sinks(
            since=5, sinks=[m.SinkCounts(uri="parquet://o", output="orders", rows=2, bytes=1, errors=1, latency=[0, 3])]
        ),
        m.Want(credit=1),
        m.Started(jobs=[m.StartedJob(job_id=job_id, epoch=epoch, guest_pid=5)]),
        m.Finish(jobs=[m.FinishedJob(job_id=job_id, epoch=epoch, manifest=_MANIFEST)]),
        m.Fail(job_id=job_id, epoch=epoch, error=_ERROR, uncommitted=_UNCOMMITTED),
        m.Released(jobs=[lease]),
        m.Bye(),
    ]


_KINDS = [message.kind for message in _messages(m.Held(job_id="0" * 16, epoch=1))]


class Tables:
    """Real tables that take whatever was decided, one decision behind the other."""

    def __init__(self, directory: Path) -> None:
        self.home = new_home(directory)
        self.history = History(self.home, 1)
        self.projection = Projection(self.home.state_db, self.history.blobs.get, "boot")
        self.events: list[LogRecord] = []
        self.seq = 0

    def take(self, decision: Decision) -> None:
        for fact in decision.facts():
            pack_event(fact)
            self.seq += 1
            self.events.append(LogRecord(self.seq, *fact))
            feed = FeedEvent(self.seq, *fact[:5])
            assert isinstance(decode_feed(encode_event(feed)), FeedEvent)
            json.loads(as_json(fact[4]))

    def flush(self) -> None:
        events, self.events = self.events, []
        if events:
            self.projection.apply(events, Head(Position(1, self.seq), self.seq, self.seq, b"\0" * 32))

    def poison(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.projection.query("from cf_poison_events order by seq").to_pylist()
        return found


@pytest.fixture
def tables(tmp_path: Path) -> Iterator[Tables]:
    made = Tables(tmp_path)
    yield made
    made.projection.close()


def as_command(worker_id: str, message: m.Message) -> c.Command | None:
    """As the inbox makes it, but that no file is looked at."""
    match message:
        case m.Hello():
            return c.HelloReceived(worker_id, message)
        case m.Finish():
            items = [
                c.FinishedItem(job.job_id, job.epoch, manifest, DIGEST if needs_blob(manifest) else "")
                for job, manifest in read_manifests(message, [])
            ]
            return c.FinishReceived(worker_id, items)
        case m.Fail(uncommitted=kept):
            return c.FailReceived(worker_id, message, DIGEST if kept is not None and needs_blob(kept) else "")
    return command_of(worker_id, message)


def _received(kind: str, body: Any) -> m.Message | None:
    """The message as it arrives, or None when it is refused by the word for that."""
    try:
        frame = pack(body)
    except (TypeError, ValueError, OverflowError):  # what the wire cannot carry is tried on the model itself
        try:
            return m.KINDS[kind].model_validate(body)
        except ValidationError:
            return None
    try:
        return decode([kind.encode(), frame])[0]
    except MalformedMessage as malformed:
        assert malformed.of_kind == kind and malformed.reason
        return None


def _try_messages(kind: str, tables: Tables) -> tuple[int, int]:
    """How many were tried, and how many were accepted."""
    tried = accepted = 0
    (example,) = [one for one in _messages(Desk().table.running()) if one.kind == kind]
    for what, body in spoiled(example.model_dump()):
        tried += 1
        message = _received(kind, body)
        if message is None:
            continue
        try:
            command = as_command("w1", message)
        except MalformedMessage:
            continue
        assert command is not None
        accepted += 1
        desk = Desk()
        desk.table.running()
        for decision in desk.submit(command):
            tables.take(decision)
            for effect in decision.effects:
                if isinstance(effect, SendToWorker):
                    for frames in encode_parts(effect.message):
                        decode(frames)
            desk.engine.internal.view().model_dump_json()
        assert desk.engine.internal.total == 0, f"{kind}: {what}: {desk.engine.internal.last}"
    tables.flush()
    return tried, accepted


@pytest.mark.parametrize("kind", _KINDS)
def test_no_field_of_a_message_stops_core_log_feed_or_tables(kind: str, tables: Tables) -> None:
    tried, accepted = _try_messages(kind, tables)

    assert tables.poison() == []
    assert kind == "bye" or 0 < accepted < tried


# --- operations ---


def _arguments(home: Home) -> dict[str, dict[str, Any]]:
    """Arguments that fit what there is, of operations that record something; the others get any that are allowed."""
    blob = put(home, b"no Arrow")
    rule = {
        "name": "r",
        "pattern": "*.txt",
        "tag": "t",
        "priority": 1,
        "excludes": ["x"],
        "extensions": [".txt"],
        "kinds": ["fix"],
    }
    contract = {"output": "o", "contract_hash": blob, "logic_hash": "", "columns": 1}
    artifact = {
        "name": "p",
        "version": "1.0",
        "artifact": blob,
        "sha256": "a" * 64,
        "source_hash": "s",
        "lock_hash": "",
        "topics": ["t"],
        "outputs": {"o": blob},
        "params": {"a": 1},
        "entry": "p.py",
        "kind": "function",
        "signed_by": "00",
        "signature": "00",
        "findings": ["f"],
        "contracts": [contract],
    }
    scan = {"scan_id": "abcd", "blob": blob, "new": 1, "changed": 1, "vanished": 1, "renamed": 1, "tagged": 1}
    ended = {
        "scan_id": "abcd",
        "complete": True,
        "files": 1,
        "bytes": 1,
        "unchanged": 1,
        "unreadable": 1,
        "seconds": 0.5,
    }
    return {
        "queue": {"parser": "p", "tag": "t", "path": "/data", "limit": 1},
        "cancel": {"job_id": "abcd", "reason": "r"},
        "replay": {"all_dead": True, "after": "", "limit": 10},
        "register": {"artifact": artifact},
        "decide_contract": {"selector": "p@1.0/o", "approve": True, "reason": "r"},
        "pause": {"parser": "p", "reason": "r"},
        "set_policy": {"parser": "p", "output": "o", "policy": {"max_pct": 1.0, "max_count": 3, "dir": "d"}},
        "add_source": {"name": "s", "path": "/data", "poll_seconds": 1, "options": {"pattern": "*", "excludes": ["x"]}},
        "begin_scan": {"roots": ["/data"], "source_id": "s"},
        "observe": scan,
        "end_scan": ended,
        "tag": {"tag": "t", "remove": False, "file_ids": ["a"], "files": 1},
        "add_rule": {"rule": rule},
        "remove_rule": {"rule": "r"},
    }


def _try_operations(tmp_path: Path, every: int) -> int:
    home = new_home(tmp_path)
    done = 0
    with LocalSentinel(home) as sentinel:
        scan_id = sentinel.request("begin_scan", {"roots": ["/data"]}, "user:ann@cli")["scan_id"]
        filled = _arguments(home)
        for number, (op, operation) in enumerate(OPERATIONS.items()):
            arguments = filled.get(op) or example_of(operation.args)
            if "scan_id" in arguments:
                arguments["scan_id"] = scan_id
            left_out = [name for name in operation.args.model_fields if name not in arguments]
            added = ((f"{name} = {value!r:.40}", {**arguments, name: value}) for name in left_out for value in EXTREMES)
            ways = chain(spoiled(arguments), added)
            for what, spoiled_arguments in islice(ways, number % every, None, every):
                try:
                    answer = sentinel.request(op, spoiled_arguments, "user:ann@cli")
                except OperationRefused as refused:
                    assert refused.reply_code != "INTERNAL", f"{op}: {what}: {refused}"
                except CasparianError:
                    pass  # refused: unknown, missing, not fitting
                else:
                    done += 1
                    OPERATIONS[op].result.model_validate(answer)
                    json.dumps(answer)
        status = sentinel.request("status")
        assert status["internal_errors"]["count"] == 0, status["internal_errors"]
        assert sentinel.query("from cf_poison_events").to_pylist() == []
        for table in ("scout_tagging_rules", "scout_sources", "cf_scans", "scout_files", "cf_audit"):
            json.loads(as_json(sentinel.query(f"from {table}").to_pylist()))
    return done


def test_no_argument_of_an_operation_stops_core_log_or_tables(tmp_path: Path) -> None:
    assert _try_operations(tmp_path, every=5) > 20


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_no_argument_of_an_operation_stops_anything_whatever_it_holds(tmp_path: Path) -> None:
    assert _try_operations(tmp_path, every=1) > 100


# --- settings ---


@pytest.mark.parametrize("value", NUMBERS, ids=repr)
def test_a_setting_out_of_its_range_is_refused_by_its_name(tmp_path: Path, value: Any) -> None:
    home = Home(tmp_path)
    for key, built_in in known_keys().items():
        try:
            found = load(home, {}, {key: [value] if isinstance(built_in, list) else value}).settings
        except SettingsError as refused:
            assert key in refused.problem
            continue
        group, name = key.split(".")
        taken = getattr(getattr(found, group), name)
        taken = taken[0] if isinstance(taken, list) else taken
        assert taken is None or isinstance(taken, bool | str) or -COUNT_MAX <= taken <= COUNT_MAX, key


# --- events of a log that somebody else wrote ---


def _try_events(tables: Tables, every: int) -> int:
    """Facts of every type with one value spoiled; the log's own rule decides which can be in a log at all."""
    history = tables.history
    first: dict[str, tuple[Any, ...]] = {}
    for fact in [*history.opening(), *history.jobs(40), *history.closing()]:
        first.setdefault(fact[1], fact)
    applied = 0
    for number, (ts, kind, version, actor, data) in enumerate(first.values()):
        for _what, changed in spoiled(data, EXTREMES, every=every, offset=number):
            try:
                pack_event((ts, kind, version, actor, changed))
            except EventRefused:
                continue
            tables.seq += 1
            applied += 1
            tables.events.append(LogRecord(tables.seq, ts, kind, version, actor, changed))
    tables.flush()
    return applied


def test_no_field_of_an_event_stops_the_tables(tables: Tables) -> None:
    applied = _try_events(tables, every=97)

    assert applied > 20
    assert tables.projection.head is not None and tables.projection.head.seq == tables.seq
    assert 0 < tables.projection.poison_count < applied


@pytest.mark.campaign
@pytest.mark.timeout(0)
def test_no_field_of_an_event_stops_the_tables_whatever_it_holds(tables: Tables) -> None:
    _try_events(tables, every=5)
    assert tables.projection.head is not None and tables.projection.head.seq == tables.seq
