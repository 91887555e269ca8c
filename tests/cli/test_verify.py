"""`verify`: committed jobs are run again through real guests and compared with what they published."""

import os
from pathlib import Path

import duckdb
import pyarrow.parquet as pq
import pytest

from tests.cli.calls import Caller
from tests.cli.test_story_and_as_of import job_of


def published(call: Caller, job_id: str) -> Path:
    (path,) = (call.home / "outputs" / "advices").glob(f"v*/part-{job_id}-*.parquet")
    return path


def test_a_job_makes_the_same_bytes_again_quarantine_included(lived: Caller) -> None:
    job = job_of(lived, "partial.txt")
    answer = lived("verify", job["id"][:8], "--json")
    (found,) = answer.document

    assert (answer.code, found["is_reproduced"], found["error"]) == (0, True, "")
    assert sorted((Path(file["path"]).parts[0], file["verdict"]) for file in found["files"]) == [
        ("outputs", "identical"),
        ("quarantine", "identical"),
    ]
    assert list((lived.home / ".staging").iterdir()) == []


def test_an_output_stands_for_all_its_jobs_or_a_sample(lived: Caller) -> None:
    assert len(lived("verify", "advices", "--json").document) == 2
    assert len(lived("verify", "advices", "--sample", "1", "--json").document) == 1
    assert lived("verify", "nothing_here", "--sample", "1").code == 2


def test_an_altered_published_file_is_found(lived: Caller) -> None:
    job = job_of(lived, "good.txt")
    path = published(lived, job["id"])
    os.chmod(path, 0o600)
    path.write_bytes(path.read_bytes() + b"x")
    answer = lived("verify", job["id"])

    assert answer.code == 1
    assert f"altered  outputs/advices/v1/{path.name}: its digest is not the one that was committed" in answer.out


def test_other_rows_are_named_and_other_bytes_of_the_same_rows_pass(lived: Caller) -> None:
    """As if an older writer had published: the log is told the digest of what is put in the file's place."""
    from blake3 import blake3

    job = job_of(lived, "good.txt")
    path = published(lived, job["id"])
    table = pq.ParquetFile(path).read()

    def publish(rows: object) -> None:
        path.unlink()
        pq.write_table(rows, path, compression="none")
        with duckdb.connect(str(lived.home / "state.duckdb")) as db:
            digest = blake3(path.read_bytes()).hexdigest()
            db.execute("update cf_output_parts set digest = ? where path like ?", [digest, f"%{path.name}"])

    lived("jobs")
    publish(table)
    assert lived("verify", job["id"], "--json").document[0]["files"][0]["verdict"] == "same_rows"

    ids = table["id"].to_pylist()
    ids[17] = "forged"
    publish(table.set_column(0, table.schema.field("id"), [ids]))
    answer = lived("verify", job["id"])
    assert answer.code == 1
    assert "different" in answer.out and "row 17: id was 'forged', is now 'A17'" in answer.out

    publish(table.slice(0, 20))
    assert "20 rows were published, the job now creates 30 or more" in lived("verify", job["id"]).out


@pytest.mark.parametrize(("change", "code"), [("edit", "INPUT_CHANGED"), ("delete", "FILE_NOT_FOUND")])
def test_without_its_input_a_job_cannot_be_run_again(
    lived: Caller, original_home: Path, change: str, code: str
) -> None:
    job = job_of(lived, "good.txt")
    source = Path(job["input"])
    content = source.read_bytes()
    try:
        source.write_bytes(content + b"A;1\n") if change == "edit" else source.unlink()
        answer = lived("verify", job["id"])
    finally:
        source.write_bytes(content)

    assert answer.code == 1
    assert f"it could not be run again: {code}" in answer.out


def test_what_published_nothing_is_not_verified(lived: Caller) -> None:
    assert lived("verify", job_of(lived, "boom.txt")["id"]).code == 2
