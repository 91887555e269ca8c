"""The quarantine policy: how many bad rows an output may have, and for how long they are kept.

A layer (config file, stored override, contract, command line) sets some of the keys; `cascade` merges layers from
lowest to highest. `breach` is the verdict over counts; acting on it is the worker's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from casparian_protocol.bounds import COUNT_MAX, Count, PathText


def _whole_to_float(value: object) -> object:
    return float(value) if type(value) is int and abs(value) <= COUNT_MAX else value


class QuarantinePolicy(BaseModel):
    """One layer of the policy: only keys that were given count (`model_fields_set`)."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    allow: bool = True
    max_pct: Annotated[float, BeforeValidator(_whole_to_float), Field(ge=0, le=100)] | None = 10.0
    max_count: Count | None = None
    dir: PathText | None = None
    keep_days: Annotated[int, Field(ge=1, le=36_500)] | None = None


#: Named in the specification, not built: accepted in what was stored earlier, refused in what is new.
UNBUILT_KEYS = ("dir", "keep_days")
BUILT_IN_POLICY = QuarantinePolicy(allow=True, max_pct=10.0, max_count=None, dir=None, keep_days=None)


def unbuilt_keys(policy: QuarantinePolicy | None) -> list[str]:
    """Keys that would have no effect. Those who write a policy anew are told so; stored ones stay as they are."""
    return [key for key in UNBUILT_KEYS if policy is not None and getattr(policy, key) is not None]


def cascade(*layers: QuarantinePolicy | None) -> QuarantinePolicy:
    """The policy in force: the built-in one, overridden by each layer in turn, lowest first."""
    keys = BUILT_IN_POLICY.model_dump()
    for layer in layers:
        if layer is not None:
            keys |= layer.model_dump(exclude_unset=True)
    return QuarantinePolicy.model_validate(keys)


@dataclass(frozen=True, slots=True)
class PolicyBreach:
    """The limit that was passed, in words and numbers."""

    limit: str
    reason: str


def breach(policy: QuarantinePolicy, *, received: int, quarantined: int, at_end: bool) -> PolicyBreach | None:
    """The first limit that the counts pass. `max_pct` is judged only at the end, over all rows received."""
    if quarantined and not policy.allow:
        return PolicyBreach("allow", f"{quarantined} bad rows, and quarantine is not allowed")
    if policy.max_count is not None and quarantined > policy.max_count:
        return PolicyBreach("max_count", f"{quarantined} bad rows, at most {policy.max_count} are allowed")
    if at_end and policy.max_pct is not None and quarantined * 100 > policy.max_pct * received:
        share = 100 * quarantined / received
        return PolicyBreach(
            "max_pct", f"{quarantined} of {received} rows are bad ({share:.2f} %), at most {policy.max_pct:g} % may be"
        )
    return None
