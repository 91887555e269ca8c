"""The program that a worker starts for one job: `python -I -S -B …/casparian_shim/guest.py <fd of the job>`.

It says hello before the parser is imported, runs the parser, streams its output, and ends with the end of stream or an error
frame. The exit status is 0 for success, 1 for a permanent failure, 2 for a transient one, and 76 if a frame was cut short, so
that no report can follow. `launch` has put limits and the sandbox on it before. Only the interpreter's library and the job's
packages can be imported: the shim is loaded from its own folder, without the packages next to it.
"""

import os
import sys

if __name__ == "__main__" and "casparian_shim" not in sys.modules:
    import importlib.util

    _folder = os.path.dirname(os.path.abspath(__file__))
    _spec = importlib.util.spec_from_file_location(
        "casparian_shim", os.path.join(_folder, "__init__.py"), submodule_search_locations=[_folder]
    )
    assert _spec is not None and _spec.loader is not None
    sys.modules["casparian_shim"] = importlib.util.module_from_spec(_spec)
    _spec.loader.exec_module(sys.modules["casparian_shim"])

import gc
import logging
import socket
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from casparian_shim.errors import (
    CONTEXT_VALUE_CHARACTERS_MAX,
    MESSAGE_CHARACTERS_MAX,
    NAME_CHARACTERS_MAX,
    CasparianError,
    ContextValue,
    ErrorCode,
    ErrorReport,
    code_for_parsers_exception,
    retryable,
)
from casparian_shim.frames.codec import encode_end_of_stream, encode_failure, encode_hello
from casparian_shim.frames.kinds import DEV, PROTOCOL_VERSION, GuestJob, Hello, LogLevel
from casparian_shim.sideband import FrameSender, FrameTorn, NotTheGuest, SidebandHandler, SidebandStream
from casparian_shim.trace import exception_name, is_machinery, normalise_trace, own_traceback, raised_at

if TYPE_CHECKING:
    from collections.abc import Callable

    from casparian_shim.context import Context
    from casparian_shim.sandbox.confine import Confinement

SUCCESS, PERMANENT, TRANSIENT, TORN = 0, 1, 2, 76
#: pyarrow looks for it at each scalar.
ABSENT = "dateutil"

_OUT_OF_MEMORY = encode_failure(
    ErrorReport(ErrorCode.MEMORY_ERROR, "MemoryError", "The guest ran out of memory.", retryable=True)
)


def run_job(job: GuestJob, sock: socket.socket, confinement: "Confinement | None" = None) -> int:
    """Run one job over a connected socket; returns the exit status. Changes `sys.path`, `sys.stdout`, `sys.stderr`.

    Nothing is run if the sandbox is not as planned; the worker learns that from the hello.
    """
    sender = FrameSender(sock)
    hello = Hello(PROTOCOL_VERSION, job.token, os.getpid(), sys.version.split()[0])
    if confinement is not None:
        hello = replace(
            hello,
            sandbox=confinement.level,
            landlock_abi=confinement.landlock_abi,
            own_network=confinement.own_network,
            sandbox_problem=confinement.problem,
        )
    sender.send(encode_hello(hello))
    if hello.sandbox_problem:
        return PERMANENT
    streams = capture(sender, prints=job.mode != DEV)
    try:
        run_parser(job, sender, _imported)
        for stream in streams:
            stream.finish()
        sender.send(encode_end_of_stream())
        sender.release()
    except BaseException as error:  # noqa: BLE001 - SystemExit and Ctrl-C of a parser end the job too, reported
        return _fail(sender, streams, error, job)
    return SUCCESS


def run_parser(
    job: GuestJob, sender: FrameSender, find: "Callable[[GuestJob], Callable[[str, Context], object]]"
) -> None:
    """Send everything that a parser gives. `find` returns the parser."""
    sys.path.extend(path for path in job.sys_paths if path not in sys.path)
    # Imported only now, because these import pyarrow and hello must not wait for it.
    from casparian_shim.context import Context
    from casparian_shim.emitting import Outputs
    from casparian_shim.process import remember_absent
    from casparian_shim.readers.feed import use_route
    from casparian_shim.readers.tape import RecordTape, use_tape
    from casparian_shim.running import emit, flushed_by_timer

    outputs = Outputs(sender, job.outputs, job.batch_bytes)
    tape = RecordTape(job.input_path, job.input_fd, outputs.add_entries)
    outputs.before_rows = tape.flush
    use_tape(tape)
    ctx = Context(job, outputs, sender)
    use_route(outputs.reject_record)
    try:
        parse = find(job)
        remember_absent(ABSENT)  # now that every import path of the parser is set
        with flushed_by_timer(outputs):
            emit(outputs, parse(job.input_path, ctx))
        sender.hold()  # the rows of a small file, and the end of its stream, are one packet
        outputs.finish()
        ctx.finish()
    finally:
        ctx.close()


def _imported(job: GuestJob) -> "Callable[[str, Context], object]":
    from casparian_shim.running import find_parse, import_parser

    return find_parse(import_parser(job))


@cache
def prepare_sideband() -> tuple[SidebandHandler, SidebandStream, SidebandStream]:
    """What passes logging and prints on, as soon as it has a sender. A warm process makes it for its guests."""
    handler = SidebandHandler()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    logging.getLogger("casparian.parser").setLevel(logging.DEBUG)
    return handler, SidebandStream(None, LogLevel.STDOUT), SidebandStream(None, LogLevel.STDERR)


