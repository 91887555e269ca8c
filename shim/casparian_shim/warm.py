"""The warm process: it loads what every guest needs, then forks one guest for each order of its worker.

Parsers never run in it. `serve` answers one message at a time over a socket of packets: a *fork* with the guest's descriptors,
and a *reap*. A guest that has ended stays a zombie until its worker asks for its status, so that its process id cannot come to
mean another process. `launch` says how a forked process limits and confines itself and runs the job: as a guest that starts by
itself does.

A fork copies one thread and everything that is open. Therefore `serve` refuses to work with a second thread or a descriptor of
which it does not know, and a guest keeps only `DESCRIPTORS`. What it also copies is the layout of memory and the seed of `hash`:
guests of one warm process have these in common, and nothing else.
"""

import array
import contextlib
import gc
import json
import os
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from casparian_shim.frames.kinds import GuestJob, plain_fields
from casparian_shim.guest import ABSENT, TRANSIENT, prepare_sideband, run_parser
from casparian_shim.sideband import FrameSender

if TYPE_CHECKING:
    from casparian_shim.context import Context

#: The descriptors of a forked guest, in the order in which an order brings them: the numbers are the same in every guest.
STDOUT, STDERR, CONNECTION, INPUT = DESCRIPTORS = (1, 2, 3, 4)
#: An order with the whole job; a larger one is for a guest that starts by itself.
MESSAGE_BYTES = 128 * 1024
#: Where the worker's orders come from. The worker may have hundreds of files open, and passes the number that it has itself.
_CONTROL = max(DESCRIPTORS) + 1
#: Where descriptors are put aside: nothing is open between there and `KEPT`.
_ABOVE = 64
#: From here on are those that guests need to confine themselves, and close then.
KEPT = 256


@dataclass(frozen=True, slots=True)
class Order:
    """One guest. `limits` and `plan` are as `launch` knows them, and `job` are the fields of its `GuestJob`."""

    directory: str
    variables: dict[str, str]
    limits: dict[str, int]
    plan: dict[str, Any]
    job: dict[str, Any]
    #: Whether the parser may have modules of its own that the library does not have.
    is_searched: bool = True

    def to_message(self) -> bytes:
        return _FORK + json.dumps(plain_fields(self)).encode()


#: What an order to fork begins with.
_FORK = b"fork "


def serve(control_fd: int, sys_paths: Sequence[str], run: Callable[[Order], int], kept: Sequence[int] = ()) -> int:
    """Load, say so, and fork until the worker closes its end. `run` is called in the forked process; returns its exit status.

    `kept` are descriptors from `KEPT` on.
    """
    if control_fd != _CONTROL:  # among those that a guest closes
        os.dup2(control_fd, _CONTROL, inheritable=False)
        os.close(control_fd)
    with socket.socket(fileno=_CONTROL) as control:
        try:
            modules = warm_up(sys_paths)
            _require_quiet(kept)
        except Exception as problem:  # noqa: BLE001 - whatever it is, guests start without this process
            _answer(control, {"problem": f"{type(problem).__name__}: {problem}"})
            return 1
        _answer(control, {"resident": resident_bytes(), "modules": sorted(modules)})
        message = bytearray(MESSAGE_BYTES)
        while True:
            try:
                count, descriptors, is_cut = _receive(control, message)
            except ConnectionResetError:  # the worker has ended without reading an answer
                return 0
            if not count:
                return 0
            said = _obey(memoryview(message)[:count], descriptors, is_cut, run)
            message[:count] = bytes(count)  # the next guest's memory begins as a copy of this one
            _answer(control, said)


def _receive(control: socket.socket, message: bytearray) -> tuple[int, list[int], bool]:
    """The number of bytes received into `message`, the descriptors, and whether some of them did not arrive."""
    descriptors = array.array("i")
    room = socket.CMSG_LEN(len(DESCRIPTORS) * descriptors.itemsize)
    count, ancillary, flags, _sender = control.recvmsg_into([message], room)
    for level, kind, data in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return count, list(descriptors), bool(flags & socket.MSG_CTRUNC)


def warm_up(sys_paths: Sequence[str]) -> set[str]:
    """Import what a guest imports before its parser, and the library of parsers, and use them.

    Returns the names of packages and modules that a guest which starts by itself has not imported when it imports its parser. A
    module of the parser with such a name would not be found in a forked guest.
    """
    sys.path.extend(path for path in sys_paths if path not in sys.path)
    import casparian_shim.context
    import casparian_shim.emitting
    import casparian_shim.process
    import casparian_shim.readers.feed
    import casparian_shim.readers.tape
    import casparian_shim.running
    from casparian_shim.process import remember_absent

    remember_absent(ABSENT)
    before = set(sys.modules)
    for name in casparian_shim.__all__:
        getattr(casparian_shim, name)
    prepare_sideband()
    with contextlib.suppress(OSError):  # no such file may be made here: guests are slower
        for _ in range(_REHEARSALS):
            for content in _REHEARSED:
                _rehearse(content)
    gc.collect()
    gc.freeze()  # a collection in a guest would copy every page that holds an object
    return {name.partition(".")[0] for name in set(sys.modules) - before} - {"casparian_shim", "pyarrow", "encodings"}


#: After some of them, Python has made the quick form of its code.
_REHEARSALS = 8
_REHEARSED = (b'id,word,amount\n1,"left\nmore",1.5\n2,right,\n', b"id,word,amount\n1,left,1.5\n2,right,\n")


