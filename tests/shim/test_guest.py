"""Guests as they really run: a process of their own, a connection, every shape a parser may give."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest

import casparian_shim
from casparian_shim.errors import ErrorCode
from casparian_shim.frames import Hello, LogLevel, OutputKind
from casparian_shim.frames.kinds import ValueKind
from tests.shim.guests import run_guest

SHAPES = {
    "one dict": "return {'a': 1}",
    "a list of dicts": "return [{'a': 1}, {'a': 2}]",
    "nothing": "return None",
    "an empty list": "return []",
    "a generator of dicts": "yield {'a': 1}\n    yield {'a': 2}",
    "a named dict": "return 'orders', {'a': 1}",
    "an Output": "return Output('orders', [{'a': 1}])",
    "a Table": "return pa.table({'a': [1, 2]})",
    "a RecordBatch": "return pa.record_batch({'a': [1, 2]})",
    "a RecordBatchReader": "return pa.table({'a': [1, 2]}).to_reader()",
    "a dict by output": "return {'orders': [{'a': 1}, {'a': 2}]}",
    "a dict by output of tables": "return {'orders': pa.table({'a': [1]})}",
    "a dict by output of generators": "return {'orders': ({'a': n} for n in [1, 2])}",
    "a mixture": (
        "yield {'a': 1}\n    yield None\n    yield [{'a': 2}]\n    yield 'orders', pa.table({'a': [3]})\n"
        "    yield Output('orders', pa.record_batch({'a': [4]}))\n    yield {'orders': {'a': 5}}\n"
        "    yield [('orders', {'a': 6}), Output('orders', {'a': 7})]\n    yield ('orders', iter([{'a': 8}]))"
    ),
}
EXPECTED = {"nothing": 0, "an empty list": 0, "one dict": 1, "a named dict": 1, "an Output": 1, "a mixture": 8}
EXPECTED |= {"a dict by output of tables": 1}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_arrives_as_rows(shape: str, tmp_path: Path) -> None:
    source = f"import pyarrow as pa\nfrom casparian_shim import Output\ndef parse(path):\n    {SHAPES[shape]}\n"

    heard = run_guest(tmp_path, source, outputs=("orders",))

    assert (heard.status, heard.state.failure) == (0, None), heard.stderr
    assert heard.state.is_complete
    assert heard.rows("orders") == [{"a": n + 1} for n in range(EXPECTED.get(shape, 2))]


def test_a_class_is_a_parser_too_and_outputs_may_interleave(tmp_path: Path) -> None:
    source = (
        "class Parser:\n"
        "    name, version, topics = 'p', '1', ['t']\n"
        "    def parse(self, ctx):\n"
        "        for n in range(3):\n"
        "            yield 'one', {'n': n, 'line': ctx.file.readline().decode()}\n"
        "            yield 'two', {'m': n, 'tz': ctx.params['tz']}\n"
    )

    heard = run_guest(tmp_path, source, outputs=("one", "two"), params={"tz": "UTC"})

    assert heard.status == 0, heard.frames
    assert [row["line"] for row in heard.rows("one")] == ["a\n", "b\n", ""]
    assert heard.rows("two") == [{"m": n, "tz": "UTC"} for n in range(3)]


def test_hello_comes_before_the_parser_is_imported(tmp_path: Path) -> None:
    heard = run_guest(tmp_path, "raise PermissionError('no')")

    assert isinstance(heard.frames[0], Hello)
    assert heard.status == 1
    assert heard.state.failure is not None
    report = heard.state.failure.report
    assert (report.code, report.exception, report.message) == (ErrorCode.PERMISSION_ERROR, "PermissionError", "no")
    assert report.trace == "PermissionError\n  parser.py: <module>"
    assert report.context == {"file": "parser.py", "line": 1, "function": "<module>"}


FAILURES = {
    "KeyError": ("return {}['x']", ErrorCode.PARSER_ERROR, 1),
    "ValueError in a generator": ("yield 'one', {'a': 1}\n    yield int('x')", ErrorCode.INVALID_DATA, 1),
    "sys.exit(0)": ("import sys; sys.exit(0)", ErrorCode.UNKNOWN_ERROR, 1),
    "Ctrl-C": ("raise KeyboardInterrupt", ErrorCode.UNKNOWN_ERROR, 1),
    "MemoryError": ("raise MemoryError", ErrorCode.MEMORY_ERROR, 2),
    "endless recursion": ("return parse(path)", ErrorCode.PARSER_ERROR, 1),
    "a transient error": ("raise TimeoutError('slow disk')", ErrorCode.TIMEOUT, 2),
    "a message that raises": (
        "class E(Exception):\n        def __str__(self): raise ValueError\n    raise E",
        ErrorCode.UNKNOWN_ERROR,
        1,
    ),
    "an undeclared output": ("return 'nobody', {'a': 1}", ErrorCode.SCHEMA_MISMATCH, 1),
    "no name among several outputs": ("return {'a': 1}", ErrorCode.SCHEMA_MISMATCH, 1),
    "a path as a name": ("return '../x', {'a': 1}", ErrorCode.OUTPUT_NAME, 1),
    "a string": ("return 'one'", ErrorCode.INVALID_DATA, 1),
    "a number": ("return 7", ErrorCode.INVALID_DATA, 1),
    "a key that is not text": ("return 'one', {1: 2}", ErrorCode.SCHEMA_MISMATCH, 1),
    "a missing library": ("import nothing_like_this", ErrorCode.DEPENDENCY_MISSING, 1),
    "a column without a name": ("return 'one', {'a': 1, '': ''}", ErrorCode.SCHEMA_MISMATCH, 1),
    "rows without columns": ("return 'one', [{}]", ErrorCode.SCHEMA_MISMATCH, 1),
    "a module name that is no text": ("raise ImportError(name=5)", ErrorCode.DEPENDENCY_MISSING, 1),
    "an exit status that raises": (
        "class E:\n        def __repr__(self): raise ValueError\n    raise SystemExit(E())",
        ErrorCode.UNKNOWN_ERROR,
        1,
    ),
    "an exit status that exits": (
        "class E:\n        def __repr__(self): raise SystemExit\n    raise SystemExit(E())",
        ErrorCode.UNKNOWN_ERROR,
        1,
    ),
    "an attribute that raises": (
        "class E(ImportError):\n        name = property(lambda self: 1 / 0)\n    raise E",
        ErrorCode.UNKNOWN_ERROR,
        1,
    ),
    "a row beyond 64 MiB": ("return 'one', {'a': 'x' * (65 << 20)}", ErrorCode.LIMIT_EXCEEDED, 1),
}


def test_what_forked_processes_print_and_log_is_in_the_log_and_not_among_the_rows(tmp_path: Path) -> None:
    source = """
