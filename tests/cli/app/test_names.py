"""Names that people type: what was meant, what is unknown, and ids cut short."""

from __future__ import annotations

import os
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_app.files import ScanOptions, scan_roots
from casparian_app.gateway import Gateway
from casparian_app.names import (
    Kind,
    UnknownJob,
    UnknownName,
    as_indexed,
    as_pattern,
    exact_pattern,
    find_fingerprint,
    find_job,
    find_job_or_file,
    hint,
    is_job_id,
    known,
    nearest,
    need,
    unknown,
)
from casparian_app.texts import UsageProblem
from casparian_protocol.contract import ViolationCode
from casparian_protocol.queries.jobs import JobsListed
from casparian_protocol.queries.outputs import CausesListed
from casparian_protocol.wire.operations.jobs import RERUN
from casparian_protocol.wire.operations.registry import ADD_SOURCE
from casparian_shim.errors import ErrorCode

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=30)


@given(WORDS, st.lists(WORDS, max_size=8))
def test_a_known_name_is_nearest_to_itself_in_any_case(name: str, others: list[str]) -> None:
    found = nearest(name, [name, *others])
    assert found is not None and found.casefold() == name.casefold()


@given(WORDS, st.lists(WORDS, max_size=8))
def test_what_was_perhaps_meant_is_always_a_known_name(name: str, known_names: list[str]) -> None:
    found = nearest(name, known_names)
    assert found is None or found in known_names
    assert hint(name, known_names) == (f"Did you mean {found}? " if found is not None else "")


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("fix_parsr", "fix_parser"), ("FIX_PARSER", "fix_parser"), ("advise", "advice"), ("zzz", None), ("", None)],
)
def test_a_slip_of_the_finger_is_understood(typed: str, meant: str | None) -> None:
    assert nearest(typed, ["fix_parser", "advice"]) == meant


def test_a_name_that_is_very_long_or_hostile_is_shown_short_and_harmless() -> None:
    refused = UnknownName("parser", "\x1b[31m" + "x" * 200, [], "casparian parser list")
    assert "\x1b" not in refused.problem
    assert len(refused.problem) < 130 and "…" in refused.problem
    assert refused.remedy == "`casparian parser list` lists them."


KINDS: dict[Kind, str] = {
    "parser": "advice",
    "output": "advices",
    "tag": "advice",
    "contract": "advice@1.0.0/advices",
    "error code": "INVALID_DATA",
    "violation": "type_mismatch",
}


@pytest.mark.parametrize(("kind", "name"), KINDS.items())
def test_every_kind_knows_its_names_and_refuses_others_with_a_hint(gateway: Gateway, kind: Kind, name: str) -> None:
    names = known(gateway, kind)
    assert name in names and names == sorted(names)
    need(gateway, kind, name)
    need(gateway, kind, None)
    with pytest.raises(UnknownName) as refused:
        need(gateway, kind, name[:-1] + "_")
    assert f"There is no {kind} {name[:-1]}_." == refused.value.problem
    assert refused.value.remedy is not None and refused.value.remedy.startswith(f"Did you mean {name}?")


def test_codes_are_known_without_a_home_that_has_seen_them(gateway: Gateway) -> None:
    assert known(gateway, "error code") == sorted(code.value for code in ErrorCode)
    assert known(gateway, "violation") == sorted(code.value for code in ViolationCode)


def test_an_unknown_tag_names_both_lists_of_tags(gateway: Gateway) -> None:
    refused = unknown(gateway, "tag", "advise")
    assert refused.remedy == (
        "Did you mean advice? `casparian files` shows the tags of files, `casparian parser list` those that parsers take."
    )


def test_a_source_may_be_named_by_the_beginning_of_its_id(own: Gateway, inbox: object) -> None:
    added = own.perform(ADD_SOURCE(name="inbox", path=str(inbox), poll_seconds=0, options={}))
    need(own, "source", "inbox")
    need(own, "source", added.source_id[:4])
    for unknown_one in ("inbix", added.source_id[:3]):
        with pytest.raises(UnknownName):
            need(own, "source", unknown_one)


# --- ids ---


@given(st.text("0123456789abcdef", min_size=4, max_size=16))
def test_four_to_sixteen_hex_digits_may_be_a_job(text: str) -> None:
    assert is_job_id(text)


@given(st.text(max_size=20).filter(lambda text: not all(each in "0123456789abcdef" for each in text)))
def test_nothing_else_may_be_a_job(text: str) -> None:
    assert not is_job_id(text)


@pytest.mark.parametrize("text", ["abc", "0" * 17, "3f2a\n", "3F2A", ""])
def test_ids_that_cannot_be_are_refused_before_anybody_is_asked(gateway: Gateway, text: str) -> None:
    assert not is_job_id(text)
    with pytest.raises(UsageProblem) as refused:
        find_job(gateway, text)
    assert refused.value.problem == f"{text!r} is not a valid job id."


def test_a_job_is_found_by_every_beginning_of_its_id_that_is_its_alone(gateway: Gateway) -> None:
    ids = [row["id"] for row in gateway.query(JobsListed())]
    for job_id in ids:
        for digits in range(4, 17):
            prefix = job_id[:digits]
            if sum(other.startswith(prefix) for other in ids) == 1:
                assert find_job(gateway, prefix)["id"] == job_id


