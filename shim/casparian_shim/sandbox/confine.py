"""What a guest may do, as its worker planned it, and how it gives up the rest.

`Plan` is written by the worker and read by `launch`. `confine` puts Landlock and the filter of system calls on this process, for
good, and says what is on. Levels: *strong* has both, *basic* has the filter, *none* has neither.
"""

import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from casparian_shim.frames.kinds import plain_fields
from casparian_shim.sandbox import landlock, seccomp
from casparian_shim.sandbox.syscalls import architecture

#: From the weakest to the strongest.
LEVELS: tuple[Literal["none", "basic", "strong"], ...] = ("none", "basic", "strong")
_TRUNCATE_SINCE_ABI = 3

#: What Python and the usual libraries read: shared libraries, time zones, the size of the machine. Nothing of its users.
_SYSTEM = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/nix/store", "/etc/ld.so.cache", "/etc/ssl/openssl.cnf", "/etc/mime.types",
    "/etc/apache2/mime.types", "/usr/share/zoneinfo", "/etc/localtime", "/dev/urandom", "/dev/random", "/dev/zero",
    "/proc/meminfo", "/proc/stat", "/proc/cpuinfo", "/sys/devices/system/cpu", "/sys/fs/cgroup",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """The layers to put on, and what remains allowed."""

    #: The newest Landlock ABI version whose rights are used; 0: no Landlock.
    landlock_abi: int = 0
    has_filter: bool = False
    gives_up_rights: bool = False
    #: Whether it has a network of its own, which is not part of the level.
    own_network: bool = False
    #: Files and directories to read, in addition to the interpreter and the system's libraries.
    read: tuple[str, ...] = ()
    #: The directory to write.
    scratch: str = ""
    #: Inherited descriptors of files that may be opened again by name.
    inputs: tuple[int, ...] = ()

    def to_json(self) -> str:
        return json.dumps(plain_fields(self))

    @classmethod
    def from_fields(cls, raw: Mapping[str, Any]) -> "Plan":
        """The plan with these fields, as `plain_fields` gives them."""
        return cls(**{**raw, "read": tuple(raw["read"]), "inputs": tuple(raw["inputs"])})

    @property
    def level(self) -> str:
        return "none" if not self.has_filter else "strong" if self.landlock_abi else "basic"


@dataclass(frozen=True, slots=True)
class Confinement:
    """What is on in a guest. With a problem, some layer of the plan is not, and nothing may be run."""

    level: str = "none"
    landlock_abi: int = 0
    own_network: bool = False
    problem: str = ""


def confine(plan: Plan) -> Confinement:
    """Put the layers on; returns what is on. Never raises for what the kernel refuses."""
    abi, has_filter = 0, False
    try:
        if plan.landlock_abi:
            abi = _put_on_landlock(plan)
        for each in _prepared.descriptors:
            os.close(each)
        if plan.has_filter:
            _put_on_filter(abi)
            has_filter = True
    except OSError as refused:
        return Confinement(problem=str(refused))
    on = Plan(landlock_abi=abi, has_filter=has_filter)
    if on.level != plan.level:
        return Confinement(on.level, abi, problem="this kernel has no Landlock")
    return Confinement(on.level, abi)


def _put_on_landlock(plan: Plan) -> int:
    # A rule is on an object in memory: the kernel makes a new one for this directory unless it stays open.
    own = os.open(f"/proc/{os.getpid()}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    common = _common() if _unprepared is None else _unprepared
    of_its_own = [each for each in plan.read if each not in _prepared.paths]
    read: list[str | int] = [*common, *of_its_own, own, *plan.inputs]
    write = ["/dev/null", *([plan.scratch] if plan.scratch else [])]
    return landlock.restrict(read, write, abi=plan.landlock_abi, also_read=_prepared)


def _common() -> list[str]:
    """What every guest may read."""
    return [*_interpreter(), *_SYSTEM]


def _interpreter() -> set[str]:
    """The directories of the running interpreter; with `site`, those of its environment too."""
    library = os.path.dirname(os.path.abspath(os.__file__))
    return {library, os.path.join(sys.base_prefix, "lib"), *(path for path in sys.path if os.path.isabs(path))}


def _put_on_filter(landlock_abi: int) -> None:
    machine = os.uname().machine
    known = architecture(machine)
    if known is None:
        raise OSError(f"seccomp: no filter is known for {machine}")
    covers_truncating = not 0 < landlock_abi < _TRUNCATE_SINCE_ABI
    seccomp.load(seccomp.filter_for(known, os.getpid(), truncates_by_path=covers_truncating))


#: What this process has opened for the guests that are forked from it, and what of the common paths it has not.
_prepared = landlock.Prepared()
_unprepared: list[str] | None = None


def prepare(read: Iterable[str], first_descriptor: int) -> tuple[int, ...]:
    """Make what the sandbox of every guest has in common, for guests that are forked from this process.

    They may read `read` too. Returns the descriptors that are open for that, from the first on; `confine` closes them.
    """
    global _prepared, _unprepared
    known = architecture(os.uname().machine)
    if known is not None:
        seccomp.filter_for(known, os.getpid())
    if landlock.abi_version():
        _prepared = landlock.prepare([*_common(), *read], first_descriptor)
        _unprepared = [each for each in _common() if each not in _prepared.paths and os.path.exists(each)]
    return _prepared.descriptors
