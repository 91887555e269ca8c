"""One attempt with a real guest: what is staged when all is well, and what each way to fail is called."""

import os
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest

from casparian_worker.execute import CancelToken, Failed, StopCause, Stopped
from casparian_worker.guest import probe
from casparian_worker.kinds.parse import execute
from tests.worker.attempts import BARE, JOB_ID, LEASED_AT, ROWS, WAYS, Desk

ANY = {"columns": [{"name": "a", "type": "string"}]}


@pytest.fixture(params=WAYS)
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Desk:
    """Guests of both ways behave alike."""
    desk = Desk(tmp_path)
    desk.way = request.param
    return desk


def test_every_row_is_staged_with_its_lineage_or_kept_in_quarantine_with_its_reason(desk: Desk) -> None:
    desk.policies = {"rows": {"max_pct": 50.0}}
    outcome = desk.finished(
        "def parse(path, ctx):\n"
        "    ctx.skip('comment', 3)\n"
        "    for i in range(5):\n"
        "        yield {'a': str(i), 'n': 'x' if i == 2 else str(i), '__cf_row_id': i + 1}\n"
        "    ctx.reject('rows', {'a': '!'}, 'torn', source_row=9, raw='!!')\n"
    )
    data, bad = desk.table("data.rows.0.parquet"), desk.table("quarantine.rows.0.parquet")
    assert data["n"].to_pylist() == [0, 1, 3, 4]
    assert data["_cf_source_row"].to_pylist() == [1, 2, 4, 5]
    assert set(data["_cf_source_hash"].to_pylist()) == {outcome.manifest.source_hash}
    assert set(data["_cf_job_id"].to_pylist()) == {JOB_ID}
    assert data["_cf_processed_at"].cast(pa.int64()).to_pylist() == [LEASED_AT] * 4
    assert set(data["_cf_parser_version"].to_pylist()) == {"1.0.0"}
    by_index = {row["_cf_output_row_index"]: row for row in bad.to_pylist()}
    assert by_index.keys() == {2, 5}
    assert (by_index[2]["n"], by_index[2]["_cf_violation_type"]) == ("x", "type_mismatch")
    assert (by_index[5]["_cf_raw"], by_index[5]["_cf_violation_type"]) == ("!!", "parser_rejected")
    counts = outcome.manifest.outputs["rows"]
    assert (counts.status, counts.received, counts.valid, counts.quarantined) == ("partial_success", 6, 4, 2)
    assert outcome.manifest.skipped == {"comment": 3}
    assert outcome.manifest.sandbox == probe().level


def test_the_same_job_gives_the_same_bytes(tmp_path: Path) -> None:
    source = "def parse(path):\n    for i in range(3000): yield {'a': f'v{i}', 'n': i}\n"
    digests = set()
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        desk = Desk(tmp_path / name)
        digests.add(tuple(file.digest for file in desk.finished(source).manifest.files))
    assert len(digests) == 1


def test_an_empty_file_and_a_silent_parser_leave_no_data_and_no_files(desk: Desk) -> None:
    desk.input.write_text("")
    outcome = desk.finished("def parse(path):\n    return None\n")
    assert outcome.manifest.files == []
    assert outcome.manifest.outputs["rows"].status == "no_data"
    assert not list(desk.home.staging.iterdir())


def test_prints_and_what_is_written_past_the_shim_are_in_the_log_made_harmless(desk: Desk) -> None:
    desk.finished(
        "import os, logging\n"
        "def parse(path, ctx):\n"
        "    ctx.skip('all of it')\n"
        "    print('one\\x1b[31m')\n"
        "    logging.warning('two')\n"
        "    os.write(1, b'three\\n'); os.write(2, b'fo\\xffur')\n"
    )
    log = desk.log()
    for said in ("STDOUT guest one\\x1b[31m", "WARNING guest two", "STDOUT guest three", "STDERR guest fo\\xffur"):
        assert said in log
    assert "\x1b" not in log


