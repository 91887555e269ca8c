"""Why an attempt failed, as the single structured error that is recorded.

A guest's report of its failure is trusted only for what a guest can know. The code decides about retries, and the origin says
whether the parser is to blame.
"""

from __future__ import annotations

import errno
import json
import re
import signal
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Literal

from casparian_protocol.bounds import Scalar
from casparian_protocol.contract import PolicyBreach
from casparian_protocol.errors import NEVER_THE_PARSERS, CasparianError, ErrorCode, ErrorReport
from casparian_protocol.jobs import JobError
from casparian_shim.errors import ContextValue, bounded_value, code_for_exception, retryable
from casparian_shim.safe import COUNT_MAX, named_row, scrub
from casparian_shim.trace import exception_name, fingerprint, normalise_trace
from casparian_worker.guest import GuestExit

#: Module paths of Casparian's own classes are removed from messages.
_OWN_CLASS = re.compile(r"\bcasparian_[a-z]+(?:\.[a-z_]+)*\.(?=[A-Z])")
OWN_PACKAGES = ("casparian_", "casparian.")
_MESSAGE_CHARACTERS = 2048
_TRACE_CHARACTERS = 4096
_EXCEPTION_CHARACTERS = 256
_CONTEXT_ENTRIES = 24
#: With these limits a failure fits into a message of 64 KiB, whatever its characters.
_CONTEXT_CHARACTERS = 128

Origin = Literal["parser", "worker", "environment"]

#: Signals that a guest does not send to itself; those sent by the worker are recognised earlier.
_SIGNALS_OF_OTHERS = frozenset({-signal.SIGTERM, -signal.SIGINT, -signal.SIGHUP})
#: Errors of starting or watching a process, or of running out of descriptors; they are not errors of a sink.
_OWN_PROCESS_NUMBERS = frozenset({errno.EAGAIN, errno.ECHILD, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESRCH})
#: Errors of writing other than a full disk; they are not the job's fault and may pass.
_SINKS_FAULT = frozenset({ErrorCode.FILE_NOT_FOUND, ErrorCode.PERMISSION_ERROR, ErrorCode.UNKNOWN_ERROR})


class TimeIsUp(CasparianError):
    """A guest used up its time."""

    code = ErrorCode.TIMEOUT

    def __init__(self, what: str, seconds: float) -> None:
        super().__init__(
            f"The guest exceeded its {what} of {seconds:g} s and was stopped.",
            remedy="Look for an endless loop in the parser, or raise the limit in config.toml under [limits].",
        )
        self.facts = {"limit": what}


class GuestEnded(CasparianError):
    """A guest exited before its end of stream."""

    def __init__(self, code: ErrorCode, ended: GuestExit, how: str, *, is_by_others: bool = False) -> None:
        super().__init__(
            f"The guest {how} before its end of stream; its output was discarded.",
            remedy="`casparian job logs ID` shows what the parser printed last.",
        )
        self.code = code
        self.facts = {"exit_status": ended.status} if ended.status >= 0 else {"signal": ended.signal}
        #: Another process sent it a signal: an operator, or the kernel when the machine ran out of memory.
        self.is_by_others = is_by_others


class QuarantineExceeded(CasparianError):
    """An output has more bad rows than its policy allows."""

    code = ErrorCode.QUARANTINE_EXCEEDED

    def __init__(self, output: str, found: PolicyBreach, codes: Collection[str] = ()) -> None:
        """`codes` are the violation codes of its bad rows."""
        super().__init__(
            f"Output {output}: {found.reason}; nothing was published.",
            remedy="`casparian quarantine show --uncommitted` shows the rows; correct the parser or amend the contract.",
        )
        self.output = output
        self.limit = found.limit
        self.facts = {"output": output, "codes": ", ".join(sorted(codes))}


class Unaccounted(CasparianError):
    """Records or bytes of the input are unaccounted for, and the parser does not declare that they may be."""

    code = ErrorCode.UNACCOUNTED

    def __init__(self, gap: str) -> None:
        super().__init__(
            f"Not everything is accounted for: {gap}.",
            remedy="Emit each record with its __cf_row_id, call ctx.skip(reason) or ctx.reject(…) for the others, or "
            "declare `may_drop_records = True` in the parser.",
        )


class UndeclaredOutput(CasparianError):
    """A guest sent an output that no contract of the job names."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(self, output: str, declared: list[str]) -> None:
        super().__init__(
            f"The output {output} has no contract in this job; it has contracts for {', '.join(declared) or 'none'}.",
            remedy="Declare the output in `outputs = {…}` and register the parser again.",
        )
        self.facts = {"output": output}


class ColumnsChanged(CasparianError):
    """Columns of an output were left out or moved in the middle of the stream."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(self, output: str) -> None:
        super().__init__(
            f"Columns of output {output} were left out or moved in the middle of the stream.",
            remedy="Send the columns that came before, in their order, then new ones; leave values out as None.",
        )
        self.facts = {"output": output}


