"""One word for one thing, and one form for times, in what every command prints under --json.

Every command of the tree is called here, or named as one that is tried elsewhere; a new one has to be added to either.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import rich_click as click

from casparian.app import Group
from casparian.main import casparian
from casparian_app.texts import dated
from casparian_protocol.wording import JOB_WORDS, in_columns, in_words
from tests.cli.calls import Answer, Caller

#: Command line → None, or why it is not a document. `{…}` is filled in from the home.
DOCUMENTS = (
    "config check", "config path", "config show", "contract diff advice", "contract list", "contract show advice",
    "doctor", "errors explain timeout", "errors explain",
    "errors files {cause}", "errors list", "errors show {cause}", "files", "job show {job}", "jobs",
    "jobs replay --all-dead", "log seal", "log stats", "log tail", "log verify", "outputs list", "outputs show advices",
    "outputs history advices", "parser health", "parser list", "parser show advice", "preview {input}", "process --dry-run",
    "quarantine list", "quarantine list --uncommitted", "quarantine show advices", "quarantine summary", "rule list",
    "rule test *.txt", "source add {inbox}", "source list", "source rescan inbox", "source remove inbox", "scan {inbox}",
    "sql 'select 1 as a'", "status", "story {job}", "tag {input} advice", "untag {input} advice", "rule add *.x odd",
    "rule remove {rule}", "verify advices", "run {parser} {input}", "parser test {parser}", "job close {failed} --reason known",
    "job retry {failed}",
    "job cancel {failed}", "job rerun {job}", "errors close {cause} --reason known",
    "parser set advice", "parser use advice@1.0.0 --reason back", "parser pause advice", "parser resume advice",
    "parser register {parser}",
    "parser retire advice@1.0.0",
)  # fmt: skip
#: Commands whose documents other tests look at, or that have none.
ELSEWHERE = {
    "config reload": "tests/end_to_end/test_config_reload.py",
    "console": "a screen",
    "contract approve": "tests/cli/conftest.py",
    "contract reject": "tests/cli/test_registry_and_log_commands.py",
    "demo": "tests/cli/test_demo.py",
    "help": "text",
    "init": "tests/cli/test_home_commands.py",
    "job logs": "the parser's own words",
    "log export": "events as they are in the log: a format of its own",
    "log rebuild": "tests/sentinel/projection",
    "log repair": "tests/cli/test_log_proof.py",
    "new parser": "files",
    "schema infer": "tests/cli/test_schema_infer.py",
    "quarantine export": "a file",
    "start": "tests/end_to_end",
    "stop": "tests/end_to_end",
    "support-bundle": "tests/cli/test_support_bundle.py",
    "tui": "a screen",
    "worker": "a process",
}
#: Facts as the log has them stand below these keys: events keep the names of their version for ever.
_FACTS = frozenset({"data", "spec", "context"})
#: `parser_version` is right where an output's `version` stands beside it.
_WRONG_WORDS = (frozenset(JOB_WORDS) - {"parser_version"}) | {
    "plugin",
    "plugin_name",
    "parser_name",
    "owner_parser",
    "column_name",
    "schema_json",
}
_ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z")


def leaves(command: click.Command = casparian, path: str = "") -> Iterator[str]:
    """Every command that can be called, by its words."""
    if not isinstance(command, Group):
        yield path
        return
    if command.invoke_without_command:
        yield path
    context = click.Context(command)
    for name in command.list_commands(context):
        _, found, _ = command.resolve_command(context, [name])
        assert found is not None
        yield from leaves(found, f"{path} {name}".strip())


def documents(answer: Answer) -> list[Any]:
    try:
        return [json.loads(answer.out)]
    except ValueError:
        return [json.loads(line) for line in answer.out.splitlines()]


def entries(document: Any, place: str = "") -> Iterator[tuple[str, str, Any]]:
    """(place, key, value) of every entry of ours; facts of the log are left out."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield place, key, value
            if key not in _FACTS:
                yield from entries(value, f"{place}/{key}")
    elif isinstance(document, list):
        for one in document:
            yield from entries(one, place)


def test_every_command_is_looked_at() -> None:
    called = {leaf for line in DOCUMENTS for leaf in leaves() if f"{line} ".startswith(f"{leaf} ")}
    rest = set(leaves()) - called - set(ELSEWHERE)
    assert sorted(rest) == []


def test_every_document_uses_one_word_for_one_thing_and_iso_times(lived: Caller) -> None:
    jobs = lived("jobs", "--json").document
    failed = next(job for job in jobs if job["status"] == "FAILED")
    good = next(job for job in jobs if job["status"] == "COMPLETED")
    filled = {
        "job": good["id"],
        "failed": failed["id"],
        "cause": failed["fingerprint"],
        "input": good["input"],
        "inbox": good["input"].rpartition("/")[0],
        "parser": good["input"].rpartition("/")[0] + "/../advice.py",
        "rule": "",
    }
    seen_times = 0
    for line in DOCUMENTS:
        words = [word.strip("'") for word in re.findall(r"'[^']*'|\S+", line.format(**filled))]
        answer = lived(*words, "--json")
        assert answer.code in (0, 1), (line, answer)
        found = documents(answer)
        if line.startswith("rule add"):
            filled["rule"] = found[0]["rule_id"]
        for document in found:
            refusal = document.get("error") if isinstance(document, dict) else None
            assert not (isinstance(refusal, dict) and "remedy" in refusal), (line, refusal)
            for place, key, value in entries(document):
                assert key not in _WRONG_WORDS or line.startswith("run "), f"{line}: {place}/{key}"
                is_time = key in ("ts", "at") or key.endswith(("_at", "_seen", "_time"))
                if is_time and value is not None:
                    assert isinstance(value, str) and _ISO.fullmatch(value), f"{line}: {place}/{key}: {value!r}"
                    seen_times += 1
                if type(value) is int:
                    assert value < 10**15, f"{line}: {place}/{key} looks like microseconds: {value}"
    assert seen_times > 50


def test_words_and_columns_translate_into_each_other() -> None:
    row = dict.fromkeys(JOB_WORDS, 1) | {"id": "x"}
    assert in_columns(in_words(row)) == row
    assert len(set(JOB_WORDS.values())) == len(JOB_WORDS)


@pytest.mark.parametrize(
    ("document", "shown"),
    [
        ({"queued_at": 1_764_381_600_000_000}, {"queued_at": "2025-11-29T02:00:00.000000Z"}),
        ({"rows": 1_764_381_600_000_000}, {"rows": 1_764_381_600_000_000}),
        ([{"data": {"not_before": 1_764_381_600_500_000}}], [{"data": {"not_before": "2025-11-29T02:00:00.500000Z"}}]),
        ({"queued_at": None, "ts": 5, "is_at": True}, {"queued_at": None, "ts": 5, "is_at": True}),
    ],
)
def test_a_time_is_known_by_its_name_and_size(document: Any, shown: Any) -> None:
    assert dated(document) == shown