def test_a_guest_sees_a_bare_environment_its_limits_and_its_scratch(desk: Desk) -> None:
    desk.contracts = {"rows": ANY}
    desk.finished(
        "import os, resource\n"
        "def parse(path, ctx):\n"
        "    assert os.environ['HOME'] == os.environ['TMPDIR'] == os.getcwd() == ctx.scratch\n"
        "    assert not [k for k in os.environ if 'CASPARIAN' in k or 'VIRTUAL_ENV' in k], os.environ\n"
        "    assert resource.getrlimit(resource.RLIMIT_CORE) == (0, 0)\n"
        "    assert resource.getrlimit(resource.RLIMIT_AS)[1] == 4 << 30\n"
        "    assert os.getsid(0) == os.getpid()\n"
        "    assert ctx.file.read() == open(path, 'rb').read() == b'a\\nb\\n'\n"
        "    open(ctx.scratch + '/left', 'w').close(); os.mkdir('shut'); os.mkdir('shut/in'); os.chmod('shut', 0)\n"
        "    ctx.skip('all of it')\n"
    )
    assert not list(desk.home.scratch.iterdir())


def alive_in_group(group: int) -> list[int]:
    """Processes of the group that are more than zombies."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _parent, of_group = status.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of_group) == group and state != "Z":
            found.append(int(status.parent.name))
    return found


def wait_until_gone(group: int) -> None:
    deadline = time.monotonic() + 20
    while alive_in_group(group):
        assert time.monotonic() < deadline
        time.sleep(0.01)


FAILURES = {
    "raises at row 1000": (
        "def parse(path):\n"
        "    for i in range(5000):\n"
        "        if i == 1000: raise ValueError('bad \\x1b[2J value')\n"
        "        yield {'a': 'x', 'n': i}\n",
        "INVALID_DATA",
        False,
    ),
    "KeyError": ("def parse(path):\n    {}['x']\n", "PARSER_ERROR", False),
    "undeclared output": ("def parse(path):\n    yield 'others', {'a': 'x'}\n", "SCHEMA_MISMATCH", False),
    "wrong output name": ("def parse(path):\n    yield '../x', {'a': 'x'}\n", "OUTPUT_NAME", False),
    "missing column": ("def parse(path):\n    yield {'a': 'x'}\n", "SCHEMA_MISMATCH", False),
    "extra column": ("def parse(path):\n    yield {'a': 'x', 'n': 1, 'z': 1}\n", "SCHEMA_MISMATCH", False),
    "reserved column": (
        "def parse(path):\n    yield {'a': 'x', 'n': 1, '_cf_job_id': 'f'}\n",
        "SCHEMA_MISMATCH",
        False,
    ),
    "two columns of one name": (
        "import pyarrow as pa\n"
        "def parse(path):\n"
        "    yield pa.Table.from_arrays([pa.array(['x'])] * 2 + [pa.array([1])], names=['a', 'a', 'n'])\n",
        "SCHEMA_MISMATCH",
        False,
    ),
    "cell too large": ("def parse(path):\n    yield {'a': 'x' * (10 << 20), 'n': 1}\n", "LIMIT_EXCEEDED", False),
    "memory": ("def parse(path):\n    bytearray(8 << 30)\n", "MEMORY_ERROR", True),
    "leaves without a word": ("import os\ndef parse(path):\n    os._exit(0)\n", "PROTOCOL_ERROR", False),
    "leaves with status 1": ("import os\ndef parse(path):\n    os._exit(1)\n", "UNKNOWN_ERROR", False),
    "leaves with status 2": ("import os\ndef parse(path):\n    os._exit(2)\n", "CONNECTION_RESET", True),
    "sys.exit(0)": ("import sys\ndef parse(path):\n    sys.exit(0)\n", "UNKNOWN_ERROR", False),
    "killed": ("import os\ndef parse(path):\n    os.kill(os.getpid(), 9)\n", "OOM_RISK", True),
    "crashes": (
        "import os, signal\ndef parse(path):\n    os.kill(os.getpid(), signal.SIGSEGV)\n",
        "UNKNOWN_ERROR",
        False,
    ),
    "syntax error": ("def parse(path:\n", "PARSER_ERROR", False),
    "file not found": ("def parse(path):\n    open(path + '.idx')\n", "FILE_NOT_FOUND", False),
    "writes too much": (
        "def parse(path, ctx):\n    open(ctx.scratch + '/f', 'wb').write(bytes(3 << 20))\n",
        "LIMIT_EXCEEDED",
        False,
    ),
}


@pytest.mark.parametrize("name", FAILURES)
def test_a_failure_has_its_code_and_leaves_nothing(desk: Desk, name: str) -> None:
    source, code, is_retryable = FAILURES[name]
    desk.limits = {"scratch_bytes": 2 << 20, "cell_bytes": 8 << 20}
    error = desk.failed(source).error
    assert (error.code, error.retryable) == (code, is_retryable), error
    assert len(error.fingerprint) == 16
    assert "\x1b" not in error.message
    assert f"Failed: {code}" in desk.log()


@pytest.mark.parametrize(
    "source",
    ["import nothing_like_this\n", "def parse(path):\n    print('x' * 200_000)\n    yield {'a': 'x', 'n': 1}\n"],
)
def test_a_log_that_the_disk_does_not_take_fails_the_attempt_and_keeps_nothing_open(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, source: str
) -> None:
    monkeypatch.setattr("casparian_worker.kinds.parse.joblog_path", lambda *_: Path("/dev/full"))
    error = desk.failed(source).error

    assert (error.code, error.retryable, error.origin) == ("DISK_FULL", True, "environment")
    opened = [
        os.readlink(f"/proc/self/fd/{one}")
        for one in os.listdir("/proc/self/fd")
        if os.path.exists(f"/proc/self/fd/{one}")
    ]
    assert not {str(desk.input), "/dev/full"} & set(opened)


def test_equal_causes_have_equal_fingerprints_whatever_the_values(tmp_path: Path) -> None:
    prints = []
    for name, value in (("one", "17"), ("two", "18")):
        (tmp_path / name).mkdir()
        desk = Desk(tmp_path / name)
        prints.append(desk.failed(f"def parse(path):\n    int('x{value}')\n").error.fingerprint)
    assert prints[0] == prints[1]


def test_a_guest_cannot_claim_what_only_a_worker_may_say(desk: Desk) -> None:
    error = desk.failed(
        "from casparian_shim.errors import CasparianError, ErrorCode\n"
        "class Forged(CasparianError): code = ErrorCode.WORKER_LOST\n"
        "def parse(path): raise Forged('again!')\n"
    ).error
    assert (error.code, error.retryable, error.origin) == ("UNKNOWN_ERROR", False, "parser")


def test_odd_values_are_quarantined_or_kept_and_never_crash_the_worker(desk: Desk) -> None:
    desk.contracts = {"rows": {"columns": [{"name": "v", "type": "int64"}]}}
    desk.policies = {"rows": {"max_pct": 100.0}}
    outcome = desk.finished(
        "def parse(path):\n"
        "    for v in (float('nan'), b'\\xff', {'k': 1}, [1, 2], 2**70, None, '٣', '\\ud800', 7): yield {'v': v}\n"
    )
    counts = outcome.manifest.outputs["rows"]
    assert (counts.received, counts.valid) == (9, 2)


@pytest.mark.parametrize("empty", [1, 65_536, 65_537])
def test_rows_without_a_column_are_judged_alike_wherever_the_first_column_comes(desk: Desk, empty: int) -> None:
    outcome = desk.finished(
        f"def parse(path):\n    yield from [{{}}] * {empty}\n    yield {{'a': 'x', 'n': 1}}\n    yield {{}}\n"
    )
    table = desk.table("data.rows.0.parquet")
    assert table["a"].to_pylist() == [None] * empty + ["x", None]
    assert outcome.manifest.outputs["rows"].received == empty + 2


def test_the_rows_of_a_slow_parser_are_counted_while_it_runs(desk: Desk) -> None:
    """It yields a row now and then until the worker has seen some: a batch would be full after hours."""
    seen = desk.folder / "seen"

    def watch() -> None:
        deadline_s = time.monotonic() + 30
        while not desk.counters.rows and time.monotonic() < deadline_s:
            time.sleep(0.01)
        seen.touch()

    watcher = threading.Thread(target=watch)
    watcher.start()
    outcome = desk.finished(
        "import os, time\n"
        "def parse(path):\n"
        "    number = 0\n"
        f"    while not os.path.exists({str(seen)!r}):\n"
        "        yield {'a': 'x', 'n': number}\n"
        "        number += 1\n"
        "        time.sleep(0.01)\n"
    )
    watcher.join()
    rows = desk.table("data.rows.0.parquet")["n"].to_pylist()
    assert rows == list(range(outcome.manifest.outputs["rows"].valid))
    assert 0 < len(rows) < 2500  # seen before the watcher lost patience


def test_an_endless_loop_ends_at_the_wall_clock(desk: Desk) -> None:
    desk.limits = {"wall_seconds": 1.5}
    assert desk.failed("def parse(path):\n    while True: pass\n").error.code == "TIMEOUT"


def test_burning_cpu_ends_at_the_cpu_limit_even_when_its_signal_is_ignored(desk: Desk) -> None:
    desk.limits = {"cpu_seconds": 1}
    source = "import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\ndef parse(path):\n    while True: pass\n"
    assert desk.failed(source).error.code == "TIMEOUT"


def test_a_guest_that_does_not_end_after_its_stream_is_ended(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian_worker.execute.stream.EXIT_SECONDS", 0.5)
    source = (
        "import sys, time\n"
        "class Slow:\n"
        "    def write(self, text): return len(text)\n"
        "    def flush(self): time.sleep(60)\n"
        "sys.__stdout__ = Slow()\n"
        "def parse(path): yield {'a': 'x', 'n': 1}\n"
    )
    assert desk.failed(source).error.code == "TIMEOUT"


def test_a_cancelled_guest_is_gone_in_two_seconds_though_it_ignores_the_signal(desk: Desk) -> None:
    desk.machine = BARE
    source = (
        "import os, signal, time\n"
        "def parse(path, ctx):\n"
        "    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "    if os.fork() == 0: time.sleep(60)\n"
        "    print('deaf', flush=True)\n"
        "    while True: time.sleep(1)\n"
    )
    pids: list[int] = []
    asked: list[float] = []

    def cancel_when_deaf() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not any("deaf" in p.read_text() for p in desk.home.logs.glob("*/*.log")):
            time.sleep(0.02)
        asked.append(time.monotonic())
        desk.stop.request(StopCause.CANCELLED)

    canceller = threading.Thread(target=cancel_when_deaf)
    canceller.start()
    with pytest.raises(Stopped):
        execute(desk.task(source), desk.context(), desk.stop, on_started=pids.append)
    assert time.monotonic() - asked[0] < 5  # 1.8 s and the kill, on a busy machine
    canceller.join()
    wait_until_gone(pids[0])
    assert not list(desk.home.staging.iterdir())
    assert not list(desk.home.scratch.iterdir())


def test_an_attempt_that_was_stopped_is_not_failed_by_a_full_disk(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian_worker.kinds.parse.joblog_path", lambda *_: Path("/dev/full"))
    desk.stop.request(StopCause.CANCELLED)
    with pytest.raises(Stopped):
        desk.run("def parse(path): yield {}")


def test_a_wish_to_stop_before_the_start_starts_nothing(desk: Desk) -> None:
    stop = CancelToken()
    stop.request(StopCause.SHUTDOWN)
    with pytest.raises(Stopped):
        execute(desk.task("def parse(path): yield {}"), desk.context(), stop, on_started=lambda pid: pytest.fail())


def test_children_left_behind_are_ended_with_the_job(desk: Desk) -> None:
    desk.machine = BARE
    source = (
        "import os, time\n"
        "def parse(path, ctx):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        time.sleep(60); os._exit(0)\n"
        "    print('leader', os.getpid())\n"
        "    yield {'a': 'x', 'n': 1}\n"
    )
    desk.finished(source)
    wait_until_gone(int(desk.log().split("leader ")[1].split()[0]))


def test_a_flood_on_a_raw_descriptor_is_cut_and_counted(desk: Desk) -> None:
    desk.finished(
        "import os\n"
        "def parse(path):\n"
        "    line = b'y' * 999 + b'\\n'\n"
        "    for _ in range(12_000): os.write(1, line)\n"
        "    yield {'a': 'x', 'n': 1}\n"
    )
    log = desk.log()
    assert len(log) <= 10_000_000
    assert "were dropped" in log.splitlines()[-1]


@pytest.mark.parametrize("change", ["append", "replace", "same size and time"])
def test_an_input_that_changes_while_it_is_read_fails_retryably(desk: Desk, change: str) -> None:
    desk.machine = BARE
    deeds = {
        "append": "open(path, 'a').write('c')",
        "replace": "open(path + '.new', 'w').write('a\\nb\\n'); os.rename(path + '.new', path)",
        "same size and time": "s = os.stat(path); open(path, 'r+').write('X'); os.utime(path, ns=(s.st_atime_ns, s.st_mtime_ns))",
    }
    source = f"import os\ndef parse(path):\n    {deeds[change]}\n    yield {{'a': 'x', 'n': 1}}\n"
    error = desk.failed(source).error
    assert (error.code, error.retryable, error.origin) == ("INPUT_CHANGED", True, "environment")


def test_a_touched_input_with_the_same_bytes_is_no_change(desk: Desk) -> None:
    desk.machine = BARE
    desk.finished("import os\ndef parse(path):\n    os.chmod(path, 0o600)\n    yield {'a': 'x', 'n': 1}\n")


def test_an_input_that_is_not_what_was_queued_is_never_parsed(desk: Desk) -> None:
    task = desk.task("def parse(path): print('ran')\n")
    desk.input.write_text("others\n")
    outcome = execute(task, desk.context(), desk.stop)
    assert isinstance(outcome, Failed)
    assert outcome.error.code == "INPUT_CHANGED"
    assert "guest" not in desk.log()


def test_an_input_that_is_gone_or_no_file_is_named(desk: Desk, tmp_path: Path) -> None:
    desk.input.unlink()
    assert desk.failed("").error.code == "FILE_NOT_FOUND"
    desk.input.symlink_to(tmp_path / "bundle" / "parser.py")
    assert desk.failed("").error.code == "PERMISSION_ERROR"
    desk.input.unlink()
    os.mkfifo(desk.input)
    assert desk.failed("").error.origin == "environment"


def test_too_many_bad_rows_publish_nothing_and_keep_the_quarantine(desk: Desk) -> None:
    source = "def parse(path):\n    for i in range(10): yield {'a': 'x', 'n': 'bad' if i < 2 else i}\n"
    outcome = desk.failed(source)
    assert outcome.error.code == "QUARANTINE_EXCEEDED"
    assert outcome.uncommitted is not None
    assert [file.name for file in outcome.uncommitted.files] == ["quarantine.rows.0.parquet"]
    assert outcome.uncommitted.outputs["rows"].status == "failed"
    assert desk.table("quarantine.rows.0.parquet").num_rows == 2


@pytest.mark.parametrize("policy", [{"allow": False}, {"max_count": 1}])
def test_a_limit_on_the_count_ends_the_guest_at_once(desk: Desk, policy: dict[str, object]) -> None:
    desk.policies = {"rows": policy}
    source = (
        "import time\n"
        "def parse(path, ctx):\n"
        "    for i in range(70_000): yield {'a': 'x', 'n': 'bad'}\n"
        "    time.sleep(60)\n"
    )
    began = time.monotonic()
    assert desk.failed(source).error.code == "QUARANTINE_EXCEEDED"
    assert time.monotonic() - began < 20


def test_rows_beyond_the_limit_end_the_job(desk: Desk) -> None:
    desk.limits = {"output_rows": 1000}
    source = "def parse(path):\n    for i in range(5000): yield {'a': 'x', 'n': i}\n"
    assert desk.failed(source).error.code == "LIMIT_EXCEEDED"


def test_a_contract_minded_extra_column_is_dropped_and_counted(desk: Desk) -> None:
    desk.contracts = {"rows": {"mode": "allow_extra", "columns": [{"name": "a", "type": "string"}]}}
    outcome = desk.finished("def parse(path):\n    for i in range(3): yield {'a': 'x', 'z': i}\n")
    assert outcome.manifest.outputs["rows"].extra_columns == {"z": 3}
    assert "z" not in desk.table("data.rows.0.parquet").column_names
    assert "Column z of rows is not in the contract" in desk.log()


def test_the_clock_changes_no_byte_of_what_is_staged(tmp_path: Path) -> None:
    """The same parser on the same input, once with all rows in one batch and once with a batch for each row."""
    source = """
