"""What readers gave out is accounted for by real workers, and every place that tells of a job says so."""

from __future__ import annotations

from tests.end_to_end.world import World

PARSER = """
from casparian_shim import read_csv

name, version, topics, dependencies = "advice", "1.0.0", ["advice"], []
include = ["rates.csv"]
outputs = {"advices": {"columns": [{"name": "id", "type": "int64"}], "quarantine": {"max_pct": 100.0}}}


def parse(path, ctx):
    assert ctx.resource("rates.csv") == b"EUR,1"
    for row in read_csv(path):
        if row["id"] == "skip":
            ctx.skip("told", source_row=row["__cf_row_id"])
        elif row["id"] != "drop":
            yield row
"""


def test_a_dropped_record_fails_its_job_and_the_account_of_the_others_is_kept(world: World) -> None:
    world.write("good.csv", "id\n1\n\nskip\n2\n")
    world.write("bad.csv", 'id\n1\n"x\ny"\n')
    world.write("drops.csv", "id\n1\ndrop\n2\n")
    world.write("mac.csv", "id\r7\r8\r")
    folder = world.inbox.parent / "advice"
    folder.mkdir()
    (folder / "advice.py").write_text(PARSER)
    (folder / "rates.csv").write_text("EUR,1")
    (folder / "notes.txt").write_text("")
    registered = world.ask("parser", "register", folder)
    assert sorted(registered["files"]) == ["advice.py", "rates.csv"]
    assert [each["name"] for each in registered["left_out"]] == ["notes.txt"]
    world.run("contract", "approve", "advice")
    world.scan()

    world.ask("process", "--workers", "2", status=1)

    found = world.sql(
        "select input_file, id, status, error_code, error_message, records_given, records_unaccounted"
        " from cf_processing_queue where job_type = 'PARSE'"
    )
    jobs = {one["input_file"].rpartition("/")[2]: one for one in found}
    assert (jobs["drops.csv"]["status"], jobs["drops.csv"]["error_code"]) == ("FAILED", "UNACCOUNTED")
    assert "1 of 3 records" in jobs["drops.csv"]["error_message"]
    assert "(line 3)" in jobs["drops.csv"]["error_message"]
    given = {name: (job["status"], job["records_given"], job["records_unaccounted"]) for name, job in jobs.items()}
    assert given["good.csv"] == ("COMPLETED", 3, 0)
    assert given["mac.csv"] == ("COMPLETED", 2, 0)
    assert given["bad.csv"] == ("PARTIAL_SUCCESS", 2, 0)
    shown = world.run("job", "show", jobs["good.csv"]["id"]).stdout
    assert "records: 3 returned by the reader, all accounted for" in shown
    assert "bytes: 13 of 13 read, 4 of them skipped" in shown
    assert "declared skips: 1 blank line, 1 header, 1 told" in shown
    assert world.sql("select count(*) as n from advices") == [{"n": 5}]
    assert world.sql("select _cf_raw as raw from quarantine.advices") == [{"raw": '"x\ny"'}]
    world.assert_nothing_runs()