def test_a_job_is_found_by_its_file_or_the_end_of_its_path(gateway: Gateway, inbox: Path) -> None:
    for job in gateway.query(JobsListed()):
        path = str(job["input"])
        assert inbox.name == Path(path).parent.name
        for named in (path, Path(path).name, f"{inbox.name}/{Path(path).name}", f"./{Path(path).name}"):
            found, jobs = find_job_or_file(gateway, named)
            assert (found["id"], jobs) == (job["id"], 1)
        assert find_job_or_file(gateway, job["id"][:10])[0]["id"] == job["id"]


def test_of_a_file_with_several_jobs_the_newest_is_meant(own: Gateway) -> None:
    (old,) = own.query(JobsListed(file="GOOD"))
    new = own.perform(RERUN(job_id=old["id"])).job_id
    found, jobs = find_job_or_file(own, "good.txt")
    assert (found["id"], jobs) == (new, 2)


NAMES = st.text(st.sampled_from("ab/*?[]\\\\!^-' ") | st.characters(codec="utf-8"), max_size=12)


@given(NAMES, NAMES)
def test_the_exact_pattern_of_a_path_matches_that_path_alone(name: str, other: str) -> None:
    with duckdb.connect() as tables:
        matches = "select $1 ~~~ $3, $2 ~~~ $3"
        found = tables.execute(matches, [f"/{name}", f"/{other}", exact_pattern(f"/{name}")]).fetchone()
    assert found == (True, f"/{other}".endswith(f"/{name}"))


def test_a_name_that_is_not_utf8_is_the_one_of_the_file_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert as_indexed("\udcff.txt") == r"\xff.txt"
    assert as_indexed(r"\xff.txt") == r"\xff.txt"  # copied from a list
    (tmp_path / r"\xff.txt").touch()
    assert as_indexed(r"\xff.txt") == r"\x5cxff.txt"  # this file's name
    assert as_pattern("\udcff") == r"\xff"
    assert as_pattern("*\udcff*") == r"*\\xff*"


def test_a_job_is_found_by_a_file_whose_name_is_not_utf8(own: Gateway, inbox: Path, tmp_path: Path) -> None:
    file = os.fsencode(tmp_path) + b"/\xff.txt"
    with open(file, "wb") as copy:
        copy.write((inbox / "good.txt").read_bytes())
    with pytest.raises(UnknownJob, match=r"is neither a job's id nor a file with a job\."):
        find_job_or_file(own, os.fsdecode(file))
    scan_roots(own, [str(tmp_path / os.fsdecode(b"\xff.txt"))], ScanOptions(tags=["odd"], wanted_tags={"odd"}))
    (job,) = own.query(JobsListed(file="good.txt"))
    for named in (os.fsdecode(file), "\udcff.txt", r"\xff.txt"):
        assert find_job_or_file(own, named)[0]["id"] == job["id"]


def test_a_file_without_a_job_and_what_several_files_end_with_are_refused(gateway: Gateway) -> None:
    with pytest.raises(UnknownJob, match=r"^'nothing\.txt' is neither a job's id nor a file with a job\."):
        find_job_or_file(gateway, "nothing.txt")
    with pytest.raises(UnknownJob, match=r"^There is no job abcd1234\."):
        find_job_or_file(gateway, "abcd1234")
    assert {Path(str(job["input"])).name for job in gateway.query(JobsListed(file="[gp]*.TXT"))} == {
        "good.txt",
        "partial.txt",
    }
    assert len(gateway.query(JobsListed(file="inbox/*"))) == 3
    assert gateway.query(JobsListed(file="*.log")) == gateway.query(JobsListed(file="box/*")) == []


def test_a_job_that_is_not_there_is_refused_with_a_near_id(gateway: Gateway) -> None:
    (job,) = gateway.query(JobsListed(limit=1))
    typo = job["id"][:7] + ("0" if job["id"][7] != "0" else "1")
    with pytest.raises(UnknownJob) as refused:
        find_job(gateway, typo)
    assert refused.value.problem == f"There is no job {typo}."
    assert refused.value.remedy is not None and "casparian jobs" in refused.value.remedy


def test_a_fingerprint_is_found_with_and_without_its_mark_in_any_case(gateway: Gateway) -> None:
    (cause,) = gateway.query(CausesListed())
    whole = cause["fingerprint"]
    for text in (whole, whole[:8], f"ERR-{whole}", f"err-{whole[:10]}", whole.upper()):
        assert find_fingerprint(gateway, text) == whole


@pytest.mark.parametrize("text", ["ERR-", "1234567", "not-hex-at-all", "0" * 17])
def test_a_fingerprint_that_cannot_be_is_refused(gateway: Gateway, text: str) -> None:
    with pytest.raises(UsageProblem, match="is not a valid fingerprint"):
        find_fingerprint(gateway, text)


def test_a_fingerprint_that_nobody_has_is_refused(gateway: Gateway) -> None:
    with pytest.raises(UsageProblem, match="No failure has the fingerprint 00000000"):
        find_fingerprint(gateway, "00000000")
