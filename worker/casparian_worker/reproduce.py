"""Running a committed job once more, and comparing the result with what was published.

The same artifact, contracts, parameters, policies and logical time run on the same input, through the same `execute`, into a
temporary directory. Equal facts give equal bytes; if the bytes differ, the rows are compared, since a newer writer may write the
same rows differently. This changes nothing, and uses neither the log nor the projection: the caller supplies the recorded facts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq
from blake3 import blake3

from casparian_protocol.home import Home
from casparian_protocol.jobs import Manifest, part_at, published_path
from casparian_protocol.jobs.kinds import ParseWork
from casparian_protocol.settings import Settings
from casparian_protocol.values import plain_rows
from casparian_worker.artifacts import Artifacts
from casparian_worker.execute import CancelToken, Failed, WorkerContext
from casparian_worker.kinds.parse import ParseTask, execute
from casparian_worker.staging import StagingDirectory

_SLICE_ROWS = 65_536
#: Columns about quarantined rows that older versions did not write.
_ADDED = ("_cf_source_offset", "_cf_raw_encoding")
_PIECE_BYTES = 1024 * 1024

#: identical: same bytes. same_rows: different bytes, same rows. altered: the published file is not what was committed.
FileVerdict = Literal["identical", "same_rows", "different", "altered", "missing", "not_made", "not_published"]
_GOOD = frozenset({"identical", "same_rows"})


@dataclass(frozen=True, slots=True)
class PublishedFile:
    """A file of the job as the log records it; `path` is relative to the home."""

    path: str
    output: str
    version: int
    digest: str


@dataclass(frozen=True, slots=True)
class RecordedJob:
    """Everything in the log about a committed job that determines its rows."""

    job_id: str
    work: ParseWork
    epoch: int
    leased_at_us: int
    entry: str
    files: tuple[PublishedFile, ...]


@dataclass(frozen=True, slots=True)
class ComparedFile:
    path: str
    verdict: FileVerdict
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Reproduction:
    """The result. If the job could not be run again, `error` says why, and no file was compared with a new one."""

    job_id: str
    files: tuple[ComparedFile, ...]
    error: str = ""

    @property
    def is_reproduced(self) -> bool:
        return not self.error and all(file.verdict in _GOOD for file in self.files)


def reproduce(
    job: RecordedJob,
    home: Home,
    settings: Settings,
    fetch: Callable[[str], bytes | None],
    *,
    start_seconds: float = 20.0,
) -> Reproduction:
    """Run the job again and compare. `fetch` returns the blob of a hash. Raises only if a part of the artifact is missing."""
    with tempfile.TemporaryDirectory(prefix="casparian-verify-") as directory:
        apart = Home(Path(directory))
        for folder in (apart.staging, apart.scratch, apart.logs, apart.artifacts):
            folder.mkdir(mode=0o700)
        artifacts = Artifacts(apart, fetch)
        task = ParseTask(
            job_id=job.job_id,
            work=job.work,
            attempt=1,
            epoch=job.epoch,
            leased_at_us=job.leased_at_us,
            bundle=artifacts.bundle(job.work.artifact),
            entry=job.entry,
            contracts={output: artifacts.contract(digest) for output, digest in job.work.contracts.items()},
        )
        outcome = execute(task, WorkerContext(apart, settings, start_seconds=start_seconds), CancelToken())
        if outcome.staging is not None:
            outcome.staging.close()
        if isinstance(outcome, Failed):
            altered = tuple(file for file in (_untouched(home, published) for published in job.files) if file)
            return Reproduction(job.job_id, altered, f"{outcome.error.code}: {outcome.error.message}")
        return Reproduction(job.job_id, tuple(_compared(job, home, outcome.manifest, outcome.staging)))


def _compared(job: RecordedJob, home: Home, manifest: Manifest, staged: StagingDirectory) -> Iterator[ComparedFile]:
    paths = {published_path(file, job.job_id, job.work.output_versions[file.output]): file for file in manifest.files}
    fresh = {_place_of(path): (path, file) for path, file in paths.items()}
    for published in job.files:
        _path, made = fresh.pop(_place_of(published.path), (None, None))
        wrong = _untouched(home, published)
        if wrong is not None:
            yield wrong
        elif made is None:
            yield ComparedFile(published.path, "not_made", "the job no longer creates this file")
        elif made.digest == published.digest:
            yield ComparedFile(published.path, "identical")
        else:
            yield _rows_compared(published.path, home.root / published.path, staged.path(made.name))
    for path, file in fresh.values():
        yield ComparedFile(path, "not_published", f"the job now also creates this file, with {file.rows:,} rows")


def _place_of(path: str) -> tuple[str, str, int] | str:
    """Which of the job's files it is, independent of its content."""
    part = part_at(path)
    return part.place if part is not None else path


def _untouched(home: Home, published: PublishedFile) -> ComparedFile | None:
    """The problem with the published file, or None if it is what was committed."""
    hasher = blake3()
    try:
        with (home.root / published.path).open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                hasher.update(piece)
    except OSError as cause:
        return ComparedFile(published.path, "missing", f"it cannot be read ({cause.strerror})")
    if hasher.hexdigest() == published.digest:
        return None
    return ComparedFile(published.path, "altered", "its digest is not the one that was committed")


def _rows_compared(path: str, published: Path, made: Path) -> ComparedFile:
    old, new = pq.ParquetFile(published).read(), pq.ParquetFile(made).read()
    new = new.drop_columns([name for name in _ADDED if name in new.column_names and name not in old.column_names])
    if set(old.column_names) == set(new.column_names):
        new = new.select(old.column_names)  # quarantined rows have columns in order of arrival
    if old.schema != new.schema:
        return ComparedFile(path, "different", _schema_difference(old.schema, new.schema))
    for start in range(0, max(old.num_rows, new.num_rows), _SLICE_ROWS):
        one, other = old.slice(start, _SLICE_ROWS), new.slice(start, _SLICE_ROWS)
        if not one.equals(other):
            return ComparedFile(path, "different", _first_difference(plain_rows(one), plain_rows(other), start))
    return ComparedFile(
        path, "same_rows", "the same rows in different bytes: another writer, or different writer settings"
    )


def _schema_difference(old: pa.Schema, new: pa.Schema) -> str:
    gone = [f"{field.name} {field.type}" for field in old if field not in list(new)]
    come = [f"{field.name} {field.type}" for field in new if field not in list(old)]
    return f"the columns differ: published {', '.join(gone) or 'none'}; now {', '.join(come) or 'none'}"


def _first_difference(old: Sequence[dict[str, object]], new: Sequence[dict[str, object]], start: int) -> str:
    for index, (one, other) in enumerate(zip(old, new, strict=False)):
        names = [name for name in one if one[name] != other[name]]
        if names:
            shown = "; ".join(f"{name} was {one[name]!r}, is now {other[name]!r}" for name in names[:4])
            return f"row {start + index}: {shown}"
    return f"{start + len(old):,} rows were published, the job now creates {start + len(new):,} or more"
