"""Which files will never run as things stand."""

from __future__ import annotations

from casparian_protocol.wording import Candidate, WaitingFiles, waiting_files

APPROVED = {"orders": "approved"}


def candidate(contracts: dict[str, str], *, version: str = "1.0.0", is_retired: bool = False) -> Candidate:
    return Candidate("fix", version, frozenset({"fix"}), contracts, is_retired)


def reasons(*candidates: Candidate, tag: str = "fix") -> list[str]:
    return [each.reason for each in waiting_files({tag: 5}, candidates)]


def test_files_that_a_parser_takes_do_not_wait() -> None:
    assert reasons(candidate(APPROVED)) == []
    assert reasons(candidate(APPROVED), candidate({"orders": "rejected"}, version="1.1.0")) == []


def test_a_tag_that_no_parser_takes_is_named_with_the_nearest_topic() -> None:
    assert waiting_files({"fxi": 2, "hl7": 1}, [candidate(APPROVED)]) == [
        WaitingFiles("fxi", 2, "", "no parser takes the tag fxi; did you mean fix?"),
        WaitingFiles("hl7", 1, "", "no parser takes the tag hl7"),
    ]


def test_a_parser_that_cannot_run_is_named_with_the_reason() -> None:
    cannot = "fix 1.0.0 cannot run: the contract of orders"
    assert reasons(candidate({"orders": "rejected"})) == [f"{cannot} was rejected"]
    assert reasons(candidate({"orders": "proposed"})) == [f"{cannot} is not approved yet"]
    assert reasons(candidate({"orders": ""})) == [f"{cannot} does not exist"]
    assert reasons(candidate({})) == ["fix 1.0.0 declares no outputs"]
    assert reasons(candidate(APPROVED, is_retired=True)) == ["no parser takes the tag fix"]


def test_the_newest_version_speaks_for_its_parser() -> None:
    found = reasons(candidate({"orders": "rejected"}), candidate({"orders": "proposed"}, version="1.1.0"))

    assert found == ["fix 1.1.0 cannot run: the contract of orders is not approved yet"]
