"""Whether a batch can be converted without running out of memory, asked before it is."""

import os

from casparian_shim.errors import CasparianError, ErrorCode

_SAFETY_FACTOR = 3
#: Smaller batches are not worth the question.
_WORTH_ASKING_BYTES = 1024 * 1024


class OomRisk(CasparianError):
    """Converting a batch would probably exhaust memory."""

    code = ErrorCode.OOM_RISK

    def __init__(self, batch_bytes: int, available_bytes: int) -> None:
        super().__init__(
            f"A batch of about {batch_bytes} bytes needs {_SAFETY_FACTOR} times that to be converted, "
            f"{available_bytes} bytes are available.",
            remedy="Stream: yield rows or smaller tables instead of returning everything at once.",
        )


def ensure_room(batch_bytes: int) -> None:
    """Raise `OomRisk` when three times the batch exceeds what is available. Unknown means enough."""
    if batch_bytes < _WORTH_ASKING_BYTES:
        return
    available = available_bytes()
    if available is not None and available < _SAFETY_FACTOR * batch_bytes:
        raise OomRisk(batch_bytes, available)


def available_bytes() -> int | None:
    """The lesser of the machine's available memory and what is left of this process's address space."""
    known = [value for value in (_machine_available_bytes(), _address_space_left_bytes()) if value is not None]
    return min(known, default=None)


def _machine_available_bytes() -> int | None:
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            for line in lines:
                if line.startswith("MemAvailable:"):
                    return int(line.split()[1]) * 1024
    except OSError:  # not Linux, or a sandbox without /proc
        return None
    return None


def _address_space_left_bytes() -> int | None:
    try:
        import resource  # not on every platform

        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit == resource.RLIM_INFINITY:
            return None
        with open("/proc/self/statm", encoding="ascii") as statm:
            used = int(statm.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ImportError):
        return None
    return max(0, limit - used)
