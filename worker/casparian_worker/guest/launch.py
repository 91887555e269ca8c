"""The first program of a guest: it limits itself, ties its life to the worker's, then becomes the shim.

It is run by path, as `python -I -S -B launch.py <shim folder> <job descriptor> <worker pid or 0> <limits as JSON>`. It uses only
the standard library and can import nothing of the worker. The parser is not known yet, and rights given up here cannot be
regained.
"""

import importlib.util
import json
import os
import resource
import sys

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_SIGKILL = 9
#: The time that a guest which ignores SIGXCPU has left.
_CPU_GRACE_SECONDS = 2
_ORPHANED = 3
#: How often a guest checks that its worker is alive, if the kernel does not end the guest.
_LOOK_SECONDS = 1.0


def die_with(worker_pid: int) -> None:
    """End this process when the thread that started it ends, and gain no privileges in programs it starts.

    If the kernel has no `prctl` (macOS), a thread checks each second whether the worker is still the parent.
    """
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    prctl = getattr(libc, "prctl", None)
    if prctl is None:
        import threading

        threading.Thread(target=_watch_parent, args=(worker_pid,), name="watches-parent", daemon=True).start()
    else:
        for option, argument in ((_PR_SET_PDEATHSIG, _SIGKILL), (_PR_SET_NO_NEW_PRIVS, 1)):
            if prctl(option, argument, 0, 0, 0) != 0:
                raise OSError(ctypes.get_errno(), f"prctl {option}")
    if os.getppid() != worker_pid:  # it ended before the kernel knew of this process
        os._exit(_ORPHANED)


def _watch_parent(worker_pid: int) -> None:
    import time

    while os.getppid() == worker_pid:
        time.sleep(_LOOK_SECONDS)
    os._exit(_ORPHANED)


def confine_signals() -> None:
    """Restrict signals from this process to the guest's own children, if the kernel supports that."""
    from casparian_shim.process import keep_signals_inside

    try:
        keep_signals_inside()
    except OSError:  # a container may forbid it; the sentinel then replaces a worker that was stopped
        return


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
    program, shim_folder, job_descriptor, worker_pid, limits = arguments
    own_folder = os.path.dirname(os.path.abspath(program))
    sys.path[:] = [path for path in sys.path if os.path.abspath(path) != own_folder]  # without -I it comes first
    if worker_pid != "0":
        die_with(int(worker_pid))
    limit(json.loads(limits))
    # Landlock and a system call filter belong here: after the limits, before anything of the parser is touched.
    load_shim(shim_folder)
    from casparian_shim import process
    from casparian_shim.guest import main

    is_contained = worker_pid != "0"
    process.reset_signals(keep=() if is_contained else process.TERMINAL)
    if is_contained:
        confine_signals()
    return main(["guest", job_descriptor])


if __name__ == "__main__":
    status = run(sys.argv)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # the sideband is closed
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    os._exit(status)  # threads a parser left behind must not keep a finished job alive
