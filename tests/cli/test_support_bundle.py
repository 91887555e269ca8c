"""A support bundle says what is wrong and carries nothing of the user's: planted secrets and rows are looked for in it."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from casparian_app.support import Reducer, _or_why_not, own_folders, vocabulary
from tests.cli.calls import Caller

PLANTED = (
    "hunter2",
    "sk_live_51Hxyz",
    "Mueller",
    "DE89370400440532013000",
    "4711.99",
    "48151623",
    "anna@example.org",
    "/srv/secret-project/Mueller.csv",
    "boom.txt",
    "no idea what this is",
)


@pytest.fixture(scope="module")
def reducer() -> Reducer:
    return Reducer(vocabulary(own_folders()), b"k" * 32)


def contents(file: Path) -> dict[str, str]:
    with tarfile.open(file) as bundle:
        found = {}
        for member in bundle:
            reader = bundle.extractfile(member)
            assert reader is not None and member.mode == 0o600
            found[member.name.removeprefix("casparian-support/")] = reader.read().decode()
        return found


def plant(home: Path) -> None:
    said = [
        "2026-05-01 10:00:00,123 sentinel INFO Ready: pid 77, event 12, home /srv/secret-project.",
        "2026-05-01 10:00:01,123 sentinel ERROR password=hunter2 token sk_live_51Hxyz for anna@example.org",
        "Traceback (most recent call last):",
        f'  File "{home}/x/casparian_worker/agent.py", line 42, in run',
        "ValueError: could not read 'Mueller;DE89370400440532013000;4711.99' in /srv/secret-project/Mueller.csv row 48151623",
    ]
    (home / "logs" / "daemon.log").write_text("\n".join(said) + "\n")
    with (home / "config.toml").open("a") as config:
        config.write("\n# password: hunter2\n")


def test_a_part_that_fails_in_an_unforeseen_way_leaves_only_its_type(reducer: Reducer) -> None:
    def part() -> None:
        raise ValueError("Mueller;4711.99")

    assert _or_why_not(part, reducer) == {"missing": "internal error: ValueError"}


def test_nothing_of_the_users_is_in_it_and_what_helps_is(lived: Caller, tmp_path: Path) -> None:
    plant(lived.home)
    answer = lived("support-bundle", str(tmp_path / "s.tar.gz"), "--json")
    assert answer.code == 0, answer.err
    assert answer.document["bytes"] == (tmp_path / "s.tar.gz").stat().st_size
    found = contents(tmp_path / "s.tar.gz")
    assert sorted(found) == answer.document["parts"]
    everything = "\n".join(found.values())
    for secret in (*PLANTED, str(lived.home), str(tmp_path), "advice"):
        assert secret not in everything.replace(found["README.txt"], ""), secret
    key = next(path for path in (lived.home / "run" / "keys").iterdir() if path.is_file())
    assert key.read_bytes().hex() not in everything

    log = found["daemon.log"]
    assert "2026-05-01 10:00:00,123 sentinel INFO Ready: pid 77, event 12, home ~" in log
    assert "casparian_worker/agent.py" in log and "line 42" in log
    assert "ValueError: could not read" in log
    events: list[dict[str, Any]] = [json.loads(line) for line in found["events.jsonl"].splitlines()]
    failed = next(event for event in events if event["type"] == "JobFailed")
    assert failed["data"]["error"]["code"] == "INVALID_DATA"
    assert failed["data"]["error"]["message"].startswith("~")
    assert json.loads(found["event-counts.json"])["by_type"]["JobQueued"] == 3
    assert json.loads(found["settings.json"])["retry.max_retries"] == {"value": 3, "from": "built-in"}
    assert {each["check"] for each in json.loads(found["doctor.json"])} >= {"disk sync", "clock"}
    assert json.loads(found["files.json"])["outputs"]["files"] >= 1


def test_equal_things_have_equal_tokens_within_one_bundle_only(reducer: Reducer) -> None:
    other = Reducer(vocabulary(own_folders()), b"x" * 32)
    assert reducer.text("read /data/a.csv") == f"read {reducer.token('/data/a.csv')}"
    assert reducer.text("Mueller Mueller").split()[0] == reducer.token("Mueller")
    assert reducer.token("Mueller") != other.token("Mueller")


@pytest.mark.parametrize(
    "text", ["4711.99", "row 12345", "in 4711", "Mueller_GmbH", "k\u00f6nig", "\ue0000\ue000", "a=b"]
)
def test_values_do_not_pass(reducer: Reducer, text: str) -> None:
    assert text not in reducer.text(f"worker exited with 3: {text}")


def test_a_setting_that_is_no_setting_is_not_quoted(lived: Caller, tmp_path: Path) -> None:
    (lived.home / "config.toml").write_text('[retry]\nmax_retries = "hunter2"\n')
    assert lived("support-bundle", str(tmp_path / "s.tar.gz")).code == 0
    found = contents(tmp_path / "s.tar.gz")
    assert "hunter2" not in "\n".join(found.values())
    assert "max" in found["settings.json"]


def test_a_damaged_log_hinders_no_other_part(lived: Caller, tmp_path: Path) -> None:
    segment = next((lived.home / "log").glob("*.caslog"))
    content = bytearray(segment.read_bytes())
    content[600] ^= 0xFF
    segment.write_bytes(content)
    assert lived("support-bundle", str(tmp_path / "s.tar.gz")).code == 0
    found = contents(tmp_path / "s.tar.gz")
    assert "missing" in json.loads(found["event-counts.json"])
    assert json.loads(found["versions.json"])["casparian"]


def test_a_file_that_is_there_is_not_replaced(lived: Caller, tmp_path: Path) -> None:
    (tmp_path / "s.tar.gz").write_text("mine")
    answer = lived("support-bundle", str(tmp_path / "s.tar.gz"))
    assert answer.code == 2
    assert (tmp_path / "s.tar.gz").read_text() == "mine"
