"""The first program of a guest: it limits itself, ties its life to the worker's, then becomes the shim.

It is run by path, as `python -I -S -B launch.py <shim folder> <job descriptor> <worker pid or 0> <limits> <plan>`, the last two
as JSON; or as `… launch.py <shim folder> probe`, which tries the layers of a sandbox instead; or as `… launch.py <shim folder>
warm <control descriptor> <worker pid> <import paths> <1 for a network of its own>`, a process that forks guests. It uses only the
standard library and can import nothing of the worker. The parser is not known yet, and rights given up here cannot be regained.
"""

import importlib.util
import json
import os
import resource
import sys
from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:  # spelled like this, it does not import `typing`
    import ctypes
    from typing import Any

    from casparian_shim.frames.kinds import GuestJob

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_SIGKILL = 9
#: The time that a guest which ignores SIGXCPU has left.
_CPU_GRACE_SECONDS = 2
#: How often a guest checks that its worker is alive, if the kernel does not end the guest.
_LOOK_SECONDS = 1.0


def die_with(worker_pid: int) -> None:
    """Kill this process when the thread that started it ends, and gain no privileges in programs it starts.

    If the kernel has no `prctl` (macOS), a thread checks each second whether the worker is still the parent.
    """
    prctl = getattr(_libc(), "prctl", None)
    if prctl is None:
        import threading

        threading.Thread(target=_watch_parent, args=(worker_pid,), name="watches-parent", daemon=True).start()
    else:
        for option, argument in ((_PR_SET_PDEATHSIG, _SIGKILL), (_PR_SET_NO_NEW_PRIVS, 1)):
            if prctl(option, argument, 0, 0, 0) != 0:
                raise OSError(f"prctl {option} failed")
    if os.getppid() != worker_pid:  # it ended before the kernel knew of this process
        os.kill(os.getpid(), _SIGKILL)


@cache
def _libc() -> "ctypes.CDLL":
    import ctypes

    return ctypes.CDLL(None, use_errno=True)


def _watch_parent(worker_pid: int) -> None:
    import time

    while os.getppid() == worker_pid:
        time.sleep(_LOOK_SECONDS)
    os.kill(os.getpid(), _SIGKILL)


def limit(limits: dict[str, int]) -> None:
    """Set soft and hard limits that are given and not above the inherited ones."""
    kinds = {
        "address_space_bytes": resource.RLIMIT_AS,
        "cpu_seconds": resource.RLIMIT_CPU,
        "file_bytes": resource.RLIMIT_FSIZE,
        "open_files": resource.RLIMIT_NOFILE,
        "core_bytes": resource.RLIMIT_CORE,
    }
    for name, wanted in limits.items():
        if wanted is None:
            continue
        kind = kinds[name]
        _soft, hard = resource.getrlimit(kind)
        ceiling = wanted + _CPU_GRACE_SECONDS if kind == resource.RLIMIT_CPU else wanted
        if hard != resource.RLIM_INFINITY:
            ceiling = min(ceiling, hard)
        resource.setrlimit(kind, (min(wanted, ceiling), ceiling))


def load_shim(folder: str) -> None:
    """Load the package `casparian_shim` from its own folder, and from nowhere else."""
    location = os.path.join(folder, "__init__.py")
    spec = importlib.util.spec_from_file_location("casparian_shim", location, submodule_search_locations=[folder])
    assert spec is not None and spec.loader is not None
    sys.modules["casparian_shim"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["casparian_shim"])


def run(arguments: list[str]) -> int:
    program, shim_folder, job_descriptor, *rest = arguments
    own_folder = os.path.dirname(os.path.abspath(program))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != own_folder]  # without -I it comes first
    if job_descriptor == "probe":
        load_shim(shim_folder)
        from casparian_shim.sandbox import probe

        return probe.main()
    if job_descriptor == "warm":
        control, worker_pid, sys_paths, own_network = rest
        return run_warm(
            int(control), int(worker_pid), json.loads(sys_paths), shim_folder, own_network=own_network == "1"
        )
    worker_pid, limits, planned = rest
    limit(json.loads(limits))
    load_shim(shim_folder)
    from casparian_shim import process

    if worker_pid == "0":  # `casparian run`: the user's own terminal, and no sandbox
        process.reset_signals(keep=process.TERMINAL)
        from casparian_shim.guest import main

        return main(["guest", job_descriptor])
    process.reset_signals()
    from casparian_shim.guest import read_job

    return run_contained(read_job(job_descriptor), int(worker_pid), json.loads(planned), shim_folder)


def run_warm(control: int, worker_pid: int, sys_paths: list[str], shim_folder: str, *, own_network: bool) -> int:
    """Fork guests until the worker ends or wants no more. Each limits and confines itself as a guest that starts by itself.

    They all are in the network of this process, where there is nothing.
    """
    load_shim(shim_folder)
    from casparian_shim import process, warm
    from casparian_shim.frames.kinds import GuestJob
    from casparian_shim.sandbox import confine, privileges

    process.reset_signals()
    if own_network:
        privileges.leave_network()
    die_with(worker_pid)
    privileges.hide()
    privileges.prepare()
    kept = confine.prepare((shim_folder, *sys_paths), warm.KEPT)
    own_pid = os.getpid()

    def run_guest(order: warm.Order) -> int:
        limit(order.limits)
        job = GuestJob.from_fields(order.job)
        return flushed(run_contained(job, own_pid, order.plan, shim_folder, has_own_network=own_network))

    return warm.serve(control, sys_paths, run_guest, kept)


def run_contained(
    job: "GuestJob", worker_pid: int, planned: "dict[str, Any]", shim_folder: str, *, has_own_network: bool = False
) -> int:
    """Give up everything that the plan does not leave, then run the job."""
    from dataclasses import replace

    from casparian_shim.guest import run
    from casparian_shim.sandbox.confine import Confinement, Plan, confine
    from casparian_shim.sandbox.privileges import give_up, leave_network

    plan = Plan.from_fields({**planned, "read": (*planned["read"], shim_folder)})
    problem = ""
    try:
        if plan.own_network and not has_own_network:
            leave_network()
            has_own_network = True
        if plan.gives_up_rights:
            give_up(plan.scratch or None)
    except OSError as refused:
        problem = str(refused)
    die_with(worker_pid)  # after a change of the user, which the kernel answers by forgetting it
    confined = Confinement(problem=problem) if problem else replace(confine(plan), own_network=has_own_network)
    return run(job, confined)


def flushed(status: int) -> int:
    """Write what is still in the buffers of stdout and stderr; returns `status`."""
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # the sideband is closed
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    return status


if __name__ == "__main__":
    os._exit(flushed(run(sys.argv)))  # threads a parser left behind must not keep a finished job alive
