"""The steps of an operation, and the context that its handler reads.

A handler is a generator: it yields a step, gets the step's result, and returns the operation's result. Nothing
here performs a step.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar

from casparian_protocol.bounds import Scalar
from casparian_protocol.client import Rows
from casparian_protocol.contract import Misfit
from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home
from casparian_protocol.queries import Found, RowT
from casparian_protocol.settings import Settings
from casparian_protocol.wire.operations.base import Result
from casparian_protocol.wire.operations.daemon import InternalErrors, ParkedCommit, ProjectorPhase, WorkerGivenUp
from casparian_sentinel.blobs import BlobStore, Uploads
from casparian_sentinel.core import Answer, Command, Decision, Now, Rejected, State, WorkerPresence
from casparian_sentinel.projection.queries.planning import RowSelect


@dataclass(frozen=True, slots=True)
class Ask:
    """Rows from the projection, as of everything that is durable now. The result is `Rows`."""

    sql: str
    params: tuple[object, ...] = ()
    limit_rows: int = 100_000


@dataclass(frozen=True, slots=True)
class Decide:
    """A command for the core. The result is its `Answer` or None, once durable; a rejection is raised as `OperationRefused`."""

    command: Command


@dataclass(frozen=True, slots=True)
class InThread:
    """Work that waits for the disk. The result is what it returns; what it raises is raised."""

    work: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class EndDaemon:
    """Drain, or stop at once. Only a daemon can."""

    now: bool
    is_drain_only: bool = False


@dataclass(frozen=True, slots=True)
class AdoptSettings:
    """From now on these are in force. Only a daemon has any that last."""

    settings: Settings


Step = Ask | Decide | InThread | EndDaemon | AdoptSettings
T = TypeVar("T")
AnswerT = TypeVar("AnswerT", bound=Answer)
#: What a quarantine policy says, by key.
PolicyKeys: TypeAlias = Mapping[str, Scalar]
#: A part of a handler, which yields steps too and returns a `T`.
Part: TypeAlias = Generator[Step, Any, T]
#: A whole handler.
Steps: TypeAlias = Part[Result]


class OperationRefused(CasparianError):
    """No, on business grounds; `reply_code` is for programs."""

    def __init__(self, problem: str, remedy: str, reply_code: str = "REFUSED") -> None:
        super().__init__(problem, remedy=remedy)
        self.reply_code = reply_code


class DaemonNeeded(OperationRefused):
    """The home was opened without one."""

    def __init__(self, op: str) -> None:
        super().__init__(f"`{op}` needs a running daemon.", "Start one with `casparian start`.", "NO_DAEMON")


@dataclass(slots=True)
class Context:
    """What a handler may look at. State and presence are the core's, read here and never changed."""

    home: Home
    settings: Settings
    blobs: BlobStore
    state: State
    presence: WorkerPresence
    mode: Literal["daemon", "local"]
    version: str
    pid: int
    now: Callable[[], Now]
    #: The last durable event; the state may be ahead of it.
    durable_seq: Callable[[], int]
    #: What only the daemon knows: how far the projection is, and how it is.
    projection: Callable[[], tuple[int, str]]
    projector_phase: Callable[[], str] = lambda: ProjectorPhase.READY
    is_ready: Callable[[], bool] = lambda: True
    #: Whether pending files may become jobs by themselves any moment.
    is_planning: Callable[[], bool] = lambda: False
    #: Local workers that are not started any more.
    given_up: Callable[[], list[WorkerGivenUp]] = list
    #: When polled sources were looked at last, in µs.
    polled: Callable[[], dict[str, int]] = dict
    #: Commits whose files cannot be put in place.
    parked: Callable[[], list[ParkedCommit]] = list
    #: Internal errors since the start.
    internal: Callable[[], InternalErrors] = InternalErrors
    #: Events that the projection set aside.
    poison_events: Callable[[], int] = int
    #: How many the daemon was to keep running.
    local_workers: int = 0
    #: Settings that the daemon's command line gave.
    flags: Mapping[str, object] = field(default_factory=dict)
    #: The pids of those that it does keep running, by worker id.
    local_pids: Callable[[], dict[str, int]] = dict
    new_id: Callable[[], str] = lambda: secrets.token_hex(8)
    #: Policies of contracts by hash, read once.
    contract_policies: dict[str, PolicyKeys] = field(default_factory=dict)
    #: (contract hash, contract hash) → why rows of the first may not satisfy the second; compared once.
    compared_contracts: dict[tuple[str, str], tuple[Misfit, ...]] = field(default_factory=dict)
    #: (artifact, directory) that were scanned because files of theirs had no hash.
    scanned_for_hashes: set[tuple[str, str]] = field(default_factory=set)
    #: Blobs that clients are sending.
    uploads: Uploads = field(init=False)

    def __post_init__(self) -> None:
        self.uploads = Uploads(self.blobs)


def ask(select: RowSelect[RowT], *params: object, limit_rows: int = 100_000) -> Part[Found[RowT]]:
    """The step `Ask`, with rows of their type."""
    answer: Rows = yield Ask(select, params, limit_rows)
    rows: list[Any] = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    return Found(answer.seq, rows)


def decide(command: Command, answer: type[AnswerT]) -> Part[AnswerT]:
    """The step `Decide`, for a command that has this kind of answer."""
    found = yield Decide(command)
    assert isinstance(found, answer)
    return found


def answer_of(decision: Decision) -> Answer | None:
    """The result of the step `Decide`, for whoever performs it. Raises `OperationRefused`."""
    match decision.answer:
        case Rejected(problem=problem, remedy=remedy, code=code):
            raise OperationRefused(problem, remedy, code)
        case answer:
            return answer


def in_thread(work: Callable[[], T]) -> Part[T]:
    """The step `InThread`, with a result of its type."""
    result: T = yield InThread(work)
    return result
