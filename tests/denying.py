"""Processes to which the system refuses system calls, as a container's rules do: machines with less of a sandbox, for real."""

from __future__ import annotations

import sys
from collections.abc import Sequence

#: What makes a sandbox, and the change of the user.
EVERY_LAYER = "seccomp,landlock_create_ruleset,setresuid"
LANDLOCK = "landlock_create_ruleset,landlock_add_rule,landlock_restrict_self"
_DENY = """
import ctypes, os, struct, sys
from casparian_shim.sandbox import seccomp
from casparian_shim.sandbox.syscalls import architecture
known = architecture(os.uname().machine)
code = [(0x20, 0, 0, 0)]
for name in sys.argv[1].split(","):
    code += [(0x15, 0, 1, known.numbers[name]), (0x06, 0, 0, 0x00050000 | 1)]
code.append((0x06, 0, 0, 0x7FFF0000))
seccomp.load(b"".join(struct.pack("=HBBI", *each) for each in code))
os.execv(sys.executable, [sys.executable, *sys.argv[2:]])
"""


def python_without(calls: str, arguments: Sequence[str]) -> list[str]:
    """The command of a Python with these arguments, in which these calls fail with EPERM."""
    return [sys.executable, "-c", _DENY, calls, *arguments]