def error_of_exit(ended: GuestExit, *, cpu_seconds: int | None) -> CasparianError:
    """Why a guest's stream broke off although the worker had not asked the guest to end."""
    is_cpu = ended.status == -signal.SIGXCPU or (
        ended.status == -signal.SIGKILL and cpu_seconds is not None and ended.cpu_seconds >= cpu_seconds
    )
    if is_cpu and cpu_seconds is not None:
        return TimeIsUp("CPU time", cpu_seconds)
    match ended.status:
        case 0:
            return GuestEnded(ErrorCode.PROTOCOL_ERROR, ended, "exited with status 0")
        case 2:
            return GuestEnded(ErrorCode.CONNECTION_RESET, ended, "exited with status 2 (a transient failure)")
        case 76:
            how = (
                "exited with status 76 (a signal handler raised while rows were being sent, so that they are cut short)"
            )
            return GuestEnded(ErrorCode.PARSER_ERROR, ended, how)
        case _ if ended.status == -signal.SIGXFSZ:
            how = "wrote a file beyond its limit and was killed by SIGXFSZ"
            return GuestEnded(ErrorCode.LIMIT_EXCEEDED, ended, how)
        case _ if (
            ended.status == -signal.SIGKILL
        ):  # this is how the kernel frees memory, and it does not say which process it chose
            how = f"{ended.said} (by the kernel, when memory ran out, or by another process)"
            return GuestEnded(ErrorCode.OOM_RISK, ended, how, is_by_others=True)
        case status if status in _SIGNALS_OF_OTHERS:
            return GuestEnded(
                ErrorCode.CONNECTION_RESET, ended, f"{ended.said} (not by this worker)", is_by_others=True
            )
        case _:
            return GuestEnded(ErrorCode.UNKNOWN_ERROR, ended, ended.said)


def of_report(report: ErrorReport, bundle: Path, *, is_dev: bool = False) -> JobError:
    """A guest's own report about a parser in `bundle`. In dev mode (`is_dev`) the environment is the user's."""
    code = report.code if report.code.nature.is_for_guests else ErrorCode.UNKNOWN_ERROR
    origin: Origin = "environment" if code in NEVER_THE_PARSERS else "parser"
    return _job_error(
        code, report.exception, _explained(code, report, bundle, is_dev), report.trace, report.context, origin
    )


def _explained(code: ErrorCode, report: ErrorReport, bundle: Path, is_dev: bool) -> str:
    """The guest's message with the exception's name, the place in the parser, and the line of the input."""
    if report.exception.startswith(OWN_PACKAGES):
        return report.message  # Casparian's own errors already contain these, and a remedy
    context = report.context
    places = []
    if isinstance(file := context.get("file"), str) and (line := _line(context.get("line"))):
        places.append(f"at {file[:_CONTEXT_CHARACTERS]}:{line}")
    if line := _line(context.get("input_line")):
        places.append(f"while reading source row {named_row(line)} of the input")
    message = f"{report.exception}: {report.message}" if report.message else f"{report.exception}, without a message"
    message = f"{message} ({', '.join(places)})" if places else message
    if code is ErrorCode.DEPENDENCY_MISSING and not is_dev:
        named = context.get("module")
        module = named[:_CONTEXT_CHARACTERS] if isinstance(named, str) and named else "that module"
        message += (
            f". Parsers can use only Python's standard library and pyarrow so far: remove {module}, or "
            "put its source into the parser's directory."
        )
    if code is ErrorCode.FILE_NOT_FOUND and (name := _missing_in(bundle, report.message)):
        message += (
            f". The parser's bundle does not contain {name}: if it is next to the parser, name it there with "
            f"`include = {json.dumps([name], ensure_ascii=False)}`"
            + ("; otherwise it is missing in production too." if is_dev else " and register a new version.")
        )
    return message


def _missing_in(bundle: Path, message: str) -> str:
    """The name in the bundle of the file that an OSError's message reports as missing; empty if it is elsewhere."""
    found = re.search(rf"'{re.escape(str(bundle))}/([^'\\]{{1,{_CONTEXT_CHARACTERS}}})'", message)
    return found[1] if found else ""


def _line(value: object) -> int:
    """The line number a guest reported; 0 if it is invalid."""
    return value if type(value) is int and 0 < value <= COUNT_MAX else 0


def of_exception(error: BaseException, origin: Origin | None = None) -> JobError:
    """An error of the worker itself; unexpected ones carry a trace."""
    code = code_for_exception(error)
    if origin == "environment" and isinstance(error, OSError) and code in _SINKS_FAULT:
        is_own = error.errno in _OWN_PROCESS_NUMBERS
        code = ErrorCode.CONNECTION_RESET if is_own else ErrorCode.SINK_UNAVAILABLE
    if origin is None:
        is_by_others = isinstance(error, GuestEnded) and error.is_by_others
        origin = "environment" if is_by_others or code in NEVER_THE_PARSERS else "parser"
    if isinstance(error, CasparianError):
        return _job_error(code, exception_name(error), str(error), "", {}, origin, error.facts)
    return _job_error(code, exception_name(error), str(error), normalise_trace(error), {}, origin)


def _job_error(
    code: ErrorCode,
    exception: str,
    message: str,
    trace: str,
    context: Mapping[str, ContextValue],
    origin: Origin,
    facts: Mapping[str, ContextValue] | None = None,
) -> JobError:
    """`facts` are also part of the context; their values are part of the fingerprint."""
    kept = dict(list(context.items())[:_CONTEXT_ENTRIES])
    shown: dict[str, Scalar] = {}
    for name, value in (kept | dict(facts or {})).items():
        plain = bounded_value(value)
        shown[scrub(name)[:64]] = scrub(plain)[:_CONTEXT_CHARACTERS] if isinstance(plain, str) else plain
    return JobError(
        code=code.value,
        # Readers cannot look up Casparian's own classes, and their messages are complete.
        exception="" if exception.startswith(OWN_PACKAGES) else scrub(exception)[:_EXCEPTION_CHARACTERS],
        message=scrub(message or f"{exception}, without a message", keep_newlines=True)[:_MESSAGE_CHARACTERS],
        trace=_OWN_CLASS.sub("", scrub(trace, keep_newlines=True))[:_TRACE_CHARACTERS],
        context=shown,
        # Whether a reader was active depends on the input, so it is not part of the cause.
        fingerprint=fingerprint(
            exception, code.value, trace, {name: value for name, value in kept.items() if name != "input_line"}, facts
        ),
        retryable=retryable(code),
        origin=origin,
    )
