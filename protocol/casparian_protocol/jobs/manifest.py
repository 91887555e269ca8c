"""The manifest that a finished attempt offers for commit, and the sums that its counts must satisfy.

The worker fills a `Manifest`; the sentinel checks what it says (`core/kinds`) and the files that it names (`commit/offers`); the
log keeps it. A staged file's name says what it is; its place in `outputs/` or `quarantine/` is derived only here.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from casparian_protocol.bounds import Count, HashText, IdentifierOrNone, Int64, LongText, Seconds, ShortText, sum_within
from casparian_shim.safe import named_row

OUTPUT_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
#: What a SCAN offers: its changes, which become a blob.
CHANGES = "changes.arrow"
#: `data.fix_orders.0.parquet`, `quarantine.fix_orders.0.parquet`, or `CHANGES`.
_STAGED = r"(?:(data|quarantine)\.([a-z][a-z0-9_]{0,62})\.([0-9]{1,5})\.parquet|changes\.arrow)"
STAGED_NAME = re.compile(rf"{_STAGED}\Z")

_PUBLISHED = re.compile(
    r"(outputs|quarantine)/([a-z][a-z0-9_]{0,62})/v([0-9]{1,9})/part-([0-9a-f]{1,64})-([0-9]{1,5})(?:-[0-9a-f]{16})?\.parquet\Z"
)
#: The naming of a commit's parts, recorded with it: 1 = by job and number, 2 = by job, number and digest. With a digest in the
#: name, files published before a repair of the log cannot block new ones.
PLAIN_PART_NAMES, PART_NAMES = 1, 2
PART_DIGEST_CHARACTERS = 16

OutputName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class StagedFile(_Model):
    """One staged file, `.staging/<job>.<epoch>.<name>`."""

    name: Annotated[str, Field(max_length=128, pattern=rf"^{_STAGED}$")]  # pydantic searches
    kind: Literal["data", "quarantine", "changes"]
    output: IdentifierOrNone = ""
    rows: Count
    bytes: Count
    #: BLAKE3 of the file, hex.
    digest: Digest

    @property
    def is_published(self) -> bool:
        """Whether a commit puts it into `outputs/` or `quarantine/`; any other file becomes a blob before."""
        return self.kind != "changes"

    @property
    def fits_its_name(self) -> bool:
        """Whether its kind and output are those that its name says."""
        match = STAGED_NAME.match(self.name)
        named = (match[1] or "changes", match[2] or "") if match is not None else None
        return (self.kind, self.output) == named


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
    #: Columns that `allow_extra` left out of the table, with the number of rows that had them.
    extra_columns: dict[ShortText, Count] = Field(default_factory=dict)
    violations: list[ViolationCount] = Field(default_factory=list)
    contract_hash: HashText = ""
    #: Whether the data have the column `_cf_raw_encoding`, which only some parsers give.
    has_raw_encoding: bool = False


class RecordAccounting(_Model):
    """The accounting for the records that the SDK's readers returned, and for the bytes of the input."""

    #: False: the parser reads the file itself, so records were not counted.
    is_counted: bool = False
    #: Records that readers found, and how many of them they rejected because they could not read them.
    given: Count = 0
    rejected: Count = 0
    #: Records that became neither a row, nor a rejected row, nor a declared skip.
    unaccounted: Count = 0
    #: Declared skips beyond the records that were left to skip.
    skipped_beyond: Count = 0
    #: The lines of the first of them, if known.
    first_rows: Annotated[list[Count], Field(max_length=10)] = Field(default_factory=list)
    #: The input is not empty, but produced no row, rejected row or declared skip.
    is_nothing: bool = False
    #: The parser stopped before the end of an unpacked stream.
    is_cut: bool = False
    #: Bytes of the input: in records; of these in rejected ones; in header, blank and skipped lines; not read by any reader.
    bytes_total: Count = 0
    bytes_given: Count = 0
    bytes_rejected: Count = 0
    bytes_skipped: Count = 0
    bytes_unread: Count = 0

    def lines(self) -> list[str]:
        """`records: 100 returned by the reader, all accounted for` and `bytes: 2,000 of 2,000 read, 50 of them skipped`."""
        if not self.is_counted:
            return ["records: not counted, the parser reads the file itself"]
        gap = f"{self.unaccounted:,} of them dropped" if self.unaccounted else "all accounted for"
        if self.skipped_beyond:
            gap = f"{self.skipped_beyond:,} more declared skipped than there were"
        rejected = f", {self.rejected:,} of them rejected" if self.rejected else ""
        lines = [f"records: {self.given:,} returned by the reader{rejected}, {gap}"]
        read = self.bytes_given + self.bytes_skipped
        in_rejected = f", {self.bytes_rejected:,} in rejected records" if self.rejected else ""
        if read:
            lines.append(
                f"bytes: {read:,} of {self.bytes_total:,} read, {self.bytes_skipped:,} of them skipped{in_rejected}"
            )
        return lines

    @property
    def gap(self) -> str:
        """What is unaccounted for, as the end of a sentence; empty if nothing is."""
        if self.is_nothing:
            return (
                f"the input has {self.bytes_total:,} bytes, but produced no row, no rejected row and no declared skip"
            )
        parts = []
        if self.unaccounted:
            listed = ", ".join(map(named_row, self.first_rows))
            more = ", …" if self.unaccounted > len(self.first_rows) else ""
            lines = f" (line{'s' if self.unaccounted > 1 else ''} {listed}{more})" if listed else ""
            parts.append(
                f"{self.unaccounted:,} of {self.given:,} records that the reader returned became no row, no rejected row "
                f"and no declared skip{lines}"
            )
        if self.skipped_beyond:
            parts.append(
                f"the parser declared {self.skipped_beyond:,} more skipped records than the reader returned without a row"
            )
        if self.bytes_unread:
            parts.append(
                f"the parser stopped reading before the last {self.bytes_unread:,} of {self.bytes_total:,} bytes"
            )
        if self.is_cut:
            parts.append("the parser stopped reading before the end of the input")
        return "; ".join(parts)


