"""The three gateways: who answers, what each refuses, and that all of them answer alike."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from blake3 import blake3

from casparian_app.gateway import Gateway, open_gateway, read_blob
from casparian_app.texts import NoDaemon, NoHome, UsageProblem
from casparian_protocol.home import Home
from casparian_protocol.queries import QUERIES
from casparian_protocol.queries.files import FileFilter, FilesListed
from casparian_protocol.queries.jobs import JobsByStatus, JobsListed
from casparian_protocol.queries.outputs import ViolationFilter
from casparian_protocol.queries.registry import LastEventSeq, ParserVersions
from casparian_protocol.queries.selections import Selection
from casparian_protocol.wire.operations import OPERATIONS
from casparian_protocol.wire.operations.base import Call, Result
from casparian_protocol.wire.operations.daemon import DRAIN, PING, RELOAD, SETTINGS, STOP
from casparian_protocol.wire.operations.jobs import CANCEL, QUEUE, RERUN
from casparian_protocol.wire.operations.registry import RESCAN
from tests.cli.app.conftest import copy_of, running

#: Calls that only a daemon performs.
DAEMON_ONLY: tuple[Call[Result], ...] = (RESCAN(source="in"), SETTINGS(), RELOAD(), DRAIN(), STOP())


@pytest.fixture(scope="module")
def daemon_home(original_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A home with a running daemon, which tests may change."""
    with running(copy_of(original_home, tmp_path_factory.mktemp("daemon") / "home")) as home:
        yield home


def test_a_home_that_is_not_there_is_refused_and_not_made(tmp_path: Path) -> None:
    with pytest.raises(NoHome) as refused, open_gateway(Home(tmp_path / "home")):
        pytest.fail("it was opened")
    assert refused.value.problem == f"There is no home at {tmp_path / 'home'}."
    assert not (tmp_path / "home").exists()


def test_a_home_is_made_when_that_is_wanted(tmp_path: Path) -> None:
    with open_gateway(Home(tmp_path / "home"), creates_home=True) as gateway:
        assert (gateway.is_daemon, gateway.as_of_seq) == (False, None)
        assert gateway.query(JobsListed()) == []
    assert (tmp_path / "home" / "log").is_dir()


def test_operations_that_need_a_daemon_say_so(gateway: Gateway) -> None:
    needing = {one.name for one in OPERATIONS.values() if one.is_daemon_only}
    assert {call.operation.name for call in DAEMON_ONLY} == needing
    for call in DAEMON_ONLY:
        with pytest.raises(NoDaemon, match=f"`{call.operation.name}` needs a running daemon"):
            gateway.perform(call)
    with pytest.raises(NoDaemon), gateway.feed():
        pytest.fail("there is a feed")


def test_what_was_uploaded_is_a_blob_of_the_home(own: Gateway) -> None:
    for content in (b"", b"x", os.urandom(9 * 1024 * 1024)):
        digest = own.upload(content)
        assert digest == blake3(content).hexdigest()
        assert read_blob(own.home, digest) == content


def test_an_upload_to_a_daemon_is_a_blob_too(daemon_home: Home) -> None:
    content = os.urandom(5 * 1024 * 1024)
    with open_gateway(daemon_home) as gateway:
        assert gateway.is_daemon
        assert read_blob(daemon_home, gateway.upload(content)) == content


