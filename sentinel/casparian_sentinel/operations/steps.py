"""The steps of an operation, and the context that its handler reads.

A handler is a generator: it yields a step, receives the step's result, and returns the operation's result. Nothing in this module
performs a step.
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
from casparian_protocol.wire import ProjectorPhase
from casparian_protocol.wire.operations.base import Result
from casparian_protocol.wire.operations.daemon import InternalErrors, ParkedCommit, WorkerGivenUp
from casparian_sentinel.blobs import BlobStore, Uploads
from casparian_sentinel.core import Answer, Command, Decision, Now, Rejected, State, WorkerPresence
from casparian_sentinel.projection.queries.planning import RowSelect


@dataclass(frozen=True, slots=True)
class Ask:
    """Query the projection as of `at_least_seq`, or of everything that is durable now. The result is `Rows`."""

    sql: str
    params: tuple[object, ...] = ()
    limit_rows: int = 100_000
    at_least_seq: int | None = None


@dataclass(frozen=True, slots=True)
class Decide:
    """Give a command to the core. The result is its `Answer` or None, once durable; a rejection raises `OperationRefused`."""

    command: Command


@dataclass(frozen=True, slots=True)
class InThread:
    """Run work that waits for the disk in a thread. The result is its return value, or its exception is raised."""

    work: Callable[[], Any]


@dataclass(frozen=True, slots=True)
class EndDaemon:
    """Drain the daemon or stop it at once. Only a daemon performs this."""

    now: bool
    is_drain_only: bool = False


@dataclass(frozen=True, slots=True)
class AdoptSettings:
    """Put these settings in force. Only a daemon can, since its settings outlive the operation."""

    settings: Settings


Step = Ask | Decide | InThread | EndDaemon | AdoptSettings
T = TypeVar("T")
AnswerT = TypeVar("AnswerT", bound=Answer)
#: The keys and values of a quarantine policy.
PolicyKeys: TypeAlias = Mapping[str, Scalar]
#: A part of a handler, which also yields steps, and returns a `T`.
Part: TypeAlias = Generator[Step, Any, T]
#: A whole handler.
Steps: TypeAlias = Part[Result]


class OperationRefused(CasparianError):
    """A refusal for a reason that the user can act on; `reply_code` is for programs."""

    def __init__(self, problem: str, remedy: str, reply_code: str = "REFUSED") -> None:
        super().__init__(problem, remedy=remedy)
        self.reply_code = reply_code


class DaemonNeeded(OperationRefused):
    """The operation needs a daemon, and the home was opened without one."""

    def __init__(self, op: str) -> None:
        super().__init__(f"`{op}` needs a running daemon.", "Start one with `casparian start`.", "NO_DAEMON")


@dataclass(slots=True)
class Context:
    """Everything that a handler may read. State and presence belong to the core and are never changed here."""

    home: Home
    settings: Settings
    blobs: BlobStore
    state: State
    presence: WorkerPresence
    mode: Literal["daemon", "local"]
    version: str
    pid: int
    now: Callable[[], Now]
    #: The last durable event; the state may be ahead of this.
    durable_seq: Callable[[], int]
    #: What only the daemon knows: the projection's position, and its state in words.
    projection: Callable[[], tuple[int, str]]
    projector_phase: Callable[[], str] = lambda: ProjectorPhase.READY
    is_ready: Callable[[], bool] = lambda: True
    #: Whether pending files may become jobs automatically at any moment.
    is_planning: Callable[[], bool] = lambda: False
    #: Local workers that are no longer restarted.
    given_up: Callable[[], list[WorkerGivenUp]] = list
    #: When each polled source was last looked at, in µs.
    polled: Callable[[], dict[str, int]] = dict
    #: Commits whose files cannot be put in place.
    parked: Callable[[], list[ParkedCommit]] = list
    #: Internal errors since the start.
    internal: Callable[[], InternalErrors] = InternalErrors
    #: The number of poison events in the projection.
    poison_events: Callable[[], int] = int
    #: How many local workers the daemon is meant to keep running.
    local_workers: int = 0
    #: Settings given on the daemon's command line.
    flags: Mapping[str, object] = field(default_factory=dict)
    #: The pids of the running local workers, by worker id.
    local_pids: Callable[[], dict[str, int]] = dict
    new_id: Callable[[], str] = lambda: secrets.token_hex(8)
    #: The policies of contracts by hash, each read once.
    contract_policies: dict[str, PolicyKeys] = field(default_factory=dict)
    #: (contract hash, contract hash) → why rows of the first may not satisfy the second; each compared once.
    compared_contracts: dict[tuple[str, str], tuple[Misfit, ...]] = field(default_factory=dict)
    #: (artifact, directory) that were scanned again because files in them had no hash.
    scanned_for_hashes: set[tuple[str, str]] = field(default_factory=set)
    #: Blobs that clients are sending.
    uploads: Uploads = field(init=False)

    def __post_init__(self) -> None:
        self.uploads = Uploads(self.blobs)


def ask(
    select: RowSelect[RowT], *params: object, limit_rows: int = 100_000, at_least_seq: int | None = None
) -> Part[Found[RowT]]:
    """The step `Ask`, with typed rows."""
    answer: Rows = yield Ask(select, params, limit_rows, at_least_seq)
    rows: list[Any] = [dict(zip(answer.columns, row, strict=True)) for row in answer.rows]
    return Found(answer.seq, rows)


def decide(command: Command, answer: type[AnswerT]) -> Part[AnswerT]:
    """The step `Decide`, for a command with this type of answer."""
    found = yield Decide(command)
    assert isinstance(found, answer)
    return found


def answer_of(decision: Decision) -> Answer | None:
    """The result of the step `Decide`, for the code that performs it. Raises `OperationRefused`."""
    match decision.answer:
        case Rejected(problem=problem, remedy=remedy, code=code):
            raise OperationRefused(problem, remedy, code)
        case answer:
            return answer


def in_thread(work: Callable[[], T]) -> Part[T]:
    """The step `InThread`, with a typed result."""
    result: T = yield InThread(work)
    return result
