"""Parsers, contracts, output versions and policies, as events."""

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
    """One place in the source of a parser that a reviewer should look at, found by the gatekeeper."""

    file: str
    line: int
    column: int
    rule: str
    severity: str
    what: str
    why: str


@event()
class ParserRegistered(Event):
    """An immutable artifact is known; its blob was durable before."""

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
    may_drop_records: Annotated[bool, "true: it declares that records may end as nothing"] = False
    signed_by: Annotated[str, "public key, hex"]
    signature: Annotated[str, "hex"]
    findings: Annotated[tuple[FoundInSource, ...], "gatekeeper findings, at most 50"]


@event(version=2)
class ParserRetired(Event):
    """No new jobs for this version."""

    name: str
    version: str
    derives_current: Annotated[
        bool, "version 1: which version is current follows from this event; later there is an event for it"
    ] = False


@event()
class ParserCurrentChanged(Event):
    """Another version of the parser takes new and changed files; jobs that are open finish with theirs."""

    name: str
    version: Annotated[str, "empty: none may run"]
    previous: Annotated[str, "the version before; empty: none"]
    by: Annotated[
        Literal["approval", "hand", "retirement", "start"],
        "approval|hand|retirement|start (of the first sentinel that records it)",
    ]
    reason: str


@event()
class ParserVersionWaits(Event):
    """A version may run, but its contracts do not fit the live rows; or an earlier event of this type is out of date."""

    name: str
    version: str
    problems: Annotated[
        tuple[Problem, ...], "[{output, column, what, code}], at most 20; empty: nothing is in its way any more"
    ]
    left_out: Annotated[int, "count of further problems"]
    may_be_chosen: Annotated[bool, "whether `parser use` may make it current"]
    like: Annotated[str, "a version that has the contract of the live rows; empty: none"]


@event()
class ParserParametersSet(Event):
    """What a parser's jobs get as parameters from now on, instead of the declared defaults."""

    name: str
    params: Annotated[Mapping[str, Json], "all stored values, {name: value}; empty: the declared defaults"]
    reason: str


@event()
class OutputVersionCreated(Event):
    """An output has a new version, without rows yet."""

    output: str
    version: Annotated[int, "number of the version"]
    parser: Annotated[str, "owner"]
    contract_hash: Annotated[str, "every row will satisfy it"]
    status: Annotated[OutputStatus, "building|live|retired|removed"]


@event()
class OutputVersionSetLive(Event):
    """Queries see this version of the output; the one that was live is retired."""

    output: str
    version: Annotated[int, "number of the version"]


@event()
class OutputVersionClosed(Event):
    """No job goes to this version of the output any more: its rows stay (retired), or are gone (removed)."""

    output: str
    version: Annotated[int, "number of the version"]
    status: Annotated[OutputStatus, "retired|removed"]
    reason: str


@event()
class OutputContractsChanged(Event):
    """Rows for this version of an output are checked against further contracts, or others."""

    output: str
    version: Annotated[int, "number of the version"]
    contract_hash: Annotated[str, "every row satisfies it"]
    contracts: Annotated[
        tuple[str, ...], "what new rows may be checked against: that one, and stricter ones; the newest 50"
    ]


@event()
class ParserPaused(Event):
    """Its jobs stay queued."""

    name: str
    reason: str
    version: Annotated[str, "of the version that its circuit breaker paused; by hand all versions are"] = ""
    cooldown_seconds: Annotated[float | None, "of a circuit breaker; 0 = until somebody resumes it"] = None


@event()
class ParserHalfOpened(Event):
    """A paused version has cooled down; one job may probe."""

    name: str
    version: str


@event()
class ParserResumed(Event):
    """Its jobs run again."""

    name: str
    reason: str
    version: Annotated[str, "of the version whose probe succeeded; by hand all versions are"] = ""


@event()
class ContractProposed(Event):
    """A contract waits for approval."""

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
    """Rows may be checked against it."""

    contract_id: str
    reason: str
    carried_from: Annotated[str, "the approval of an identical contract that it carries over; empty: somebody decided"]
    derives_current: Annotated[bool, "as in ParserRetired"] = False


@event()
class ContractRejected(Event):
    """Nothing runs under it."""

    contract_id: str
    reason: str


@event()
class QuarantinePolicySet(Event):
    """There is a stored override of a quarantine policy, or none any more."""

    parser: str
    output: Annotated[str, "empty = all outputs"]
    policy: Annotated[Mapping[str, Scalar], "the policy as a map; empty: none any more"]