import casparian_shim.emitting
from casparian_shim import read_lines
casparian_shim.emitting.FLUSH_SECONDS = {seconds}
def parse(path, ctx):
    row = {{}}
    for line in read_lines(path):
        number = line["__cf_row_id"]
        row |= line | {{"a": "x", "n": number if number % 3 else "none"}}
        row.pop("offset", None)
        if number % 7 == 0:
            row["late" + str(number // 100)] = number
        if number % 5 == 0:
            ctx.reject("rows", row, "every fifth", source_row=number)
        else:
            yield row
"""
    staged = []
    for seconds in (1e9, -1):
        (tmp_path / str(seconds)).mkdir()
        desk = Desk(tmp_path / str(seconds))
        desk.contracts = {"rows": {"mode": "allow_extra", "columns": ROWS["columns"], "quarantine": {"max_pct": 100}}}
        desk.input.write_text("".join(f"record {number}\n" for number in range(400)))
        manifest = desk.finished(source.format(seconds=seconds)).manifest
        staged.append([(file.name, file.rows, file.digest) for file in manifest.files])
        bad = desk.table("quarantine.rows.0.parquet")
        numbers = [number - 1 for number in range(1, 401) if number % 3 == 0 or number % 5 == 0]
        assert bad["_cf_output_row_index"].to_pylist() == numbers
        assert bad["_cf_raw"].to_pylist() == [f"record {number}" for number in numbers]
        assert bad.column_names[:7] == ["a", "n", "late0", "late1", "late2", "late3", "text"]
    assert [rows for _, rows, _ in staged[0]] == [213, 187]
    assert staged[0] == staged[1]


def test_a_failure_says_where_in_the_parser_and_at_which_line_of_the_input(desk: Desk) -> None:
    desk.input.write_text("id\n" + "1\n" * 1_200)
    error = desk.failed(
        "from casparian_shim import read_csv\n"
        "def parse(path):\n"
        "    for row in read_csv(path):\n"
        "        yield {'a': row['id'] if row['__cf_row_id'] < 1000 else row['nope'], 'n': 1}\n"
    ).error
    assert error.code == "PARSER_ERROR"
    assert error.message == "KeyError: 'nope' (at parser.py:4, while reading source row 1,000 of the input)"
    assert error.context["input_line"] == 1000


def test_a_missing_library_is_named_with_what_to_do(desk: Desk) -> None:
    error = desk.failed("import polarbears.core\ndef parse(path):\n    pass\n").error
    assert (error.code, error.context["module"]) == ("DEPENDENCY_MISSING", "polarbears")
    assert "No module named 'polarbears' (at parser.py:1)" in error.message
    assert "can use only Python's standard library and pyarrow so far: remove polarbears" in error.message


@pytest.mark.parametrize(
    "body",
    ["return 7", "yield {}", "yield 'other', {'a': 1}", "yield {'a': 'x', 'n': 1, '': 2}", "list(read_csv(path))"],
)
def test_messages_name_no_class_of_ours(desk: Desk, body: str) -> None:
    desk.input.write_text("a,b,\n1,2,3\n")
    error = desk.failed(f"from casparian_shim import read_csv\ndef parse(path):\n    {body}\n").error
    assert "casparian_" not in error.message + error.exception
    assert error.exception == ""


def test_a_scratch_deeper_than_any_recursion_is_removed_and_ends_no_job(desk: Desk) -> None:
    source = """
import os
def parse(path, ctx):
    for _ in range(1100):
        os.mkdir("d" * 30)
        os.chdir("d" * 30)
    yield {"a": "x", "n": 1}
"""
    desk.finished(source)
    assert not list(desk.home.scratch.iterdir())


def test_a_link_in_scratch_leads_no_removal_outside(desk: Desk) -> None:
    desk.machine = BARE
    outside = desk.folder / "outside"
    outside.mkdir()
    (outside / "kept").write_text("kept")
    outside.chmod(0o500)
    source = f"""
import os
def parse(path, ctx):
    os.symlink({str(outside)!r}, "link")
    os.mkdir("closed"); os.symlink({str(outside)!r}, "closed/link"); os.chmod("closed", 0)
    yield {{"a": "x", "n": 1}}
"""
    desk.finished(source)
    assert not list(desk.home.scratch.iterdir())
    assert ((outside / "kept").read_text(), outside.stat().st_mode & 0o777) == ("kept", 0o500)
    outside.chmod(0o700)