def test_beside_a_daemon_a_command_imports_no_store_of_blobs(daemon_home: Home, tmp_path: Path) -> None:
    """It could not write into the home if it wanted to: what it scans and registers goes over the bus."""
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "c.txt").write_text("C1;2.50\n")
    script = f"""
import sys
from casparian.main import casparian, run
home = {str(daemon_home.root)!r}
for line in (["scan", {str(tmp_path / "more")!r}, "--tag", "odd"], ["rule", "add", "*.txt", "even"],
             ["tag", {str(tmp_path / "more" / "c.txt")!r}, "third"], ["files", "--tag", "third"]):
    assert run(casparian, ["--home", home, *line]) == 0, line
assert "casparian_sentinel.blobs" not in sys.modules and "casparian_sentinel.local" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "c.txt" in done.stdout


def test_a_snapshot_comes_first_on_the_feed(daemon_home: Home) -> None:
    from casparian_protocol.wire.operations.daemon import Snapshot

    with open_gateway(daemon_home) as gateway, gateway.feed() as feed:
        assert isinstance(next(iter(feed)), Snapshot)


def test_a_query_during_a_feed_is_as_new_as_the_last_event_of_the_feed(daemon_home: Home) -> None:
    with open_gateway(daemon_home) as gateway, open_gateway(daemon_home) as other, gateway.feed() as feed:
        job_id = other.query(JobsListed(limit=1))[0]["id"]
        made = other.perform(RERUN(job_id=job_id)).job_id
        while feed.seq < other.perform(PING()).seq:
            feed.next(5.0)
        (queued,) = (job for job in gateway.query(JobsListed()) if job["id"] == made)
        assert queued["status"] == "QUEUED"
        other.perform(CANCEL(job_id=made, reason="test"))


def test_the_log_of_a_queued_job_is_followed_until_the_job_ends(daemon_home: Home) -> None:
    with open_gateway(daemon_home) as gateway:
        job_id = gateway.perform(RERUN(job_id=gateway.query(JobsListed(limit=1))[0]["id"])).job_id
        command = [sys.executable, "-m", "casparian", "--home", str(daemon_home.root), "job", "logs", job_id, "-f"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as following:
            assert following.stdout is not None and following.stderr is not None
            said = following.stderr.readline()
            log = daemon_home.logs / "2026-01-31" / f"{job_id}.log"
            log.parent.mkdir(exist_ok=True)
            log.write_text("a line\n")
            line = following.stdout.readline()
            gateway.perform(CANCEL(job_id=job_id, reason="test"))
            code = following.wait(30)
    assert said == f"job {job_id[:8]} is QUEUED; waiting until it runs (Ctrl-C ends)\n"
    assert (line, code) == ("a line\n", 0)


# --- one answer, whoever gives it ---


def something(gateway: Gateway) -> dict[str, Any]:
    """For every parameter without a default."""
    job = gateway.query(JobsListed(limit=1))[0]
    return {
        "prefix": job["id"][:4],
        "job_id": job["id"],
        "job_ids": (job["id"],),
        "parser": "advice",
        "topics": ("advice",),
        "output": "advices",
        "kind": "tag",
        "tag": "advice",
        "path": job["input"],
        "fingerprint": job["fingerprint"] or "0" * 16,
        "filter": FileFilter(),
        "selection": Selection(parser="advice"),
        "limit": 5,
        "root": str(Path(job["input"] or "").parent),
        "roots": (str(Path(job["input"] or "").parent),),
        "ending": f"/{Path(job['input'] or '').name}",
        "source_id": "0" * 16,
        "file_id": gateway.query(FilesListed(FileFilter(), 1))[0]["id"],
        "contract_id": "0" * 16,
        "folder": "",
        "seq": 10,
        "served": 0,
        "planned": 0,
        "began": 0,
        "status": job["status"],
        "type": job["type"],
        "statuses": (job["status"],),
        "table": "cf_parsers",
        "columns_wanted": ("name", "version"),
    }


def answers(gateway: Gateway) -> dict[str, Any]:
    """What each named query answers; the rows of those without an order of their own sorted."""
    values = something(gateway)
    found = {}
    for name, kind in sorted(QUERIES.items()):
        if not kind.__module__.startswith("casparian_protocol."):
            continue
        needed = [
            each.name
            for each in dataclasses.fields(kind)
            if each.default is dataclasses.MISSING and each.default_factory is dataclasses.MISSING
        ]
        given = {name: values[name] for name in needed}
        if "filter" in given and "Violation" in name:
            given["filter"] = ViolationFilter()
        found[name] = sorted(map(str, gateway.query(kind(**given))))
    return found


def test_a_daemon_this_process_and_the_past_answer_every_query_alike(original_home: Path, tmp_path: Path) -> None:
    """Value for value; but for the starts of the sentinels that answer, which are events of their own."""
    home = copy_of(original_home, tmp_path / "home")
    with open_gateway(home) as local:
        (last,) = local.query(LastEventSeq())
        by_process = answers(local)
    with open_gateway(home, as_of=str(last["seq"])) as past:
        assert past.as_of_seq == last["seq"]
        by_past = answers(past)
    with running(home), open_gateway(home) as remote:
        assert remote.is_daemon
        by_daemon = answers(remote)
    starts = {"LastEventSeq", "PlanPeriodAt"}
    assert by_past == by_process
    assert {name: by_daemon[name] for name in by_process.keys() - starts} == {
        name: by_process[name] for name in by_process.keys() - starts
    }


# --- the past ---


def test_the_past_changes_nothing(home: Home) -> None:
    with open_gateway(home, as_of="20") as past:
        for refuse in (lambda: past.perform(QUEUE()), lambda: past.upload(b"x"), past.feed):
            with pytest.raises(UsageProblem, match="is not possible with --as-of"):
                refuse()


def test_the_past_knows_what_was_and_nothing_later(home: Home) -> None:
    with open_gateway(home, as_of="3") as past:
        assert past.query(JobsListed()) == []
    with open_gateway(home, as_of="-0s") as past:
        assert sum(row["jobs"] for row in past.query(JobsByStatus())) == 3
        assert [row["name"] for row in past.query(ParserVersions())] == ["advice"]


@pytest.mark.parametrize(
    ("as_of", "problem"),
    [
        ("yesterday", "--as-of 'yesterday' is not a valid event number or time."),
        ("999999", "there is no event 999999 yet"),
        ("2999-01-01", "--as-of '2999-01-01' is in the future."),
        ("-1", "--as-of '-1' is not a valid event number or time."),
    ],
)
def test_what_is_no_event_and_no_time_is_refused(home: Home, as_of: str, problem: str) -> None:
    with pytest.raises(UsageProblem) as refused, open_gateway(home, as_of=as_of):
        pytest.fail("it was opened")
    assert problem in refused.value.problem


def test_an_empty_log_has_no_past(tmp_path: Path) -> None:
    from casparian_protocol.home import make_home

    make_home(Home(tmp_path / "home"))
    with pytest.raises(UsageProblem, match="is empty"), open_gateway(Home(tmp_path / "home"), as_of="1"):
        pytest.fail("it was opened")
