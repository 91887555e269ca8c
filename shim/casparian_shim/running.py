"""Finding the parser in its module, calling it, and sorting its results into outputs."""

import ctypes
import importlib.util
import os
import signal
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType, ModuleType
from typing import Any

from casparian_shim.arrow.batches import is_table
from casparian_shim.context import Context
from casparian_shim.emitting import Outputs
from casparian_shim.errors import CasparianError, ErrorCode
from casparian_shim.frames.kinds import OUTPUT_NAME, GuestJob
from casparian_shim.readers.reading import Records
from casparian_shim.sandbox.syscalls import libc
from casparian_shim.trace import type_name
from casparian_shim.values import Output

_CELL_TYPES = frozenset({str, int, float, bool, bytes})
_FALLBACK_MODULE = "casparian_parser_module"


class NoParser(CasparianError):
    """The module has no parser, or more than one."""

    def __init__(self, file_name: str, reason: str) -> None:
        super().__init__(
            f"{file_name} {reason}.",
            remedy="Define a function parse(path) or parse(path, ctx), or one class with a name and parse(self, ctx).",
        )


class UnusableData(CasparianError):
    """A parser yielded something that is neither a row nor a table."""

    code = ErrorCode.INVALID_DATA

    def __init__(self, data: object) -> None:
        name = type_name(type(data))
        remedy = "Yield a dict, a list of dicts, a DataFrame, or a pyarrow Table, RecordBatch or RecordBatchReader."
        if isinstance(data, Mapping):
            remedy = f"Only a dict is a row: yield dict(row) instead of the {name}."
        super().__init__(f"The parser yielded a {name}, which is neither rows nor a table.", remedy=remedy)


