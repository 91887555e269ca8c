"""The events: one dataclass for each type, with its version and what its fields mean.

An event is a past fact. The log stores it as `[ts, type, v, actor, data]`, and its position gives its sequence. `to_data` makes
the data, `decode` reads data of any version. The meaning of a type never changes: a new meaning is a new type, and a new shape
is a new version with a step in `packing`. `docs/reference/events.md` is generated from the classes. The package is pure.
"""

from __future__ import annotations

from casparian_protocol.events import files, jobs, registry, system
from casparian_protocol.events.base import About, Event, EventData, Field, MalformedEvent, Unknown
from casparian_protocol.events.files import (
    ContentsRecognised,
    FileContent,
    FilesObserved,
    FilesRevised,
    FilesTagged,
    ScanFinished,
    ScanStarted,
    SourceAdded,
    SourceRemoved,
    TagRuleAdded,
    TagRuleRemoved,
)
from casparian_protocol.events.jobs import (
    FailureClosed,
    JobCancelled,
    JobCancelRequested,
    JobCompleted,
    JobDeadLettered,
    JobDue,
    JobEvent,
    JobFailed,
    JobLeased,
    JobOutputsCommitted,
    JobProgressed,
    JobQueued,
    JobReplayed,
    JobRetryScheduled,
    JobStarted,
    LeaseExpired,
    QuarantineCount,
    QuarantineKept,
    QuarantineRecorded,
)
from casparian_protocol.events.packing import upcast
from casparian_protocol.events.registry import (
    ContractApproved,
    ContractProposed,
    ContractRejected,
    OutputContractsChanged,
    OutputVersionClosed,
    OutputVersionCreated,
    OutputVersionSetLive,
    ParserCurrentChanged,
    ParserHalfOpened,
    ParserParametersSet,
    ParserPaused,
    ParserRegistered,
    ParserResumed,
    ParserRetired,
    ParserVersionWaits,
    Problem,
    QuarantinePolicySet,
)
from casparian_protocol.events.system import (
    IntakePaused,
    IntakeResumed,
    LogRepaired,
    SentinelStarted,
    SentinelStopped,
    TornTailCut,
    WeakerSandboxAccepted,
    WorkerJoined,
    WorkerLeft,
    WorkerLost,
)

__all__ = [
    "CATALOGUE",
    "LAZY",
    "NOT_AUDITED",
    "VERSIONS",
    "About",
    "ContentsRecognised",
    "ContractApproved",
    "ContractProposed",
    "ContractRejected",
    "Event",
    "EventData",
    "FailureClosed",
    "Field",
    "FileContent",
    "FilesObserved",
    "FilesRevised",
    "FilesTagged",
    "IntakePaused",
    "IntakeResumed",
    "JobCancelRequested",
    "JobCancelled",
    "JobCompleted",
    "JobDeadLettered",
    "JobDue",
    "JobEvent",
    "JobFailed",
    "JobLeased",
    "JobOutputsCommitted",
    "JobProgressed",
    "JobQueued",
    "JobReplayed",
    "JobRetryScheduled",
    "JobStarted",
    "LeaseExpired",
    "LogRepaired",
    "MalformedEvent",
    "OutputContractsChanged",
    "OutputVersionClosed",
    "OutputVersionCreated",
    "OutputVersionSetLive",
    "ParserCurrentChanged",
    "ParserHalfOpened",
    "ParserParametersSet",
    "ParserPaused",
    "ParserRegistered",
    "ParserResumed",
    "ParserRetired",
    "ParserVersionWaits",
    "Problem",
    "QuarantineCount",
    "QuarantineKept",
    "QuarantinePolicySet",
    "QuarantineRecorded",
    "ScanFinished",
    "ScanStarted",
    "SentinelStarted",
    "SentinelStopped",
    "SourceAdded",
    "SourceRemoved",
    "TagRuleAdded",
    "TagRuleRemoved",
    "TornTailCut",
    "Unknown",
    "WeakerSandboxAccepted",
    "WorkerJoined",
    "WorkerLeft",
    "WorkerLost",
    "decode",
]

#: Every type by its name, in the order of the reference page.
CATALOGUE: dict[str, type[Event]] = {
    name: cls
    for module in (files, registry, jobs, system)
    for name, cls in vars(module).items()
    if isinstance(cls, type) and issubclass(cls, Event) and "about" in vars(cls)
}
#: The version of each type that this program writes.
VERSIONS: dict[str, int] = {name: cls.about.version for name, cls in CATALOGUE.items()}
LAZY: frozenset[str] = frozenset(name for name, cls in CATALOGUE.items() if cls.about.is_lazy)
#: Events that `cf_audit` leaves out.
NOT_AUDITED: frozenset[str] = LAZY


def decode(name: str, version: int, data: EventData) -> Event:
    """The recorded event; `Unknown` for a type or version that is newer than this program.

    Raises `MalformedEvent` for data that fit no version of the type.
    """
    known = VERSIONS.get(name)
    if known is None or version > known:
        return Unknown(name, version, data)
    if version < known:
        try:
            data = upcast(name, version, known, data)
        except (KeyError, TypeError, AttributeError) as cause:
            raise MalformedEvent(f"{name} of version {version} has no {cause}") from cause
    return CATALOGUE[name].from_data(data)
