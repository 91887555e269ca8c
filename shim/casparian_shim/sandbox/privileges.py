"""Rights of the process itself: capabilities, user, network, core files.

A guest of a worker that runs as root gets a user id of its own, from a range that is not used for accounts or services, so that
ordinary permissions hold too. It keeps one capability, to read what its worker may read: below a private home it would reach
neither interpreter nor parser nor input. What it may really read is then left to Landlock. If the user cannot be changed, the
guest stays root without any capability.

A network of its own has no interface that is up. Connections that are open already stay; what the kernel tells about the network,
as in `/proc/net`, is about this one. Without root that takes a user namespace, in which only this user exists.
"""

import ctypes
import os
import resource
import struct
import sys
from functools import cache

from casparian_shim.sandbox.syscalls import libc

_PR_SET_DUMPABLE = 4
_PR_SET_KEEPCAPS = 8
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_CAPABILITIES_VERSION_3 = 0x20080522
_HIGHEST_CAPABILITY = 63
_CHOWN, _KILL, _SETGID, _SETUID = 0, 5, 6, 7
_NEW_USER, _NEW_NETWORK = 0x10000000, 0x40000000
READ_SEARCH = 2
#: Unused by accounts, services and containers according to systemd's list of user ids.
FIRST_USER, USERS = 60_600, 500
#: Threads of a guest that has a user of its own.
_THREADS_MAX = 1024


def capabilities(status: str) -> int:
    """The effective capabilities in the text of a `/proc/<pid>/status`."""
    return int(field_of(status, "CapEff") or "0", 16)


def field_of(status: str, name: str) -> str:
    """The value of a line of a `/proc/<pid>/status`; "" if it has none."""
    _before, found, rest = f"\n{status}".partition(f"\n{name}:")
    return rest.partition("\n")[0].strip() if found else ""


@cache
def can_change_user() -> bool:
    """Whether this process was root when it was first asked, and might give a child another user, and end it afterwards."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return False
    with open("/proc/self/status", encoding="ascii") as file:
        held = capabilities(file.read())
    return all(held >> each & 1 for each in (_CHOWN, _KILL, _SETGID, _SETUID))


def leave_network() -> None:
    """Change to a network of this process's own. Raises `OSError` if the kernel does not allow that."""
    user, group = os.geteuid(), os.getegid()
    if user == 0:  # in a user namespace of its own, a guest could not get a user of its own
        _unshare(_NEW_NETWORK)
        return
    _unshare(_NEW_USER | _NEW_NETWORK)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{user} {user} 1"), ("gid_map", f"{group} {group} 1")):
        with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
            file.write(text)
    _set_capabilities(0)  # a new namespace grants all of them


def give_up(scratch: str | None) -> int:
    """Give up every capability, and the user if that is root. Returns the user id from now on. Raises `OSError`.

    `scratch` then belongs to the new user.
    """
    keep = 0
    if can_change_user():
        user = FIRST_USER + os.getpid() % USERS
        _empty_bounding_set()
        try:
            os.setgroups([])
            _prctl(_PR_SET_KEEPCAPS, 1)
            if scratch is not None:
                os.chown(scratch, user, user)
            os.setresgid(user, user, user)
            os.setresuid(user, user, user)
            keep = 1 << READ_SEARCH
            resource.setrlimit(resource.RLIMIT_NPROC, (_THREADS_MAX, _THREADS_MAX))
        except OSError:  # a user namespace without this id: root of a container, without capabilities
            keep = 0
    _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    _set_capabilities(keep)
    hide()
    return os.geteuid()


def prepare() -> None:
    """Do what has the same effect in this process as in all those that it forks."""
    if can_change_user():
        _empty_bounding_set()


def hide() -> None:
    """No core file of this process, and no other process of its user may look into it. Raises `OSError`."""
    _prctl(_PR_SET_DUMPABLE, 0)


@cache
def _empty_bounding_set() -> None:
    """Once is enough: processes that are forked later inherit it."""
    for capability in range(_HIGHEST_CAPABILITY + 1):
        if libc().prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) != 0:  # the kernel knows no more, or forbids it
            break


def _set_capabilities(kept: int) -> None:
    head = struct.pack("=Ii", _CAPABILITIES_VERSION_3, 0)
    low = struct.pack("=III", kept, kept, 0)
    if libc().capset(head, low + bytes(12)) != 0:
        raise OSError(ctypes.get_errno(), "capset")


def _unshare(namespaces: int) -> None:
    if libc().unshare(namespaces) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"a network of its own: {os.strerror(code)}")


def _prctl(option: int, *arguments: int) -> None:
    if libc().prctl(option, *(ctypes.c_ulong(each) for each in (*arguments, 0, 0, 0, 0)[:4])) != 0:
        raise OSError(ctypes.get_errno(), f"prctl {option}")