def _rehearse(content: bytes) -> None:
    """Run a parser of our own on a file of our own: what is used for the first time costs more, and each guest would pay that.

    Nothing of it is left but what the libraries keep. No process reads the frames, which fit into the buffer of the connection.
    """
    from casparian_shim.readers.feed import use_route
    from casparian_shim.readers.tape import use_tape

    ours, theirs = socket.socketpair()
    with ours, theirs, open(os.memfd_create("rehearsal"), "w+b", buffering=0) as file:
        file.write(content)
        path = f"/proc/self/fd/{file.fileno()}"
        job = GuestJob("", theirs.fileno(), "", path, file.fileno(), outputs=("rows", "others"))
        sender = FrameSender(theirs)
        run_parser(job, sender, lambda _job: _rehearsed)
        sender.release()
    use_tape(None)
    use_route(None)


def _rehearsed(path: str, ctx: "Context") -> Iterator[object]:
    from datetime import date

    from casparian_shim import read_csv

    yield (
        "others",
        {"number": 1, "text": "a", "share": 0.5, "is": True, "raw": b"", "none": None, "day": date(2000, 1, 1)},
    )
    yield "others", [{"number": 2}]
    options: Any = {}
    if ctx.file.read().count(b'"'):  # with these options it is read without pyarrow's reader, which starts a thread
        options = {"empty": "text", "quoted_empty": "null"}
    for row in read_csv(path, **options):
        yield "rows", row
    yield "rows", read_csv(path, **options)
    ctx.progress(1, 1, "rows")


def _require_quiet(kept: Sequence[int]) -> None:
    """Raise `RuntimeError` if a fork would copy more than this module knows of."""
    if len(threads := os.listdir("/proc/self/task")) != 1:
        raise RuntimeError(f"it has {len(threads)} threads")
    opened = {int(each) for each in os.listdir("/proc/self/fd")} - {0, STDOUT, STDERR, _CONTROL, *kept}
    if left := [each for each in sorted(opened) if _is_open(each)]:  # the directory that was listed is not any more
        raise RuntimeError(f"descriptors {left} are open")


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def resident_bytes() -> int:
    """The memory of this process that is not in files."""
    with open("/proc/self/statm", encoding="ascii") as statm:
        _size, resident, shared, *_rest = statm.read().split()
    return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


def _answer(control: socket.socket, said: Mapping[str, object]) -> None:
    control.send(json.dumps(said).encode())


def _obey(
    message: memoryview, descriptors: Sequence[int], is_cut: bool, run: Callable[[Order], int]
) -> dict[str, object]:
    """Do what the worker asks. An order to fork is read by the forked process alone: it may have secrets among its parameters."""
    try:
        if message[: len(_FORK)] != _FORK:
            _pid, status, usage = os.wait4(json.loads(bytes(message))["reap"], 0)
            return {
                "status": os.waitstatus_to_exitcode(status),
                "cpu_seconds": usage.ru_utime + usage.ru_stime,
                "peak_bytes": usage.ru_maxrss * 1024,
                "resident": resident_bytes(),
            }
        if is_cut or len(descriptors) != len(DESCRIPTORS):
            raise OSError(f"{len(descriptors)} of {len(DESCRIPTORS)} descriptors arrived")
        pid = os.fork()
        if pid == 0:
            _become_guest(message, descriptors, run)
        return {"pid": pid}
    except OSError as problem:
        return {"problem": str(problem)}
    finally:  # of this process; the guest has its own
        for descriptor in descriptors:
            os.close(descriptor)


def _become_guest(message: memoryview, descriptors: Sequence[int], run: Callable[[Order], int]) -> NoReturn:
    """In the forked process: whatever happens, it ends here and never returns to the loop of the process that forked it."""
    status = TRANSIENT
    try:
        order = Order(**json.loads(bytes(message[len(_FORK) :])))
        os.setsid()
        _keep_only(descriptors)
        os.chdir(order.directory)
        _set_variables(order.variables)
        if order.is_searched and sys.modules.get(ABSENT, sys) is None:
            del sys.modules[ABSENT]
        _renew_random_numbers()
        status = 1  # of an exception that nothing catches, as in every Python program
        status = run(order)
    except BaseException:  # noqa: BLE001 - see above
        traceback.print_exc(file=sys.__stderr__)
    finally:
        os._exit(status)


def _keep_only(descriptors: Sequence[int]) -> None:
    """Give the descriptors their numbers, and close everything else: the worker's orders, and what belongs to other jobs."""
    given = (os.open(os.devnull, os.O_RDONLY), *descriptors)
    aside = [os.dup2(each, _ABOVE + place) for place, each in enumerate(given)]
    for source, number in zip(aside, (0, *DESCRIPTORS), strict=True):
        os.dup2(source, number)
    os.closerange(max(DESCRIPTORS) + 1, KEPT)


def _set_variables(wanted: Mapping[str, str]) -> None:
    """Change only what differs: each change copies pages."""
    for name in [each for each in os.environ if each not in wanted]:
        del os.environ[name]
    for name, value in wanted.items():
        if os.environ.get(name) != value:
            os.environ[name] = value


def _renew_random_numbers() -> None:
    """`random` does this itself, `secrets` asks the kernel; numpy, if pyarrow has loaded it, would repeat itself."""
    numbers = sys.modules.get("numpy.random")
    if numbers is not None:
        numbers.seed()
