"""What sandbox this machine offers, the plan of one guest, and the check that a guest has put it on.

Nothing is concluded from versions: `probe` starts an interpreter as guests get it, which puts each layer on a child and tries
what the layer should stop. The answer holds for this process. A guest reports its level in its hello, before the parser is
imported; `require_confined` compares that with the plan and with what the kernel says about the process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import casparian_shim
from casparian_protocol.errors import CasparianError, ErrorCode
from casparian_shim.frames.kinds import Hello
from casparian_shim.sandbox.confine import Plan
from casparian_shim.sandbox.privileges import READ_SEARCH, capabilities, field_of
from casparian_worker.guest import launch

#: The sandbox level of a guest, as leases and commits record it.
Level = Literal["full", "strong", "basic", "none"]

SHIM_FOLDER = str(Path(casparian_shim.__file__).parent)
LAUNCH = str(Path(launch.__file__))
PROBE = "probe"
_PROBE_SECONDS = 60.0
#: With a filter; ended by its filter.
_SECCOMP_FILTER = {"2", "3"}


class SandboxTooWeak(CasparianError):
    """The settings require a stronger sandbox than this machine offers."""

    code = ErrorCode.SANDBOX_UNAVAILABLE

    def __init__(self, machine: Machine, minimum: Level) -> None:
        missing = "; ".join(machine.missing(minimum))
        super().__init__(
            f"Guests run at sandbox level {machine.level} here, and sandbox.minimum is {minimum}. Missing: {missing}.",
            remedy=f'Use a machine that has it. If you trust your parsers that far, set sandbox.minimum = "{machine.level}" in '
            "config.toml, or start with --accept-weaker-sandbox.",
        )


class NotConfined(CasparianError):
    """A guest did not get the sandbox that was planned for it. Its parser has not run, or its rows are dropped."""

    code = ErrorCode.SANDBOX_UNAVAILABLE

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The guest was ended, because its sandbox is not as planned: {reason}.",
            remedy="`casparian doctor` tries the layers of this machine; restart the daemon if the machine has changed.",
        )


@dataclass(frozen=True, slots=True)
class Machine:
    """What was found by trying. A problem says why a layer does not work; "" if it does."""

    landlock_abi: int = 0
    has_filter: bool = False
    #: Whether guests get a user of their own, because this process is root and may change it.
    changes_user: bool = False
    #: Whether guests get a network of their own, in which there is nothing.
    owns_network: bool = False
    landlock_problem: str = ""
    filter_problem: str = ""
    user_problem: str = ""
    network_problem: str = ""

    @property
    def level(self) -> Level:
        """The strongest level."""
        if not self.has_filter:
            return "none"
        return "strong" if self.landlock_abi else "basic"

    def missing(self, wanted: Level) -> list[str]:
        """What this machine lacks for that level, and what would supply it."""
        found = []
        if wanted in ("strong", "full") and not self.landlock_abi:
            found.append(
                f"Landlock ({self.landlock_problem}), which Linux 5.13 and newer have if it is in the kernel's list of "
                "security modules (lsm=landlock,…) and no container forbids its system calls"
            )
        if wanted != "none" and not self.has_filter:
            found.append(
                f"a filter of system calls ({self.filter_problem}), which Linux has on x86-64 and aarch64 if no container "
                "forbids seccomp"
            )
        if wanted == "full":
            found.append("bubblewrap, which this version does not use yet")
        return found


_lock = threading.Lock()
_found: Machine | None = None


def probe() -> Machine:
    """What this machine offers; tried once in each process."""
    global _found
    with _lock:
        if _found is None:
            _found = _tried()
        return _found


def _tried() -> Machine:
    if sys.platform != "linux":
        why = f"{sys.platform} has none"
        return Machine(landlock_problem=why, filter_problem=why)
    command = [sys.executable, "-I", "-S", "-B", LAUNCH, SHIM_FOLDER, PROBE]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=_PROBE_SECONDS, env={}, cwd="/")
        said = json.loads(done.stdout)
        landlock, filtered, user, network = (said[name] for name in ("landlock", "filter", "user", "network"))
    except (OSError, subprocess.SubprocessError, ValueError, KeyError) as cause:
        why = f"it could not be tried: {cause}"
        return Machine(landlock_problem=why, filter_problem=why)
    return Machine(
        landlock_abi=landlock["is"],
        has_filter=bool(filtered["is"]),
        changes_user=bool(user["is"]),
        owns_network=bool(network["is"]),
        landlock_problem=landlock["problem"],
        filter_problem=filtered["problem"],
        user_problem=user["problem"],
        network_problem=network["problem"],
    )


def require_level(minimum: Level, machine: Machine) -> None:
    """Raise `SandboxTooWeak` if guests of this machine cannot have this level."""
    if machine.missing(minimum):
        raise SandboxTooWeak(machine, minimum)


def plan_for(machine: Machine, *, read: Iterable[str], scratch: str, inputs: Iterable[int]) -> Plan:
    """The plan of a guest that gets everything this machine offers."""
    return Plan(
        landlock_abi=machine.landlock_abi,
        has_filter=machine.has_filter,
        gives_up_rights=machine.has_filter or machine.changes_user,
        own_network=machine.owns_network,
        read=tuple(path for path in read if path),
        scratch=scratch,
        inputs=tuple(inputs),
    )


def network_of(pid: int | str) -> str:
    """The kernel's name of the network of a process; empty if this process may not know."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


def require_confined(plan: Plan, changes_user: bool, hello: Hello, status: str, network: str = "") -> Level:
    """Check the guest's report, its `/proc/<pid>/status` and its network against its plan; returns its level. Raises
    `NotConfined`.

    Landlock cannot be seen from outside, nor can the network unless this process is root. The guest's own report counts for them:
    it comes from `launch`, before anything of the parser is read, on a kernel where the same calls were tried.
    """
    if hello.sandbox_problem:
        raise NotConfined(hello.sandbox_problem)
    if hello.sandbox != plan.level:
        raise NotConfined(f"it reports level {hello.sandbox}, planned was {plan.level}")
    if hello.landlock_abi != plan.landlock_abi:
        raise NotConfined(f"it reports Landlock ABI {hello.landlock_abi}, planned was {plan.landlock_abi}")
    if hello.own_network != plan.own_network:
        raise NotConfined(f"it reports {'a' if hello.own_network else 'no'} network of its own, which was not planned")
    if plan.own_network and network and network == network_of("self"):
        raise NotConfined("it is in the network of its worker")
    if not plan.has_filter:
        return "none"
    if field_of(status, "Seccomp") not in _SECCOMP_FILTER:
        raise NotConfined("the kernel shows no filter of system calls on it")
    if field_of(status, "NoNewPrivs") != "1":
        raise NotConfined("it could still gain privileges")
    allowed = 1 << READ_SEARCH if changes_user else 0
    if (held := capabilities(status)) & ~allowed:
        raise NotConfined(f"it still has capabilities ({held:016x})")
    if changes_user and "0" in field_of(status, "Uid").split():
        raise NotConfined("it still runs as root")
    return "strong" if plan.landlock_abi else "basic"
