"""Named queries: each has an answer, rows of the type it promises, and the same rows here and over the endpoint."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin, get_type_hints

import msgpack
import pytest
from pydantic import ConfigDict, create_model

from casparian_protocol.home import Home
from casparian_protocol.queries import (
    QUERIES,
    Query,
    files,
    jobs,
    name_of,
    outputs,
    parameters_of,
    query_of,
    registry,
    selections,
)
from casparian_sentinel.projection import projector
from casparian_sentinel.projection.queries import ANSWERS
from tests.sentinel.projection.lives import new_home, write_history
from tests.sentinel.projection.processes import Asker, running

_JOB = f"{5:016x}"
_CAUSE = "f" * 16
_HERE = selections.Selection(parser="advice", tag="advice", path="/data/")

#: Each query at least once, asked so that the history of these tests has something to answer it with.
ASKED: list[Query[Any]] = [
    jobs.JobsListed(limit=1000),
    jobs.JobsListed(statuses=("FAILED", "DEAD_LETTER"), parser="advice", topic="advice", job_type="PARSE", hides_closed=True),
    jobs.JobsListed(file="DATA/"),
    jobs.JobsListed(file="FILE[0-9]*"),
    jobs.FilesWithJobs("/data/file3", "/file3"),
    jobs.JobsWithPrefix("00000"),
    jobs.JobsWithPrefix(_JOB),
    jobs.RecentJobIds(),
    jobs.JobFiles(_JOB),
    jobs.JobFiles(_JOB, limit=1),
    jobs.JobCommits(_JOB),
    jobs.JobViolations(_JOB),
    jobs.JobHistory(_JOB),
    jobs.JobHistory(_JOB, limit=2),
    jobs.JobsByStatus(),
    jobs.OpenFailuresByStatus(),
    jobs.JobGroups(),
    jobs.JobsOfGroup("COMPLETED", "PARSE", "advice", "1.0.0"),
    jobs.JobsOfGroup("FAILED", "PARSE", "advice", "1.0.0", cause=_CAUSE, limit=2),
    jobs.JobsInQueue(("QUEUED", "RETRY_WAIT")),
    jobs.JobsInQueue(("QUEUED",), "PARSE", "advice", "1.0.0", topic="advice", after_seq=5, until_seq=10_000, limit=2),
    jobs.JobsById((_JOB, "nobody")),
    jobs.EndedJobs(limit=500),
    jobs.JobsMatching(("COMPLETED", "FAILED"), text="DATA", type="PARSE", parser="advice"),
    jobs.JobsMatching(("DEAD_LETTER",), limit=5),
    jobs.EndedTotals(),
    selections.OpenJobsOf(_HERE, with_scans=True),
    selections.OpenJobsOf(),
    selections.OpenScans(),
    selections.PlanPeriodAt(10_000),
    selections.EndedJobsOf(_HERE, 0, 0, 100),
    selections.FailuresOf(_HERE, 0, 0, 10),
    selections.FailureCountOf(selections.Selection(), 0, 0),
    selections.QueuedCountOf(_HERE, 0),
    jobs.JobStory(_JOB),
    files.FilesListed(files.FileFilter(), 100),
    files.FilesListed(
        files.FileFilter(
            tag="advice", source="in", like="%file%", under="/data/", contains="FILE", rule_id="r1", status="processed"
        ),
        100,
    ),
    files.FileIds(files.FileFilter(is_untagged=True, is_unclaimed=True)),
    files.FileIds(files.FileFilter(root="/data/", starts_with="file", ends_with="1")),
    files.FilesNamed("/data"),
    files.FilePage(files.FileFilter(), 5),
    files.FilePage(files.FileFilter(tag="advice"), 5, "before", "/data/file9", "file9", is_descending=True),
    files.FileTotals(files.FileFilter(), "/data/file5", "file5"),
    files.FilePaths(files.FileFilter(), 5, "/data/file5", "file5"),
    files.Folders(files.FileFilter(), ""),
    files.AboutFile("file1"),
    files.JobsOfFile("/data/file1"),
    files.InputsOfParser("advice", ("advice",)),
    files.RecentFiles(),
    files.FilesBySource(),
    files.FilesByLabel(),
    files.FileSums(),
    files.FilesByKind(("/data", "/nowhere")),
    files.KnownFiles("/data"),
    files.KnownFiles("/data", is_gone=False, after="/data/file5", limit=3),
    files.AllFiles(),
    files.AllFiles(unhashed_tag="advice"),
    files.FileCandidates(),
    files.FileCandidates("src1"),
    registry.SourcesListed(),
    registry.Sources(),
    registry.Sources("in"),
    registry.SourceAddedEvents("src1"),
    registry.RulesListed(),
    registry.EnabledRules(),
    registry.TakenTags(),
    registry.TakenTags(parser="advice", with_retired=True),
    registry.FilesWithTag("advice"),
    registry.KnownBelow("/data"),
    selections.UnclaimedTags(),
    selections.UntaggedCount(),
    registry.WaitingTags(),
    *(registry.KnownNames(kind) for kind in ("parser", "source", "rule", "output", "tag", "contract")),
    outputs.OutputsListed(),
    outputs.OutputsListed("advice"),
    outputs.OutputFiles("advice"),
    outputs.OutputHistory("advice", "file3"),
    outputs.LiveJobsOfOutput("advice"),
    outputs.OriginOfRow(_JOB, "advice"),
    outputs.ViolationSums(outputs.ViolationFilter()),
    outputs.ViolationSums(outputs.ViolationFilter("advice", "advice", "null", with_superseded=True)),
    outputs.ViolationsListed(outputs.ViolationFilter(), 10),
    outputs.ViolationsOfJobs(),
    outputs.ViolationsOfJobs(("0000",)),
    outputs.TableColumns(),
    outputs.TableRows("cf_jobs", ("id", "status")),
    outputs.TableRows("scout_files", ()),
    outputs.CausesListed(),
    outputs.CausesListed("advice", "INVALID_DATA", with_closed=True),
    outputs.CauseOf(_CAUSE),
    outputs.JobsOfCause(_CAUSE),
    outputs.FilesOfCause(_CAUSE, 10),
    outputs.FingerprintsWithPrefix("ffff"),
    outputs.OtherOccurrences(_CAUSE, _JOB),
    registry.ParserVersions(),
    registry.ParserVersions("advice"),
    registry.ArtifactOf("advice"),
    registry.ArtifactOf(artifact_hash="a" * 64),
    registry.ContractsListed(),
    registry.ContractsListed("APPROVED", "advice"),
    registry.ContractOfOutput("advice"),
    registry.ContractBefore("c1"),
    registry.StoredParameters(),
    registry.StoredParameters("advice"),
    registry.JoinedWorkers(),
    registry.PausedParsers(),
    registry.LastEventSeq(),
    registry.PoisonCount(),
]  # fmt: skip
#: Of these the history holds nothing.
_WITHOUT_ROWS = {"JoinedWorkers", "OpenScans", "WaitingTags"}
_NAMES = [f"{at}-{name_of(query)}" for at, query in enumerate(ASKED)]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    made = new_home(tmp_path_factory.mktemp("queries"))
    end = write_history(made, jobs=200, seed=6)
    with projector.open_projection(made) as projection:
        projector.catch_up(projection, made, end, 5000)
    return made


@pytest.fixture(scope="module")
def here(home: Home) -> dict[str, list[dict[str, Any]]]:
    """The rows of each query, answered in this process."""
    with projector.open_projection(home) as projection:
        return {name: projection.ask(query) for name, query in zip(_NAMES, ASKED, strict=True)}


@pytest.fixture(scope="module")
def asker(home: Home, here: object) -> Iterator[Asker]:
    """Asks a projector in its own process, once this one has closed its tables."""
    with running(home) as running_projector, Asker(home) as asking:
        end = write_end(home)
        running_projector.tell(*end)
        running_projector.hear("ready")
        yield asking


def write_end(home: Home) -> tuple[Any, int]:
    with projector.open_projection(home) as projection:
        assert projection.head is not None
        return projection.head.position, projection.head.seq


def test_every_query_has_an_answer_and_is_asked_here() -> None:
    assert {query.__name__ for query in ANSWERS} == set(QUERIES) == {name_of(query) for query in ASKED}


@pytest.mark.parametrize(("name", "query"), list(zip(_NAMES, ASKED, strict=True)), ids=_NAMES)
def test_rows_are_of_the_type_that_a_query_promises(
    here: dict[str, list[dict[str, Any]]], name: str, query: Query[Any]
) -> None:
    rows = here[name]
    if isinstance(query, outputs.TableRows):  # of any table: rows are maps
        assert {tuple(row) for row in rows} == {query.columns_wanted or ("nothing",)}
        return
    assert all(list(row) == query.columns() for row in rows)
    columns: dict[str, Any] = {
        f"row_{column}": (kind, ...) for column, kind in get_type_hints(query.row_type()).items()
    }
    promised = create_model("Promised", __config__=ConfigDict(extra="forbid", strict=True), **columns)
    for row in rows:
        promised.model_validate({f"row_{column}": value for column, value in row.items()})


def test_the_history_of_these_tests_answers_nearly_every_query_with_rows(here: dict[str, list[dict[str, Any]]]) -> None:
    answered = {name_of(query) for name, query in zip(_NAMES, ASKED, strict=True) if here[name]}
    assert set(QUERIES) - answered == _WITHOUT_ROWS


@pytest.mark.parametrize(("name", "query"), list(zip(_NAMES, ASKED, strict=True)), ids=_NAMES)
def test_local_and_daemon_answers_are_equal_value_for_value(
    here: dict[str, list[dict[str, Any]]], asker: Asker, name: str, query: Query[Any]
) -> None:
    assert asker.found(query) == here[name]


def test_a_query_travels_as_its_name_and_parameters() -> None:
    for query in ASKED:
        assert query_of(name_of(query), msgpack.unpackb(msgpack.packb(parameters_of(query)))) == query


def test_every_number_that_a_query_takes_is_bounded() -> None:
    """A number beyond 64 bits, or a negative limit, is refused by the query and not by the engine."""
    unbounded = [
        (name, field)
        for name, query in QUERIES.items()
        for field, kind in get_type_hints(query, include_extras=True).items()
        if kind is int or (get_origin(kind) is not Annotated and int in get_args(kind))
    ]
    assert unbounded == []


@pytest.mark.parametrize(
    ("name", "parameters", "reason"),
    [
        ("DropTables", {}, "DropTables is not a query."),
        ("JobsListed", {"sql": "select 1"}, "JobsListed has no parameter sql."),
        ("JobsListed", {"limit": "many"}, "JobsListed: limit: Input should be a valid integer"),
        ("JobFiles", {}, "JobFiles: job_id: Field required."),
        ("KnownNames", {"kind": "x"}, "KnownNames: kind: Input should be 'parser', 'source'"),
        ("FilePage", {"filter": {}, "limit": 1, "where": "x"}, "FilePage: where: Input should be 'after', 'from'"),
        ("JobsListed", {"limit": -1}, "JobsListed: limit: Input should be greater than or equal to 0."),
        ("JobHistory", {"job_id": "x", "limit": 2**63}, "Not a question: params.limit: a number does not fit 64 bits."),
        ("PlanPeriodAt", {"seq": 2**63}, "Not a question: params.seq: a number does not fit 64 bits."),
        ("TableRows", {"table": "x", "columns_wanted": []}, "TableRows: there is no such table or column."),
        ("TableRows", {"table": "cf_jobs", "columns_wanted": ["x"]}, "TableRows: there is no such table or column."),
    ],
)
def test_a_question_that_is_no_query_is_refused_in_words(
    asker: Asker, name: str, parameters: dict[str, Any], reason: str
) -> None:
    asker.send(b"query", msgpack.packb({"id": "1", "name": name, "params": parameters}))
    assert asker.problem().startswith(reason)


def test_groups_count_every_job_once_and_their_pages_bring_each_member_once(
    home: Home, asker: Asker, tmp_path: Path
) -> None:
    counted = 0
    for group in asker.found(jobs.JobGroups()):
        key = {name: group[name] for name in ("status", "type", "parser", "version", "cause", "input", "is_closed")}
        seen: list[str] = []
        before_at, before_id = None, ""
        while page := asker.found(jobs.JobsOfGroup(**key, before_at=before_at, before_id=before_id, limit=7)):
            seen += [row["id"] for row in page]
            last = page[-1]
            before_at = last["ended_at"] or last["started_at"] or last["queued_at"]
            before_id = last["id"]
        assert len(seen) == len(set(seen)) == group["jobs"]
        counted += group["jobs"]
    assert counted == sum(row["jobs"] for row in asker.found(jobs.JobsByStatus())) == 200


def test_pages_of_the_queue_bring_each_open_job_once_in_the_order_of_queueing(asker: Asker) -> None:
    states = ("QUEUED", "LEASED", "RUNNING", "COMMITTED", "RETRY_WAIT")
    every = asker.found(jobs.JobsInQueue(states))
    last = every[len(every) // 2]["queued_seq"]
    pages: list[dict[str, Any]] = []
    after = 0
    while page := asker.found(jobs.JobsInQueue(states, after_seq=after, until_seq=last, limit=2)):
        pages += page
        after = page[-1]["queued_seq"]

    assert pages == every[: len(every) // 2 + 1]
    assert [row["queued_seq"] for row in every] == sorted({row["queued_seq"] for row in every})
    counts = {row["status"]: row["jobs"] for row in asker.found(jobs.JobsByStatus())}
    assert len(every) == sum(counts.get(state, 0) for state in states) > 3


#: Where people's own SQL is composed: the SQL command and screen, samples of published outputs; the demo types commands.
_MAY_HAVE_SQL = (
    "casparian_app/sql.py",
    "screens/inspect/",
    "casparian/demo/",
)
_SELECT = re.compile(r"\bselect\b.+\bfrom\b", re.DOTALL | re.IGNORECASE)


def _texts(tree: ast.AST) -> Iterator[str]:
    """Text constants that are not docstrings; those of an f-string together."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield " ".join(str(part.value) if isinstance(part, ast.Constant) else "x" for part in node.values)


def test_front_ends_hold_no_sql_of_their_own() -> None:
    top = Path(__file__).parents[3]
    found = [
        f"{file.relative_to(top)}: {text[:80]!r}"
        for folder in ("cli", "console", "worker", "protocol")
        for file in sorted((top / folder).rglob("*.py"))
        if not any(place in str(file) for place in _MAY_HAVE_SQL)
        for text in _texts(ast.parse(file.read_text(encoding="utf-8")))
        if _SELECT.search(text) and "casparian sql " not in text
    ]
    assert found == []
