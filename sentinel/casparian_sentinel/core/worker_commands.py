"""Commands that come from workers. `worker_id` is the identity the socket established, never what the message claims.

Messages are passed on as the codec decoded them, without copies, together with facts that were checked on disk beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from casparian_protocol.jobs import Manifest
from casparian_protocol.wire.messages import Fail, Heartbeat, Hello, ProgressReport, Released, Sinks, Started


class FromWorker:
    """A command whose sender may be answered; `of_kind` is the kind of the message it came in."""

    __slots__ = ()
    of_kind: ClassVar[str]
    worker_id: str

    @property
    def actor(self) -> str:
        return f"worker:{self.worker_id}"


@dataclass(frozen=True, slots=True)
class HelloReceived(FromWorker):
    of_kind = "hello"
    worker_id: str
    message: Hello


@dataclass(frozen=True, slots=True)
class BeatReceived(FromWorker):
    of_kind = "heartbeat"
    worker_id: str
    message: Heartbeat


@dataclass(frozen=True, slots=True)
class ProgressReceived(FromWorker):
    of_kind = "progress"
    worker_id: str
    message: ProgressReport


@dataclass(frozen=True, slots=True)
class SinksReceived(FromWorker):
    of_kind = "sinks"
    worker_id: str
    message: Sinks


@dataclass(frozen=True, slots=True)
class WantReceived(FromWorker):
    """Credit replaces the previous number; ready jobs are leased at once."""

    of_kind = "want"
    worker_id: str
    credit: int


@dataclass(frozen=True, slots=True)
class JobsStarted(FromWorker):
    of_kind = "started"
    worker_id: str
    message: Started


@dataclass(slots=True)
class FinishedItem:
    """One finished attempt, with what the shell found out about it before asking for a decision."""

    job_id: str
    epoch: int
    manifest: Manifest
    #: The durable blob that holds the manifest; required if `manifests.needs_blob(manifest)`.
    manifest_blob: str = ""
    #: Staged file → the durable blob that it was copied to, for files that are not published.
    blobs: Mapping[str, str] = field(default_factory=dict)
    #: What is wrong with the staged files (missing, a link, another size or digest), or an empty text.
    problem: str = ""


@dataclass(frozen=True, slots=True)
class FinishReceived(FromWorker):
    of_kind = "finish"
    worker_id: str
    items: Sequence[FinishedItem]


@dataclass(frozen=True, slots=True)
class FailReceived(FromWorker):
    of_kind = "fail"
    worker_id: str
    message: Fail
    #: The durable blob that holds `message.uncommitted` if it is too large for an event.
    uncommitted_blob: str = ""


@dataclass(frozen=True, slots=True)
class ReleaseReceived(FromWorker):
    of_kind = "released"
    worker_id: str
    message: Released


@dataclass(frozen=True, slots=True)
class ByeReceived(FromWorker):
    of_kind = "bye"
    worker_id: str