def import_parser(job: GuestJob) -> ModuleType:
    """Run the parser's module. Imports search its own directory first."""
    file = job.parser_file
    sys.path.insert(0, os.path.abspath(job.bundle_path))
    stem = os.path.splitext(os.path.basename(file))[0]
    name = stem if stem.isidentifier() and stem not in sys.modules else _FALLBACK_MODULE
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise NoParser(os.path.basename(file), "is not a Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def find_parse(module: ModuleType) -> Callable[[str, Context], object]:
    """The parser of a module, as a function of path and context."""
    file_name = os.path.basename(module.__file__ or module.__name__)
    function = getattr(module, "parse", None)
    if callable(function) and not isinstance(function, type):
        wants_context = _argument_count(function) >= 2
        return (lambda path, ctx: function(path, ctx)) if wants_context else (lambda path, ctx: function(path))
    classes = [
        value
        for value in vars(module).values()
        if isinstance(value, type)
        and value.__module__ == module.__name__
        and callable(getattr(value, "parse", None))
        and isinstance(getattr(value, "name", None), str)
    ]
    if len(classes) != 1:
        raise NoParser(file_name, f"has no function parse and {len(classes) or 'no'} classes with name and parse")
    method = classes[0]().parse
    return (lambda path, ctx: method(path, ctx)) if _argument_count(method) >= 2 else (lambda path, ctx: method(ctx))


def _argument_count(function: Any) -> int:
    """How many positional arguments a call may pass, not counting `self`."""
    target = getattr(function, "__func__", function)
    code = getattr(target, "__code__", None)
    if code is None or hasattr(target, "__wrapped__"):
        import inspect  # only for callables that are not plain functions

        kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
        parameters = inspect.signature(function).parameters.values()
        if any(parameter.kind is inspect.Parameter.VAR_POSITIONAL for parameter in parameters):
            return 2
        return sum(parameter.kind in kinds for parameter in parameters)
    takes_rest = bool(code.co_flags & 0x04)  # CO_VARARGS
    return 2 if takes_rest else int(code.co_argcount) - (target is not function)


_LOOK_SECONDS = 0.25
_HAS_TIMERS = hasattr(signal, "SIGRTMAX") and hasattr(libc(), "timer_create")
_SHIM = os.path.dirname(os.path.abspath(__file__)) + os.sep


@contextmanager
def flushed_by_timer(outputs: Outputs) -> Iterator[None]:
    """Send the rows that wait also while the parser computes or waits between two of them.

    A signal interrupts the parser in its own thread, so no lock is needed. It is one that nothing else uses: a parser may need
    `SIGALRM` for itself. Where there is no such timer (older C libraries, macOS), and inside one long call of a library, rows
    wait until the next one.
    """
    if threading.current_thread() is not threading.main_thread() or not _HAS_TIMERS:  # signals come to the main thread
        yield
        return

    def look(_number: int, frame: FrameType | None) -> None:
        if _is_between_rows(frame):
            outputs.flush_when_due(_LOOK_SECONDS)

    number, timer, period_ns = signal.SIGRTMAX - 1, ctypes.c_void_p(), round(_LOOK_SECONDS * 1e9)
    event = struct.pack("=Qii48x", 0, number, 0)  # struct sigevent, with SIGEV_SIGNAL
    signal.signal(number, look)
    if libc().timer_create(time.CLOCK_MONOTONIC, event, ctypes.byref(timer)) != 0:  # too many signals are queued
        yield
        return
    libc().timer_settime(timer, 0, struct.pack("4l", 0, period_ns, 0, period_ns), None)
    try:
        yield
    finally:
        libc().timer_delete(timer)
        signal.signal(number, signal.SIG_IGN)


def _is_between_rows(frame: FrameType | None) -> bool:
    """Whether a parser that was asked for its next row is what runs. Anything of the shim may be in the middle of a change."""
    interrupted = frame
    while frame is not None and not frame.f_code.co_filename.startswith(_SHIM):
        if frame.f_code.co_filename.startswith("<frozen importlib"):  # what is imported may be needed to send rows
            return False
        frame = frame.f_back
    return frame is not None and frame is not interrupted and frame.f_code is _emit_each.__code__


def emit(outputs: Outputs, data: object, name: str | None = None) -> None:
    """Sort `data`, in any of the forms that a parser may give, into outputs."""
    match data:
        case None:
            return
        case Output():
            emit(outputs, data.data, data.output)
        case (str() as output, content):
            emit(outputs, content, output)
        case dict() if name is None and _is_by_output(data, outputs.declared):
            for output, content in data.items():
                emit(outputs, content, output)
        case dict():
            outputs.rows_into(name)(data)
        case _ if is_table(data):
            outputs.add_table(name, data)
        case Records():
            outputs.add_records(name, data)
            if data.error is not None:
                raise data.error
        case str() | bytes() | bytearray() | memoryview() | Mapping():  # iterating over a mapping gives its keys
            raise UnusableData(data)
        case Iterable() if not _is_odd(data):
            _emit_each(outputs, data, name)
        case _:
            raise UnusableData(data)


def _emit_each(outputs: Outputs, items: Iterable[object], name: str | None) -> None:
    """Rows of one stream share one function; any other form is sorted item by item."""
    add_by_name: dict[str | None, Callable[[Mapping[str, object]], None]] = {}
    for item in items:
        records = _records_behind(items)
        if records is not None and records.take_back():  # the first row too is sent with its block
            outputs.add_records(name, records)
            continue
        target, content = name, item
        if type(item) is tuple and len(item) == 2 and type(item[0]) is str:
            target, content = item
        if type(content) is dict and (target is not None or not _is_by_output(content, outputs.declared)):
            add = add_by_name.get(target)
            if add is None:
                add = add_by_name[target] = outputs.rows_into(target)
            add(content)
        else:
            emit(outputs, content, target)
        if records is not None:
            outputs.add_records(name, records)  # the parser gets an error in reading at its own `yield from`


def _records_behind(items: Iterable[object]) -> Records | None:
    """The reader that a generator delegates to by `yield from`: nothing in the parser sees the rows that it gives."""
    while (inner := getattr(items, "gi_yieldfrom", None)) is not None:
        if type(inner) is Records:
            return inner
        items = inner
    return None


_CONTAINERS = (dict, list, tuple, Output)


def _is_by_output(data: dict[object, object], declared: tuple[str, ...]) -> bool:
    """Whether a dict maps outputs to data, as opposed to columns to values.

    A table is never a value of a column, so one table decides. Otherwise every key must be a declared output and every value a
    container: a row in which every column has the name of an output and a list as its value does not occur.
    """
    if not data:
        return False
    for value in data.values():
        if type(value) in _CELL_TYPES:  # this is the result for nearly every row
            return False
        if value is None or issubclass(type(value), _CONTAINERS) or _is_generator(value):
            continue
        return is_table(value)
    if any(_is_generator(value) or issubclass(type(value), Output) for value in data.values()):
        return True
    if declared:
        return all(key in declared for key in data) and any(value is not None for value in data.values())
    return all(isinstance(key, str) and OUTPUT_NAME.fullmatch(key) and _is_rows(value) for key, value in data.items())


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and list.__len__(value) > 0 and all(isinstance(item, dict) for item in value)


def _is_generator(value: object) -> bool:
    return hasattr(type(value), "__next__")  # inspecting the value may raise


def _is_odd(data: object) -> bool:
    """Whether data is iterable but not a sequence of rows: a Series, a LazyFrame, a set."""
    return type(data).__module__.split(".")[0] in ("pandas", "polars", "numpy", "pyarrow") or isinstance(
        data, set | frozenset
    )
