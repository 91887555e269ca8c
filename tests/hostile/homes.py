"""A home with two outputs, quarantined rows and several files, and ways to damage it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from casparian_sentinel.log.reader import LogReader
from casparian_sentinel.log.recovery import examine
from casparian_sentinel.ports import RealFs
from tests.end_to_end.world import World, wait_for
from tests.homes import copy_home

PARSER = """
name, version, topics = "visits", "1.0.0", ["visits"]
outputs = {
    "visits": {"columns": [{"name": "patient", "type": "string", "nullable": False}, {"name": "days", "type": "int64"}]},
    "wards": {"columns": [{"name": "ward", "type": "string", "nullable": False}]},
}


def parse(path, ctx):
    for number, line in enumerate(ctx.file.read().decode().splitlines(), 1):
        patient, ward, days = line.split(";")
        yield "visits", {"patient": patient, "days": days, "__cf_row_id": number}
        yield "wards", {"ward": ward, "__cf_row_id": number}
"""
FILES, ROWS = 4, 10
#: Of each file one row is quarantined.
VISITS, WARDS = FILES * (ROWS - 1), FILES * ROWS


@dataclass
class Home(World):
    #: Where the files come from, when this is a copy of the home that was filled.
    source: Path | None = None

    @property
    def inbox(self) -> Path:
        return self.source or self.root / "inbox"

    def copy(self, root: Path) -> Home:
        """The same home elsewhere, with the same files."""
        copy_home(self.home, root / "home")
        shutil.copy(self.root / "visits.py", root)
        return Home(root, self.inbox)

    def add_file(self) -> Path:
        """One more file, of a folder of its own, scanned."""
        folder = self.root / "later"
        folder.mkdir()
        path = folder / "later.txt"
        path.write_text("P9-0;W9;3\n")
        self.run("scan", folder, "--tag", "visits")
        return folder

    def fill(self) -> None:
        """Everything registered, approved, scanned and processed, and nothing running."""
        self.run("init")
        path = self.root / "visits.py"
        path.write_text(PARSER)
        self.run("parser", "register", path)
        self.run("contract", "approve", "visits")
        for number in range(FILES):
            self.write(
                f"{number}.txt",
                "".join(f"P{number}-{row};W{row % 3};{'soon' if row == 5 else row}\n" for row in range(ROWS)),
            )
        self.scan()
        self.run("process")

    def scan(self) -> None:
        self.run("scan", self.inbox, "--tag", "visits")

    def process_again(self) -> None:
        """As the how-to says after a repair: scan what was scanned, and run what is to be run."""
        self.scan()
        self.run("process")

    def assert_every_row_once(self) -> None:
        [counts] = self.sql(
            "select (select count(*) from visits) as visits, (select count(distinct patient) from visits) as patients,"
            " (select count(*) from wards) as wards, (select count(*) from quarantine.visits) as quarantined,"
            " (select count(distinct _cf_source_hash) from wards) as files,"
            " (select count(*) from cf_processing_queue where job_type = 'PARSE') as jobs,"
            " (select count(*) from cf_processing_queue where job_type = 'PARSE' and status = 'PARTIAL_SUCCESS') as ended,"
            " (select count(*) from cf_output_files where is_damaged) as damaged"
        )  # one query, because each has a process of its own
        assert counts == {
            "visits": VISITS, "patients": VISITS, "wards": WARDS, "quarantined": FILES, "files": FILES,
            "jobs": FILES, "ended": FILES, "damaged": 0,
        }  # fmt: skip
        self.run("log", "verify")

    def parts(self) -> set[str]:
        trees = (self.home / "outputs", self.home / "quarantine")
        found = [path for tree in trees for path in tree.glob("[a-z]*/v*/part-*.parquet")]
        return {str(path.relative_to(self.home)) for path in found}

    def assert_only_named_parts_lie_in_the_outputs(self) -> None:
        """A daemon moves what no commit names aside, and keeps it."""
        known = {row["path"] for row in self.sql("select path from cf_output_files")}
        before = len(self.parts() | self.aside())
        self.serve(0)
        try:
            wait_for(lambda: self.parts() == known, "orphans are moved aside")
        finally:
            self.run("stop")
        assert len(self.parts() | self.aside()) == before

    def aside(self) -> set[str]:
        root = self.home / "quarantine" / "_orphans"
        return {str(path.relative_to(root)) for path in root.rglob("part-*.parquet*")}

    def kill_daemon(self) -> None:
        """With all its processes, at once."""
        self.kill([process.pid for process in self.processes()])
        self.assert_nothing_runs()

    @property
    def log(self) -> Path:
        return self.home / "log"

    def segment(self) -> Path:
        return max(self.log.glob("*.caslog"))

    def batches_with(self, kind: str) -> list[tuple[int, int]]:
        """(offset, end) of each batch of the last segment that holds an event of that type."""
        found = examine(RealFs(), self.log)
        assert found is not None
        with LogReader(RealFs(), self.log) as reader:
            batches = list(reader.batches(reader.segment_start(int(self.segment().stem)), found.end.position))
        return [
            (batch.start.offset, batch.head.position.offset)
            for batch in batches
            if any(event.type == kind for event in batch.events())
        ]

    def flip(self, offset: int) -> None:
        content = bytearray(self.segment().read_bytes())
        content[offset] ^= 1
        self.segment().write_bytes(content)