def capture(sender: FrameSender, *, prints: bool) -> tuple[SidebandStream, ...]:
    """From now on, what is logged (and printed) is sent. Returns the streams that take what is printed."""
    handler, *streams = prepare_sideband()
    handler.sender = sender
    if not prints:
        return ()
    for stream in streams:
        stream.send_by(sender)
    sys.stdout, sys.stderr = streams
    return tuple(streams)


def report_of(error: BaseException) -> ErrorReport:
    """The report to the worker about an exception, even if the methods of the parser's own exception class fail."""
    try:
        return _full_report(error)
    except MemoryError:
        raise
    except BaseException:  # noqa: BLE001 - a parser's own property or method may raise anything, also SystemExit
        base = next(each for each in type.mro(type(error)) if each.__module__ == "builtins")
        return ErrorReport(ErrorCode.UNKNOWN_ERROR, base.__name__, "(nothing more could be read of the exception)")


def _full_report(error: BaseException) -> ErrorReport:
    code = code_for_parsers_exception(error)
    context: dict[str, ContextValue] = {}
    if place := raised_at(error):
        context = {"file": place[0][:CONTEXT_VALUE_CHARACTERS_MAX], "line": place[1], "function": place[2][:200]}
    line = getattr(error, "line", None) if isinstance(error, CasparianError) else None  # of a reader's own error
    if (row := line if isinstance(line, int) else _row_now()) is not None:
        context["input_line"] = row
    if isinstance(error, ImportError) and isinstance(error.name, str) and error.name:
        context["module"] = error.name[:CONTEXT_VALUE_CHARACTERS_MAX]
    return ErrorReport(
        code=code,
        exception=exception_name(error)[:NAME_CHARACTERS_MAX],
        message=_message(error)[:MESSAGE_CHARACTERS_MAX],
        trace=normalise_trace(error),
        context=context,
        retryable=retryable(code),
    )


def _row_now() -> int | None:
    """The line of the record that one of the SDK's readers returned last."""
    records = sys.modules.get("casparian_shim.readers.tape")
    tape = records.current_tape() if records is not None else None
    return tape.row_now() if tape is not None else None


def _message(error: BaseException) -> str:
    if isinstance(error, KeyboardInterrupt):
        return "Interrupted."
    try:
        if isinstance(error, SystemExit):
            return f"The parser left by sys.exit({error.code!r:.80}) before its data was complete."
        return str(error)
    except Exception as second:  # noqa: BLE001 - a parser's own __str__ may do anything
        return f"(its message could not be read: {exception_name(second)})"


def _fail(sender: FrameSender, streams: tuple[SidebandStream, ...], error: BaseException, job: GuestJob) -> int:
    """Report `error` as far as memory and the connection allow; returns the exit status."""
    try:
        try:
            sender.release()
            report = report_of(error)
            status, failure = TRANSIENT if report.retryable else PERMANENT, encode_failure(report)
            _log_trace(sender, error, job)
        except MemoryError:
            error.__traceback__ = error.__context__ = error.__cause__ = None  # frees the objects that the frames hold
            gc.collect()
            status, failure = TRANSIENT, _OUT_OF_MEMORY
            sender.release()
        for stream in streams:
            stream.finish()
        sender.send(failure)
    except OSError:  # the worker is gone, so only the exit status remains
        return TRANSIENT
    except FrameTorn:
        return TORN
    except NotTheGuest:  # in a process that the parser forked
        return PERMANENT
    return status


def _log_trace(sender: FrameSender, error: BaseException, job: GuestJob) -> None:
    """Log the traceback through the parser's own code, with source lines, for people."""
    import traceback

    if isinstance(
        error, CasparianError | NotTheGuest
    ):  # Casparian's own error: the parser's frames and the message, without the class or the shim's frames
        own = [frame for frame in traceback.extract_tb(error.__traceback__) if not is_machinery(frame.filename)]
        lines = ["Traceback (most recent call last):\n", *traceback.format_list(own[-50:])] if own else []
        text = "".join([*lines, str(error)])
    else:
        try:
            text = "".join(traceback.format_exception(type(error), error, own_traceback(error), limit=-50)).rstrip()
        except Exception as second:  # noqa: BLE001 - a parser's own class may do anything
            text = f"(its traceback could not be made: {exception_name(second)})"
    if job.shown_path:
        text = text.replace(os.path.join(job.bundle_path, ""), os.path.join(job.shown_path, ""))
    if job.mode == DEV:
        sys.stderr.write(text + "\n")
    else:
        sender.send_log(LogLevel.ERROR, text)


def read_job(descriptor: str) -> GuestJob:
    """The job in the file that was inherited as this descriptor."""
    with open(int(descriptor), "rb") as description:
        return GuestJob.from_json(description.read())


def run(job: GuestJob, confinement: "Confinement | None" = None) -> int:
    """Run a job. `confinement`: what is on already."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, fileno=job.socket_fd) as sock:
        sock.setblocking(True)
        return run_job(job, sock, confinement)


def main(arguments: list[str]) -> int:
    """Read the job from the descriptor named on the command line, and run it."""
    return run(read_job(arguments[1]))


if __name__ == "__main__":
    status = main(sys.argv)
    sys.stdout, sys.stderr = sys.__stdout__, sys.__stderr__  # the sideband is closed
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:
            stream.flush()
    # Threads that a parser left running must not keep a finished job alive.
    os._exit(status)