class Manifest(_Model):
    """Everything an attempt offers: the files by name and digest, the accounting, and the input."""

    files: list[StagedFile] = Field(default_factory=list)
    outputs: dict[OutputName, OutputAccounting] = Field(default_factory=dict)
    #: Declared non-records by reason: comments, headers, blank lines.
    skipped: dict[ShortText, Count] = Field(default_factory=dict)
    #: None: a manifest of an older version, or of a SCAN.
    records: RecordAccounting | None = None
    #: BLAKE3 of the parser's input file, computed before the parser ran; empty for a SCAN.
    source_hash: HashText = ""
    source_bytes: Count = 0
    sandbox: Literal["full", "strong", "basic", "none"] = "none"
    tz_database: ShortText = ""
    guest_seconds: Seconds = 0.0
    total_seconds: Seconds = 0.0
    #: The facts that its kind records besides files and rows, and checks. For a SCAN: counts by change, whether it was complete.
    facts: dict[ShortText, Int64 | bool | LongText | list[LongText]] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _of_older_version(cls, value: Any) -> Any:
        """Logs and blobs may still hold manifests in which only a SCAN had facts."""
        return {"facts": value["scan"], **value} if isinstance(value, dict) and "scan" in value else value

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        """Check that the sums of the counts are within bounds too, as tables and events need."""
        if not (self.outputs or self.files or self.skipped or self.records):
            return self
        outputs = self.outputs.values()
        sum_within((one.received for one in outputs), "rows received")
        sum_within((one.valid + one.quarantined for one in outputs), "rows")
        sum_within((one.rows_without_source_row for one in outputs), "rows without a source row")
        sum_within((file.rows for file in self.files), "rows in files")
        sum_within((file.bytes for file in self.files), "bytes in files")
        sum_within(self.skipped.values(), "skipped records")
        if self.records is not None:
            sum_within((self.records.bytes_given, self.records.bytes_skipped), "bytes accounted for")
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
    """The path of a staged file after its promotion, relative to the home; `part_names` comes from its commit."""
    match = STAGED_NAME.match(file.name)
    if match is None or match[1] is None:
        raise ValueError(f"{file.name!r} is not a publishable file")
    tree = "outputs" if match[1] == "data" else "quarantine"
    digest = f"-{file.digest[:PART_DIGEST_CHARACTERS]}" if part_names >= PART_NAMES else ""
    return f"{tree}/{match[2]}/v{version}/part-{job_id}-{match[3]}{digest}.parquet"


class Part(NamedTuple):
    """The parts of a published file's path: its job, and which of the job's files it is."""

    tree: str
    output: str
    version: int
    job_id: str
    number: int

    @property
    def place(self) -> tuple[str, str, int]:
        """A key that is the same for any content of this file."""
        return (self.tree, self.output, self.number)


def part_at(path: str) -> Part | None:
    """The part of a path relative to the home; None for any other file."""
    match = _PUBLISHED.match(path)
    return Part(match[1], match[2], int(match[3]), match[4], int(match[5])) if match is not None else None
