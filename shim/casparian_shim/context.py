"""`ctx`, the second argument of `parse(path, ctx)`: what a parser knows about its job, and what it reports other than rows."""

import logging
import operator
import os
import time
from collections.abc import Mapping
from typing import IO, Any

from casparian_shim.emitting import Outputs
from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.frames.codec import encode_progress
from casparian_shim.frames.kinds import GuestJob, Progress
from casparian_shim.readers.tape import current_tape
from casparian_shim.safe import COUNT_MAX
from casparian_shim.sideband import FrameSender

_PROGRESS_EVERY_SECONDS = 0.1
_REASONS_MAX = 64
_FILES_SHOWN = 20
_REASON_CHARACTERS_MAX = 200
_UNIT_CHARACTERS_MAX = 40
OTHER_REASONS = "(other reasons)"


class NotGranted(CasparianError):
    """A parser asked for something that its job was not given."""

    code = ErrorCode.FILE_NOT_FOUND

    def __init__(self, what: str, name: str, granted: list[str]) -> None:
        super().__init__(
            f"The job was given no {what} {name[:80]!r}.",
            remedy=f"It was given: {', '.join(granted) or 'none'}.",
        )


class ResourceNotThere(CasparianError):
    """A parser asked for a file that is not in its bundle."""

    code = ErrorCode.FILE_NOT_FOUND

    def __init__(self, name: str, held: list[str]) -> None:
        shown = ", ".join(held[:_FILES_SHOWN]) + (", …" if len(held) > _FILES_SHOWN else "")
        super().__init__(
            f"The parser's bundle contains no file {name[:80]!r}; it contains {shown or 'nothing'}.",
            remedy='Name the file in a literal next to the metadata: include = ["rates.csv"].',
        )


class Context:
    """The second argument of `parse(path, ctx)`."""

    def __init__(self, job: GuestJob, outputs: Outputs, sender: FrameSender) -> None:
        self._job = job
        self._outputs = outputs
        self._sender = sender
        self._file: IO[bytes] | None = None
        self._done: float | None = None
        self._total: float | None = None
        self._unit: str | None = None
        self._skips: dict[str, int] = {}
        self._sent_s = -_PROGRESS_EVERY_SECONDS
        self._is_news = False
        self.log = logging.getLogger("casparian.parser")

    @property
    def path(self) -> str:
        """The input file."""
        return self._job.input_path

    @property
    def file(self) -> IO[bytes]:
        """The input file, opened for reading in binary; always the same object."""
        if self._file is None:
            if self._job.input_fd is None:
                self._file = open(self._job.input_path, "rb")  # noqa: SIM115 - lives as long as the job
            else:
                self._file = os.fdopen(os.dup(self._job.input_fd), "rb")
                self._file.seek(0)
        return self._file

    @property
    def source_hash(self) -> str:
        """The BLAKE3 hash of the input, computed before the parser ran."""
        return self._job.source_hash

    @property
    def job_id(self) -> str:
        return self._job.job_id

    @property
    def params(self) -> Mapping[str, Any]:
        """The declared parameters with the values of this job."""
        return self._job.params

    @property
    def scratch(self) -> str:
        """A private directory, empty at the start and removed after the job."""
        return self._job.scratch_path

    def resource(self, name: str) -> bytes:
        """The content of a file in the parser's bundle."""
        folder = os.path.realpath(self._job.bundle_path)
        path = os.path.realpath(os.path.join(folder, name))
        if os.path.commonpath([folder, path]) != folder or not os.path.isfile(path):
            raise ResourceNotThere(name, _files_below(folder))
        with open(path, "rb") as file:
            return file.read()

    def context(self, name: str) -> Any:
        """Reference data given to this job, as a pyarrow Table."""
        path = self._job.context_paths.get(name)
        if path is None:
            raise NotGranted("context", name, sorted(self._job.context_paths))
        import pyarrow as pa

        with pa.memory_map(path) as source:
            return pa.ipc.open_file(source).read_all()

    def progress(self, done: float, total: float | None = None, unit: str | None = None) -> None:
        """Report the parser's progress, in `unit`. This is cheap: at most ten reports a second are sent.

        A value that is not a number from 0 to 2**53 - 1, or a unit that is not text, is ignored, because reporting progress must
        never end a job.
        """
        self._done, self._total = _measure(done), _measure(total)
        self._unit = _cut(unit, _UNIT_CHARACTERS_MAX) if isinstance(unit, str) else None
        self._send_now_and_then()

    def skip(self, reason: str, count: int = 1, source_row: int | None = None) -> None:
        """Declare `count` records of the input that are not rows: comments, trailers, records summed up in a total.

        `source_row` names the record: the `__cf_row_id` that a reader gave.
        """
        if isinstance(count, bool) or not isinstance(count, int) or count < 0:
            raise ValueError(f"skip was given a count of {count!r:.40}")
        if sum(self._skips.values()) + count > COUNT_MAX:
            raise ValueError("skip was given more than 2**53 - 1 records altogether")
        if not isinstance(reason, str):
            raise ValueError(f"skip was given a reason that is a {type(reason).__name__}; a reason is text")
        if source_row is not None:
            if count != 1:
                raise ValueError(f"skip was given the row {source_row} and a count of {count}; one row is one record")
            number = _number_of_row(source_row)
            if (tape := current_tape()) is not None:
                tape.declare(number)
        reason = _cut(reason, _REASON_CHARACTERS_MAX)
        if reason not in self._skips and len(self._skips) >= _REASONS_MAX:
            reason = OTHER_REASONS
        self._skips[reason] = self._skips.get(reason, 0) + count
        self._send_now_and_then()

    def reject(
        self,
        output: str | None,
        row: Mapping[str, object] | None,
        reason: str,
        source_row: int | None = None,
        raw: str | bytes | None = None,
    ) -> None:
        """Reject a row: send it to quarantine for this `reason`."""
        self._outputs.reject(output, row, reason, source_row, raw)
        self._send_now_and_then()

    def finish(self) -> None:
        """Send progress, skips and rejects one last time if anything changed."""
        if self._is_news or self._outputs.rejected:
            self._send()

    def close(self) -> None:
        if self._file is not None:
            self._file.close()

    def _send_now_and_then(self) -> None:
        self._outputs.flush_when_due()
        self._is_news = True
        if time.monotonic() - self._sent_s >= _PROGRESS_EVERY_SECONDS:
            self._send()

    def _send(self) -> None:
        self._sent_s = time.monotonic()
        self._is_news = False
        self._sender.send(
            encode_progress(Progress(self._done, self._total, self._unit, self._skips, self._outputs.rejected))
        )


def _cut(text: str, characters: int) -> str:
    """The first characters as plain text, even for a subclass that overrides slicing."""
    return str.__getitem__(text, slice(characters))


def _measure(value: float | None) -> float | None:
    """A number that the protocol can carry; None for anything else."""
    try:
        number = None if value is None else float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    if number is None or not 0 <= number <= COUNT_MAX:  # also false for a value that is not a number
        return None
    return int(number) if number.is_integer() else number


def _number_of_row(value: int) -> int:
    try:
        number = operator.index(value)  # accepts numpy's integers too
    except TypeError:
        number = -1
    if isinstance(value, bool) or not 0 <= number <= COUNT_MAX:
        raise ValueError(f"skip was given the row {value!r:.40}; give the __cf_row_id that a reader gave")
    return number


def _files_below(folder: str) -> list[str]:
    return sorted(
        os.path.relpath(os.path.join(place, name), folder)
        for place, _folders, names in os.walk(folder)
        for name in names
        if not name.endswith(".pyc")
    )
