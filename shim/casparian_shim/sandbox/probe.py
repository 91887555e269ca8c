"""Which layers work on this machine, found out by trying: each is put on a child process, which then tries what it should stop.

`launch` runs this instead of a guest, in the interpreter that guests get. The answer is one line of JSON on stdout.
"""

import json
import os
import socket
import sys
import threading
from collections.abc import Callable

from casparian_shim.sandbox import landlock, privileges
from casparian_shim.sandbox.confine import Plan, confine

#: A file that exists and is granted to every guest.
_SOME_FILE = os.path.abspath(os.__file__)


class _LetThrough(Exception):
    """A layer is on, but does not stop what it should."""


def main() -> int:
    """Try the layers; print what works and why not."""
    layers = {"landlock": _try_landlock, "filter": _try_filter, "user": _try_user, "network": _try_network}
    json.dump({name: _in_child(attempt) for name, attempt in layers.items()}, sys.stdout)
    sys.stdout.flush()
    return 0


def _try_landlock() -> int:
    """The ABI version in use."""
    abi = landlock.abi_version()
    if not abi:
        raise OSError("the kernel has no Landlock, or a container forbids it")
    done = landlock.restrict([], [])
    _must_fail("opening a file", lambda: os.close(os.open(_SOME_FILE, os.O_RDONLY)))
    _must_fail("opening a device", lambda: os.close(os.open("/dev/null", os.O_WRONLY)))
    return done


def _try_filter() -> int:
    parent = os.getppid()
    done = confine(Plan(has_filter=True))
    if done.problem:
        raise OSError(done.problem)
    _must_fail("a socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM).close())
    _must_fail("a signal", lambda: os.kill(parent, 0))
    _must_fail("a process", _fork)
    _must_fail("a program", lambda: os.execv(sys.executable, [sys.executable, "-c", ""]))  # noqa: S606
    ran = threading.Event()
    thread = threading.Thread(target=ran.set)
    thread.start()
    thread.join()
    os.close(os.open(_SOME_FILE, os.O_RDONLY))
    if not ran.is_set():
        raise _LetThrough("a thread did not run")
    return 1


def _try_user() -> int:
    """The user id of a guest; 0 if it stays as it is, because this is not root."""
    if os.geteuid() != 0:
        privileges.give_up(None)
        return 0
    user = privileges.give_up(None)
    if not user:
        raise OSError("the user id cannot be changed, so guests stay root, without capabilities")
    _must_fail("becoming root", lambda: os.setresuid(0, 0, 0))
    os.close(os.open(_SOME_FILE, os.O_RDONLY))
    return user


def _try_network() -> int:
    """Whether there is a network of its own, in which an inherited connection still works, and the rest can be given up."""
    with socket.create_server(("127.0.0.1", 0)) as outside:
        address = outside.getsockname()
        with socket.create_connection(address) as inherited, outside.accept()[0] as theirs:
            privileges.leave_network()
            inherited.sendall(b"x")
            if theirs.recv(1) != b"x":
                raise _LetThrough("an inherited connection does not work")
        privileges.give_up(None)
        os.close(os.open(_SOME_FILE, os.O_RDONLY))
        try:
            socket.create_connection(address, timeout=1.0).close()
        except OSError:
            return 1
    raise _LetThrough("a connection was not refused")


def _fork() -> None:
    if os.fork() == 0:
        os._exit(0)


def _must_fail(what: str, action: Callable[[], object]) -> None:
    try:
        action()
    except PermissionError:
        return
    raise _LetThrough(f"{what} was not refused")


def _in_child(attempt: Callable[[], int]) -> dict[str, int | str]:
    """What a child says that makes the attempt; a child that is killed says nothing."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(read)
            try:
                answer: dict[str, int | str] = {"is": attempt(), "problem": ""}
            except (OSError, _LetThrough, AttributeError) as why:  # AttributeError: no prctl in this C library
                answer = {"is": 0, "problem": str(why)}
            os.write(write, json.dumps(answer).encode())
        finally:
            os._exit(0)
    os.close(write)
    said = b""
    while piece := os.read(read, 65_536):
        said += piece
    os.close(read)
    _pid, status = os.waitpid(child, 0)
    if not said:
        return {"is": 0, "problem": f"a process that tried it ended with {os.waitstatus_to_exitcode(status)}"}
    found: dict[str, int | str] = json.loads(said)
    return found