import logging, os, sys
def parse(path, ctx):
    print("half a line", end="")
    child = os.fork()
    if child == 0:
        for number in range(15):
            print("child " + "c" * 3000)
        logging.warning("from the child")
        try:
            ctx.progress(1)
        except RuntimeError as refused:
            print(refused, file=sys.stderr)
        yield {"n": -1}
        ctx.reject(None, {"n": -2}, "bad")
        return
    for number in range(20_000):
        yield {"n": number, "text": "t" * 100}
    print(" of the parent,", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    heard = run_guest(tmp_path, source)

    assert (heard.status, heard.state.failure, heard.state.is_complete) == (0, None, True), heard.stderr
    assert [row["n"] for row in heard.rows("output")] == list(range(20_000))
    assert heard.log(LogLevel.STDOUT) == ["half a line of the parent, 1"]
    assert heard.stdout.splitlines() == ["child " + "c" * 3000] * 15
    assert heard.stderr.splitlines()[:2] == [
        "from the child",
        "A forked child continued with parse(), which only the original process may; end the child with os._exit.",
    ]


def test_a_forked_child_that_goes_on_with_parse_is_told_to_end_and_gives_no_rows(tmp_path: Path) -> None:
    heard = run_guest(tmp_path, "import os\ndef parse(path):\n    yield {'n': 1}\n    os.fork()\n    yield {'n': 2}\n")

    assert (heard.status, heard.state.failure, heard.state.is_complete) == (0, None, True), heard.stderr
    assert [row["n"] for row in heard.rows("output")] == [1, 2]


@pytest.mark.parametrize("kind", ["ChainMap", "UserDict"])
def test_a_mapping_that_is_no_dict_is_named_and_not_its_keys(kind: str, tmp_path: Path) -> None:
    heard = run_guest(tmp_path, f"from collections import *\ndef parse(path):\n    yield {kind}({{'a': 1}})\n")

    assert heard.state.failure is not None
    assert heard.state.failure.report.code is ErrorCode.INVALID_DATA
    assert f"yielded a collections.{kind}, which is neither rows nor a table." in heard.state.failure.report.message
    assert f"yield dict(row) instead of the collections.{kind}." in heard.state.failure.report.message


@pytest.mark.parametrize("is_caught", [False, True])
def test_a_signal_handler_that_cuts_rows_short_ends_the_job_and_the_log_says_so(
    is_caught: bool, tmp_path: Path
) -> None:
    """Whatever was sent behind half a frame would be taken for its other half."""
    source = f"""
import signal, sys
from casparian_shim import sideband
class Late(Exception): pass
def late(*_): raise Late
def parse(path, ctx):
    signal.signal(signal.SIGUSR1, late)
    real = sideband.FrameSender.send_batch
    def slow(sender, *parts):
        sendall = sender._sock.sendall
        class Slow:
            def sendall(self, part):
                sendall(memoryview(part)[:100])
                signal.raise_signal(signal.SIGUSR1)
        sender._sock = Slow()
        real(sender, *parts)
    yield {{"n": 1, "text": "t" * 1000}}
    sideband.FrameSender.send_batch = slow
    ctx._outputs._flushed_s = 0.0
    try:
        ctx.progress(1)
    except Late:
        if not {is_caught}:
            raise
    yield {{"n": 2, "text": ""}}
"""
    heard = run_guest(tmp_path, source)

    assert (heard.status, heard.state.failure, heard.rows("output")) == (76, None, [])
    assert "Late" in heard.stderr


@pytest.mark.parametrize("name", FAILURES)
def test_every_failure_is_reported_with_its_code(name: str, tmp_path: Path) -> None:
    body, code, status = FAILURES[name]

    heard = run_guest(tmp_path, f"def parse(path):\n    {body}\n", outputs=("one", "two"))

    assert heard.state.failure is not None, heard.stderr
    assert (heard.state.failure.report.code, heard.status) == (code, status)
    assert not heard.state.is_complete


def test_a_module_without_a_parser_says_what_is_missing(tmp_path: Path) -> None:
    heard = run_guest(tmp_path, "x = 1")

    assert heard.state.failure is not None
    assert "parser.py has no function parse" in heard.state.failure.report.message


def test_prints_and_log_records_become_log_frames(tmp_path: Path) -> None:
    source = (
        "import logging, sys\n"
        "def parse(path, ctx):\n"
        "    print('out'); print('err', file=sys.stderr); print('tail', end='')\n"
        "    sys.stdout.buffer.write(b'raw \\xff\\n')\n"
        "    ctx.log.debug('d'); ctx.log.info('i %d', 1); logging.warning('w'); logging.getLogger('x').error('e')\n"
    )

    heard = run_guest(tmp_path, source)

    assert heard.log(LogLevel.STDOUT) == ["out", "tailraw \\xff"]
    assert heard.log(LogLevel.STDERR) == ["err"]
    assert [heard.log(level) for level in list(LogLevel)[2:]] == [["d"], ["i 1"], ["w"], ["e"]]
    assert (heard.stdout, heard.stderr) == ("", "")


CLOSINGS = {
    "closed": "sys.stdout.close(); sys.stderr.close()",
    "detached": "sys.stdout.detach()",
    "closed by a wrapper that is gone": "io.TextIOWrapper(sys.stdout.buffer, encoding='utf-8')",
}


@pytest.mark.parametrize("name", CLOSINGS)
def test_a_parser_that_closes_its_standard_streams_keeps_its_rows(name: str, tmp_path: Path) -> None:
    source = f"import io, sys\ndef parse(path):\n    print('before')\n    {CLOSINGS[name]}\n    return {{'a': 1}}\n"

    heard = run_guest(tmp_path, source)

    assert heard.status == 0 and heard.state.is_complete, heard.log(LogLevel.ERROR)
    assert heard.log(LogLevel.STDOUT) == ["before"]


def test_a_parser_that_closes_its_standard_streams_and_fails_is_reported(tmp_path: Path) -> None:
    body = "    sys.stdout.close(); sys.stderr.close()\n    raise KeyError('nope')\n"

    heard = run_guest(tmp_path, f"import sys\ndef parse(path):\n{body}")

    assert heard.state.failure is not None, heard.log(LogLevel.ERROR)
    assert heard.state.failure.report.exception == "KeyError"


def test_in_dev_mode_prints_go_where_they_always_go(tmp_path: Path) -> None:
    heard = run_guest(tmp_path, "def parse(path):\n    print('hello')\n    return {'a': 1}\n", mode="dev")

    assert heard.stdout == "hello\n"
    assert heard.log(LogLevel.STDOUT) == []


@pytest.mark.parametrize(
    "given", ["'x', source_row=2**70", "'x', source_row=-1", "'x', source_row='1'", "'x', source_row=True", "None", "5"]
)
def test_a_skip_that_names_no_record_or_no_reason_says_so(tmp_path: Path, given: str) -> None:
    heard = run_guest(tmp_path, f"def parse(path, ctx):\n    ctx.skip({given})\n")

    assert heard.state.failure is not None
    assert (heard.state.failure.report.code, heard.state.failure.report.message[:14]) == (
        "INVALID_DATA",
        "skip was given",
    )


def test_progress_in_odd_numbers_and_units_ends_no_job(tmp_path: Path) -> None:
    told = "(-1, 2**80, 'u')", "(1.5, None, 3)", "(True, float('nan'), b'x')", "(None, '7', object())"
    calls = "".join(f"    ctx.progress{each}\n" for each in told)

    heard = run_guest(tmp_path, f"def parse(path, ctx):\n{calls}    return {{'a': 1}}\n")

    assert heard.status == 0, heard.state.failure


def test_a_text_that_lies_about_its_slices_ends_no_job(tmp_path: Path) -> None:
    lie = "class Lie(str):\n    def __getitem__(self, part):\n        return 'x' * 10**7\n"
    calls = "    ctx.progress(1, 2, Lie('rows'))\n    ctx.skip(Lie('r' * 300))\n"

    heard = run_guest(tmp_path, f"{lie}def parse(path, ctx):\n{calls}    return {{'a': 1}}\n")

    assert heard.status == 0, heard.state.failure
    assert heard.progress().skips == {"r" * 200: 1}


def test_skips_rejects_and_progress_are_told_and_rejected_rows_keep_their_place(tmp_path: Path) -> None:
    source = (
        "def parse(path, ctx):\n"
        "    ctx.skip('comment', 2)\n"
        "    for n in range(6):\n"
        "        if n in (0, 3):\n"
        "            ctx.reject('orders', {'n': n, '__cf_row_id': n + 10}, 'odd', raw=f'line {n}')\n"
        "        else:\n"
        "            yield 'orders', {'n': n}\n"
        "    ctx.reject(None, {'other': 1.5}, 'late', source_row=99)\n"
        "    ctx.progress(6, 6, 'records')\n"
    )

    heard = run_guest(tmp_path, source, outputs=("orders",))

    assert heard.status == 0, heard.state.failure
    assert [row["n"] for row in heard.rows("orders")] == [1, 2, 4, 5]
    known = {"_cf_reject_reason": "odd", "other": None}
    assert heard.rows("orders", OutputKind.REJECTS) == [
        {"_cf_output_row_index": 0, "__cf_row_id": 10, "_cf_raw": "line 0", "n": "0", **known},
        {"_cf_output_row_index": 3, "__cf_row_id": 13, "_cf_raw": "line 3", "n": "3", **known},
        {
            "_cf_output_row_index": 6,
            "__cf_row_id": 99,
            "_cf_raw": None,
            "n": None,
            "_cf_reject_reason": "late",
            "other": "1.5",
        },
    ]
    progress = heard.progress()
    assert (progress.done, progress.unit, progress.skips, progress.rejects) == (
        6,
        "records",
        {"comment": 2},
        {"orders": 3},
    )


def test_many_rows_arrive_complete_in_order_and_in_batches(tmp_path: Path) -> None:
    source = "def parse(path):\n    for n in range(200_000):\n        yield {'n': n, 't': 'x'}\n"

    heard = run_guest(tmp_path, source)

    batches = heard.batches["output", OutputKind.ROWS]
    assert len(batches) >= 4
    assert max(batch.num_rows for batch in batches) <= 65_536  # less on a busy machine, where a second has passed
    assert pa.Table.from_batches(batches)["n"].to_pylist() == list(range(200_000))


WAITS = {
    "asleep": "time.sleep(0.02)",
    "computing": "sum(range(1000))",
    "for a thread": "threading.Event().wait(0.02)",
    "in a generator of its own": "list(time.sleep(0.01) for _ in range(2))",
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS.keys())
def test_rows_are_sent_while_the_parser_waits_before_its_next_row(wait: str, tmp_path: Path) -> None:
    """The parser goes on only when its first rows have arrived."""
    seen = tmp_path / "seen"
    source = (
        "import os, threading, time\nfrom casparian_shim import read_lines\n"
        "def parse(path, ctx):\n"
        "    for row in read_lines(path):\n"
        "        yield {'n': row['__cf_row_id'], '__cf_row_id': row['__cf_row_id']}\n"
        f"    while not os.path.exists({str(seen)!r}):\n        {wait}\n"
        "    yield {'n': 3}\n"
    )

    heard = run_guest(tmp_path, source, on_batch=seen.touch)

    assert heard.status == 0, heard.frames[-1]
    assert [row["n"] for row in heard.rows("output")] == [1, 2, 3]


def test_a_parser_has_its_own_alarm_and_gets_no_other(tmp_path: Path) -> None:
    source = (
        "import signal, time\nalarms = []\n"
        "signal.signal(signal.SIGALRM, lambda *_: alarms.append('at import'))\nsignal.setitimer(signal.ITIMER_REAL, 0.01)\n"
        "def parse(path):\n"
        "    while not alarms:\n        time.sleep(0.01)\n"
        "    signal.signal(signal.SIGALRM, lambda *_: alarms.append('in parse'))\n"
        "    ends = time.monotonic() + 0.6\n"
        "    while time.monotonic() < ends:\n        sum(range(1000))\n"
        "    signal.setitimer(signal.ITIMER_REAL, 0.01)\n"
        "    while len(alarms) < 2:\n        time.sleep(0.01)\n"
        "    yield {'alarms': ', '.join(alarms)}\n"
    )

    heard = run_guest(tmp_path, source)

    assert heard.status == 0, heard.frames[-1]
    assert heard.rows("output") == [{"alarms": "at import, in parse"}]


def test_one_odd_value_sends_its_batch_of_its_column_with_kinds_and_no_other(tmp_path: Path) -> None:
    source = (
        "def parse(path):\n    for n in range(150_000):\n        yield {'n': 'oops' if n == 70_000 else n, 'm': n}\n"
    )

    heard = run_guest(tmp_path, source)

    types = [[str(kind) for kind in batch.schema.types] for batch in heard.batches["output", OutputKind.ROWS]]
    odd = ["struct<kind: uint8, value: binary>", "int64"]
    assert types.count(odd) == 1
    assert {*map(tuple, types)} == {("int64", "int64"), tuple(odd)}  # a busy machine may cut more batches, each second
    assert [row["n"] for row in heard.rows("output")][69_999:70_002] == [
        {"kind": ValueKind.INT, "value": b"69999"},
        {"kind": ValueKind.TEXT, "value": b"oops"},
        {"kind": ValueKind.INT, "value": b"70001"},
    ]
    assert len(heard.log(LogLevel.WARNING)) == 1


def test_a_bundle_imports_its_own_modules_and_reads_its_own_resources_only(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "helper.py").write_text("VALUE = 5\n")
    (bundle / "codes.json").write_text("{}")
    (bundle / "main.py").write_text(
        "from helper import VALUE\n"
        "def parse(path, ctx):\n"
        "    yield {'v': VALUE, 'r': ctx.resource('codes.json').decode()}\n"
        "    ctx.resource('../input.txt')\n"
    )

    heard = run_guest(tmp_path, "", parser_path=str(bundle), entry="main.py")

    assert heard.state.failure is not None
    assert heard.state.failure.report.code is ErrorCode.FILE_NOT_FOUND
    assert "bundle contains no file '../input.txt'" in heard.state.failure.report.message


def test_a_guest_whose_worker_is_gone_ends_with_a_transient_status(tmp_path: Path) -> None:
    source = (
        "import os, socket\n"
        "def parse(path, ctx):\n"
        "    socket.socket(fileno=os.dup(ctx._job.socket_fd)).shutdown(socket.SHUT_RDWR)\n"
        "    return {'a': 1}\n"
    )

    assert run_guest(tmp_path, source).status == 2


def test_the_shim_works_where_nothing_but_pyarrow_can_be_imported(tmp_path: Path) -> None:
    alone = tmp_path / "environment"
    alone.mkdir()
    for folder in (Path(pa.__file__).parent, *Path(pa.__file__).parent.parent.glob("pyarrow.libs")):
        (alone / folder.name).symlink_to(folder)
    shim = tmp_path / "elsewhere"
    shim.mkdir()
    (shim / "casparian_shim").symlink_to(Path(casparian_shim.__file__).parent)
    (shim / "neighbour.py").write_text("")
    source = (
        "import importlib.util\n"
        "def parse(path):\n"
        "    names = ['pydantic', 'msgpack', 'casparian_protocol', 'neighbour', 'pyarrow', 'casparian_shim']\n"
        "    yield {name: importlib.util.find_spec(name) is not None for name in names}\n"
    )

    heard = run_guest(tmp_path, source, sys_paths=[str(alone)], shim=shim / "casparian_shim" / "guest.py")

    assert heard.status == 0, heard.frames[-1]
    (row,) = heard.rows("output")
    assert [name for name, is_there in row.items() if is_there] == ["pyarrow", "casparian_shim"]


def test_nothing_of_the_shim_but_its_arrow_part_imports_pyarrow() -> None:
    code = "import sys, casparian_shim.guest, casparian_shim.frames.kinds\nprint('pyarrow' in sys.modules)"
    environment = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)

    assert done.stdout == "False\n"
