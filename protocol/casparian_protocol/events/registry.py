"""Events about parsers, contracts, output versions and policies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypedDict

from casparian_protocol.bounds import Json, Scalar
from casparian_protocol.events.base import Event, event
from casparian_protocol.jobs import OutputStatus


class Problem(TypedDict):
    """One reason why a version of a parser waits; `code` is one of those in `wording`."""

    output: str
    column: str
    what: str
    code: str


class FoundInSource(TypedDict):
    """A place in a parser's source that the gatekeeper reports to the reviewer."""

    file: str
    line: int
    column: int
    rule: str
    severity: str
    what: str
    why: str


@event()
class ParserRegistered(Event):
    """An artifact was registered; its blob was durable before."""

    parser_id: str
    name: str
    version: Annotated[str, "PEP 440"]
    artifact: Annotated[str, "BLAKE3 of the bundle"]
    sha256: str
    source_hash: str
    lock_hash: Annotated[str, "empty without dependencies"]
    topics: tuple[str, ...]
    outputs: Annotated[Mapping[str, str], "{output: contract hash or empty}"]
    params: Annotated[Mapping[str, Json], "{name: declared default}"]
    entry: Annotated[str, "entry module file in the bundle"]
    kind: Annotated[str, "function|class"]
    may_drop_records: Annotated[bool, "true: it declares that it may drop records"] = False
    signed_by: Annotated[str, "public key, hex"]
    signature: Annotated[str, "hex"]
    findings: Annotated[tuple[FoundInSource, ...], "gatekeeper findings, at most 50"]


@event(version=2)
class ParserRetired(Event):
    """A version was retired: it gets no new jobs."""

    name: str
    version: str
    derives_current: Annotated[
        bool, "version 1: which version is current follows from this event; later there is an event for it"
    ] = False


@event()
class ParserCurrentChanged(Event):
    """Another version of the parser takes new and changed files. Open jobs finish with the version they were queued for."""

    name: str
    version: Annotated[str, "empty: none may run"]
    previous: Annotated[str, "the version before; empty: none"]
    by: Annotated[
        Literal["approval", "hand", "retirement", "start"],
        "approval|hand|retirement|start (the first start of a program that records it)",
    ]
    reason: str


@event()
class ParserVersionWaits(Event):
    """A version may run, but its contracts do not fit the live rows; or this updates an earlier event of this type."""

    name: str
    version: str
    problems: Annotated[
        tuple[Problem, ...], "[{output, column, what, code}], at most 20; empty: the obstacles are gone"
    ]
    left_out: Annotated[int, "count of further problems"]
    may_be_chosen: Annotated[bool, "whether `parser use` may make it current"]
    like: Annotated[str, "a version that has the contract of the live rows; empty: none"]


@event()
class ParserParametersSet(Event):
    """The parameters of a parser's later jobs were set, instead of the declared defaults."""

    name: str
    params: Annotated[Mapping[str, Json], "all stored values, {name: value}; empty: the declared defaults"]
    reason: str


@event()
class OutputVersionCreated(Event):
    """A new version of an output was created, without rows yet."""

    output: str
    version: Annotated[int, "number of the version"]
    parser: Annotated[str, "owner"]
    contract_hash: Annotated[str, "the contract that every row will satisfy"]
    status: Annotated[OutputStatus, "building|live|retired|removed"]


@event()
class OutputVersionSetLive(Event):
    """A version of an output became live: queries see it. The previous live version is retired."""

    output: str
    version: Annotated[int, "number of the version"]


@event()
class OutputVersionClosed(Event):
    """A version of an output was closed: it gets no more jobs. Its rows stay (retired) or are gone (removed)."""

    output: str
    version: Annotated[int, "number of the version"]
    status: Annotated[OutputStatus, "retired|removed"]
    reason: str


@event()
class OutputContractsChanged(Event):
    """The contracts that rows of this output version are checked against changed."""

    output: str
    version: Annotated[int, "number of the version"]
    contract_hash: Annotated[str, "the contract that every row satisfies"]
    contracts: Annotated[tuple[str, ...], "the contracts for new rows: that one and stricter ones, the newest 50"]


@event()
class ParserPaused(Event):
    """A parser was paused: its jobs stay queued."""

    name: str
    reason: str
    version: Annotated[str, "the version that its circuit breaker paused; a user pauses all versions"] = ""
    cooldown_seconds: Annotated[float | None, "for a circuit breaker; 0 = until a user resumes it"] = None


@event()
class ParserHalfOpened(Event):
    """The cool-down of a paused version is over; one job may try it."""

    name: str
    version: str


@event()
class ParserResumed(Event):
    """A parser was resumed: its jobs run again."""

    name: str
    reason: str
    version: Annotated[str, "the version whose trial job succeeded; a user resumes all versions"] = ""


@event()
class ContractProposed(Event):
    """A contract was proposed and waits for approval."""

    contract_id: str
    scope_id: Annotated[str, "hash of parser, version, output"]
    parser: str
    version: str
    output: str
    contract_hash: Annotated[str, "blob of canonical JSON"]
    logic_hash: str
    columns: Annotated[int, "count"]


@event(version=2)
class ContractApproved(Event):
    """A contract was approved: jobs may run under it."""

    contract_id: str
    reason: str
    carried_from: Annotated[str, "the approval of an identical contract that was carried over; empty: a user decided"]
    derives_current: Annotated[bool, "as in ParserRetired"] = False


@event()
class ContractRejected(Event):
    """A contract was rejected: no job runs under it."""

    contract_id: str
    reason: str


@event()
class QuarantinePolicySet(Event):
    """A stored override of a quarantine policy was set or removed."""

    parser: str
    output: Annotated[str, "empty = all outputs"]
    policy: Annotated[Mapping[str, Scalar], "the policy as a map; empty: removed"]
