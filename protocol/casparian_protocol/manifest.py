"""What a finished attempt offers for commit, and what its numbers must add up to.

The worker fills a `Manifest`, the sentinel checks it (`sentinel/casparian_sentinel/commit`), the log keeps it. A
staged file's name says what it is; its place in `outputs/` or `quarantine/` is derived here, by nobody else.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from casparian_protocol.bounds import Count, HashText, IdentifierOrNone, Int64, LongText, Seconds, ShortText, sum_within

OUTPUT_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
#: `data.fix_orders.0.parquet`, `quarantine.fix_orders.0.parquet`; a SCAN offers `changes.arrow`.
STAGED_NAME = re.compile(r"(data|quarantine)\.([a-z][a-z0-9_]{0,62})\.([0-9]{1,5})\.parquet\Z|changes\.arrow\Z")

_PUBLISHED = re.compile(
    r"(outputs|quarantine)/([a-z][a-z0-9_]{0,62})/v([0-9]{1,9})/part-([0-9a-f]{1,64})-([0-9]{1,5})(?:-[0-9a-f]{16})?\.parquet\Z"
)
#: How a commit's parts are called, recorded with it: 1 = by job and number, 2 = by job, number and digest. A name that holds
#: the digest is never taken by other content, so what an earlier life of the log published there blocks nobody.
PLAIN_PART_NAMES, PART_NAMES = 1, 2
PART_DIGEST_CHARACTERS = 16

OutputName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class StagedFile(_Model):
    """One sealed file under `.staging/<job>/<epoch>/`."""

    name: Annotated[str, Field(max_length=128, pattern=STAGED_NAME.pattern.replace(r"\Z", "$"))]
    kind: Literal["data", "quarantine", "changes"]
    output: IdentifierOrNone = ""
    rows: Count
    bytes: Count
    #: BLAKE3 of the file, hex.
    digest: Digest


class ViolationCount(_Model):
    code: Annotated[str, Field(max_length=64)]
    column: ShortText
    rows: Count


class OutputAccounting(_Model):
    """One output of one job. `received == valid + quarantined`, always."""

    status: Literal["success", "partial_success", "failed", "no_data"]
    received: Count
    valid: Count
    quarantined: Count
    rows_without_source_row: Count = 0
    #: Columns that `allow_extra` kept out of the table, with how many rows had them.
    extra_columns: dict[ShortText, Count] = Field(default_factory=dict)
    violations: list[ViolationCount] = Field(default_factory=list)
    contract_hash: HashText = ""


class Manifest(_Model):
    """All that an attempt offers: files by name and digest, the accounting, and what it was made from."""

    files: list[StagedFile] = Field(default_factory=list)
    outputs: dict[OutputName, OutputAccounting] = Field(default_factory=dict)
    #: Declared non-records by reason: comments, headers, blank lines.
    skipped: dict[ShortText, Count] = Field(default_factory=dict)
    #: BLAKE3 of the input, computed before the parser ran, on the file the parser was given; empty for a SCAN.
    source_hash: HashText = ""
    source_bytes: Count = 0
    sandbox: Literal["full", "strong", "basic", "none"] = "none"
    tz_database: ShortText = ""
    guest_seconds: Seconds = 0.0
    total_seconds: Seconds = 0.0
    #: Facts of a SCAN: counts by change, unreadable entries, whether it was complete.
    scan: dict[ShortText, Int64 | bool | LongText | list[LongText]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        """Each count is bounded; so is what they add up to, which tables and events hold."""
        outputs = self.outputs.values()
        sum_within((one.received for one in outputs), "rows received")
        sum_within((one.valid + one.quarantined for one in outputs), "rows")
        sum_within((one.rows_without_source_row for one in outputs), "rows without a source row")
        sum_within((file.rows for file in self.files), "rows in files")
        sum_within((file.bytes for file in self.files), "bytes in files")
        sum_within(self.skipped.values(), "skipped records")
        return self

    @property
    def valid_rows(self) -> int:
        return sum(accounting.valid for accounting in self.outputs.values())

    @property
    def quarantined_rows(self) -> int:
        return sum(accounting.quarantined for accounting in self.outputs.values())

    @property
    def skipped_records(self) -> int:
        return sum(self.skipped.values())


def published_path(file: StagedFile, job_id: str, version: int, part_names: int = PART_NAMES) -> str:
    """Where a staged file goes when it is promoted, relative to the home; `part_names` as its commit records."""
    match = STAGED_NAME.match(file.name)
    if match is None or match[1] is None:
        raise ValueError(f"{file.name!r} is not a publishable file")
    tree = "outputs" if match[1] == "data" else "quarantine"
    digest = f"-{file.digest[:PART_DIGEST_CHARACTERS]}" if part_names >= PART_NAMES else ""
    return f"{tree}/{match[2]}/v{version}/part-{job_id}-{match[3]}{digest}.parquet"


class Part(NamedTuple):
    """What the path of a published file says: whose it is, and which of that job's files."""

    tree: str
    output: str
    version: int
    job_id: str
    number: int

    @property
    def place(self) -> tuple[str, str, int]:
        """The same for all that the job would make here, whatever their content."""
        return (self.tree, self.output, self.number)


def part_at(path: str) -> Part | None:
    """The part that a path relative to the home names; None for any other file."""
    match = _PUBLISHED.match(path)
    return Part(match[1], match[2], int(match[3]), match[4], int(match[5])) if match is not None else None
