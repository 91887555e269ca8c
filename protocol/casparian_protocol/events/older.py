"""Events of older versions, brought to today's: (type, version) → the data of the next version.

Nothing rewrites the log: an event keeps the version it was written in. A step never looks at other events and is never
changed once it was released.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from casparian_protocol.jobs import PLAIN_PART_NAMES
from casparian_protocol.jobs.kinds.older import with_work

Data: TypeAlias = dict[str, Any]
Step: TypeAlias = Callable[[Data], Data]


def _job_with_targets(data: Data) -> Data:
    """Before version 2 every output had one version, and parameters were the declared defaults."""
    job = data["job"]
    targets = dict.fromkeys(job.get("contracts", {}), 1)
    return {**data, "job": {**job, "output_versions": targets, "param_origins": {}}}


def _job_with_work(data: Data) -> Data:
    """Before version 3 a job had the fields of every kind at one level."""
    return {**data, "job": with_work(data["job"])}


def _approval_with_origin(data: Data) -> Data:
    """Before version 2 somebody decided about each contract, and the current version followed from the approvals."""
    return {**data, "carried_from": "", "derives_current": True}


def _retirement_that_derives(data: Data) -> Data:
    return {**data, "derives_current": True}


#: One for every version of a type that a release has ever written, but its last.
STEPS: dict[tuple[str, int], Step] = {
    ("JobOutputsCommitted", 1): lambda data: {**data, "part_names": PLAIN_PART_NAMES},
    ("JobQueued", 1): _job_with_targets,
    ("JobReplayed", 1): _job_with_targets,
    ("JobQueued", 2): _job_with_work,
    ("JobReplayed", 2): _job_with_work,
    ("ContractApproved", 1): _approval_with_origin,
    ("ParserRetired", 1): _retirement_that_derives,
}


def upcast(name: str, version: int, known: int, data: Data) -> Data:
    """The data of an event of this version as version `known` says it; `known` is not below `version`."""
    while version < known:
        data = STEPS[name, version](data)
        version += 1
    return data


def missing_steps(versions: Mapping[str, int]) -> Iterator[tuple[str, int]]:
    """Steps that must exist and do not; a test keeps this empty."""
    for name, version in versions.items():
        for older in range(1, version):
            if (name, older) not in STEPS:
                yield name, older
