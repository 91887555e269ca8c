"""The versions of registered parsers: how each stands, why one waits, how it fares, and the parameters that it runs with."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypedDict

from packaging.version import Version

from casparian_app.gateway import Gateway
from casparian_app.names import unknown
from casparian_app.problems import UsageProblem
from casparian_protocol.parsers import ParameterRefused
from casparian_protocol.parsers.metadata import accept_parameter, read_parameter
from casparian_protocol.queries.registry import ContractsListed, ParserVersion, ParserVersions, StoredParameters
from casparian_protocol.wording import what_to_do, why_waits


class Waits(TypedDict):
    """Why a version waits, and what helps."""

    said: str
    remedy: str
    problems: list[dict[str, Any]]


class WaitingVersion(Waits):
    parser: str
    version: str
    #: The version that takes files meanwhile; empty for none.
    current: str


class Parameter(TypedDict):
    """A declared parameter: its value, its default, and where the value comes from."""

    name: str
    value: Any
    default: Any
    origin: str


@dataclass(frozen=True, slots=True)
class ParserStanding:
    """One version as the registry has it, and how it stands."""

    row: ParserVersion
    #: current, ready (it may run, and another version is current), waits, or what keeps it from running.
    standing: str
    #: The version of this parser that takes new and changed files; empty for none.
    current: str

    @property
    def name(self) -> str:
        return self.row["name"]

    @property
    def version(self) -> str:
        return self.row["version"]

    @property
    def is_current(self) -> bool:
        return self.row["is_current"]

    @property
    def paused_at(self) -> int | None:
        """By a person, or by its circuit breaker."""
        return self.row["paused_at"] or self.row["opened_at"]

    @property
    def pause_reason(self) -> str | None:
        return self.row["pause_reason"] or self.row["breaker_reason"]

    @property
    def state(self) -> str:
        """As `standing`, and paused where that is what keeps its jobs from running."""
        return "paused" if self.paused_at and self.standing in ("current", "ready") else self.standing

    @property
    def declared(self) -> dict[str, Any]:
        """Its parameters with their defaults."""
        declared: dict[str, Any] = json.loads(self.row["params_json"] or "{}")
        return declared

    @property
    def outputs(self) -> dict[str, Any]:
        outputs: dict[str, Any] = json.loads(self.row["outputs_json"] or "{}")
        return outputs

    @property
    def waits(self) -> Waits | None:
        """Why it waits and what helps; None when it does not."""
        if not self.row["waits_json"] or self.standing != "waits":
            return None
        waits = json.loads(self.row["waits_json"])
        may_be_chosen = self.row["may_be_chosen"]
        return {
            "said": why_waits(waits["problems"], waits["left_out"]),
            "remedy": what_to_do(
                self.name, self.version, waits["problems"], may_be_chosen=may_be_chosen, like=waits["like"]
            ),
            "problems": waits["problems"],
        }

    def document(self) -> dict[str, Any]:
        """As `parser list --json` prints it."""
        row: Mapping[str, Any] = self.row
        return {
            **{name: row[name] for name in _DOCUMENTED},
            "paused_at": self.paused_at,
            "pause_reason": self.pause_reason,
            "params": self.declared,
            "outputs": self.outputs,
            "state": self.state,
            "waits": self.waits,
        }

    def health(self) -> dict[str, Any]:
        """As `parser health --json` prints it. `state`: running, paused (by a person), open or half_open, retired."""
        row, breaker = self.row, self.row["breaker"] or "closed"
        state = "running" if breaker == "closed" else breaker
        if row["paused_at"]:
            state = "paused"
        if row["state"] == "RETIRED":
            state = "retired"
        return {
            "parser": self.name,
            "version": self.version,
            "state": state,
            "consecutive_failures": row["consecutive_failures"] or 0,
            "half_open": breaker == "half_open",
            "paused_at": self.paused_at,
            "pause_reason": row["pause_reason"] if row["paused_at"] else row["breaker_reason"],
            "probe_at": row["probe_at"] if breaker == "open" else None,
            "last_failure_reason": row["last_failure_reason"],
            "total_executions": row["total_executions"] or 0,
            "successful_executions": row["successful_executions"] or 0,
            "last_run_at": row["last_run_at"],
        }


_DOCUMENTED = (
    "name",
    "version",
    "registered_at",
    "artifact",
    "kind",
    "may_drop_records",
    "topics",
    "is_current",
    "current_since",
    "current_by",
    "current_reason",
    "total_executions",
    "successful_executions",
    "last_failure_reason",
)


def parser_versions(gateway: Gateway, name: str | None = None) -> list[ParserStanding]:
    """Every version, or those of one parser: parsers by name, versions by PEP 440."""
    contracts: dict[tuple[str, str], dict[str, str]] = {}
    for one in gateway.query(ContractsListed(parser=name)):
        contracts.setdefault((one["parser"], one["version"]), {})[one["output"]] = one["state"].lower()
    found = gateway.query(ParserVersions(name))
    current = {row["name"]: row["version"] for row in found if row["is_current"]}
    standings = [
        ParserStanding(
            row, _standing(row, contracts.get((row["name"], row["version"]), {})), current.get(row["name"], "")
        )
        for row in found
    ]
    return sorted(standings, key=lambda one: (one.name, Version(one.version)))


def versions_of(gateway: Gateway, name: str) -> list[ParserStanding]:
    """The versions of one parser. Raises `UnknownName` when there are none."""
    found = parser_versions(gateway, name)
    if not found:
        raise unknown(gateway, "parser", name)
    return found


def newest_or_current(versions: Sequence[ParserStanding]) -> ParserStanding:
    """The version that is meant when none is named."""
    return next((one for one in versions if one.is_current), versions[-1])


def _standing(row: ParserVersion, contracts: dict[str, str]) -> str:
    states = {contracts.get(output, "none") for output in json.loads(row["outputs_json"] or "{}")}
    if row["state"] == "RETIRED":
        return "retired"
    if "rejected" in states:
        return "contract rejected"
    if "none" in states or not states:
        return "no contract"
    if "proposed" in states:
        return "waits for approval"
    if row["waits_json"]:
        return "waits"
    return "current" if row["is_current"] else "ready"


def waiting_versions(gateway: Gateway, parsers: Collection[str]) -> list[WaitingVersion]:
    """Versions of these parsers that may run and wait."""
    return [
        {"parser": one.name, "version": one.version, "current": one.current, **waits}
        for one in parser_versions(gateway)
        if one.name in parsers and (waits := one.waits) is not None
    ]


# --- parameters ---


def parameters(gateway: Gateway, version: ParserStanding) -> list[Parameter]:
    """Each declared parameter with its value in production."""
    stored = {one["name"]: json.loads(one["value_json"]) for one in gateway.query(StoredParameters(version.name))}
    return [_parameter(version.declared, name, stored) for name in version.declared]


def _parameter(declared: dict[str, Any], name: str, stored: dict[str, Any]) -> Parameter:
    default = declared[name]
    if name not in stored:
        return {"name": name, "value": default, "default": default, "origin": "default"}
    try:
        value, origin = accept_parameter(declared, name, stored[name]), "set"
    except ParameterRefused:
        value, origin = stored[name], "set, of another type than this version declares"
    return {"name": name, "value": value, "default": default, "origin": origin}


def set_parameters(
    gateway: Gateway, version: ParserStanding, given: Sequence[str], unset: Sequence[str], *, reset: bool, reason: str
) -> None:
    """Set parameters from `NAME=VALUE`, give others their declared defaults back. Raises `UsageProblem` for a wrong value."""
    try:
        wanted = dict(read_parameter(version.declared, text) for text in given)
    except ParameterRefused as refused:
        raise UsageProblem(refused.problem, remedy=refused.remedy or "") from refused
    gateway.request("set_parameters", parser=version.name, values=wanted, unset=list(unset), reset=reset, reason=reason)
