"""The process that runs one user query: `python -m casparian_sentinel.sql.confined`, started by `ask`, never by hand.

Reads one JSON order on stdin, gives up its rights (Landlock: read the published data, write its own temporary directory),
opens the catalog read-only with external access off and the configuration locked, looks at the query as DuckDB reads it,
runs it and writes Arrow IPC to the file named in the order. A refusal or an error is one JSON line on stderr and exit 1.
Ends with the thread that asked.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import resource
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import duckdb
import pyarrow as pa

from casparian_sentinel.sql.second_look import objection
from casparian_shim import process
from casparian_shim.process import restrict

_PR_SET_PDEATHSIG = 1
_PROBLEM_LIMIT_CHARACTERS = 4000
_BATCH_ROWS = 65_536

_NOT_IN_ARROW = frozenset({"UHUGEINT", "BIGNUM", "BIT", "TIME WITH TIME ZONE"})

#: Read by DuckDB itself; without /proc/self and /sys/fs/cgroup it aborts.
_SYSTEM_PATHS = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/localtime", "/dev/null", "/dev/urandom",
    "/sys/fs/cgroup", "/proc/self", "/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One query to run, and what its process may use; travels as JSON on stdin."""

    sql: str
    #: Views of the catalog that may be read, in lower case.
    names: list[str]
    #: `catalog.duckdb`, under a name that no commit replaces.
    catalog: str
    #: Where published files are.
    directories: list[str]
    #: state table → a file of Arrow IPC with its rows.
    tables: dict[str, str]
    #: The directory that the process may write.
    scratch: str
    #: The file below it that the answer is written to.
    answer: str
    memory_bytes: int
    answer_bytes: int
    spill_bytes: int
    #: None: all rows.
    limit_rows: int | None
    #: The process ends with this one.
    asker_pid: int

    @classmethod
    def from_json(cls, text: str) -> Order:
        return cls(**json.loads(text))

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def main() -> int:
    process.reset_signals()
    order = Order.from_json(sys.stdin.read())
    die_with(order.asker_pid)
    os.chdir(order.scratch)
    os.environ["HOME"] = order.scratch
    limit(order)
    confine(order)
    try:
        with open_output_views(order) as db:
            serialized = json.loads(db.execute("select json_serialize_sql(?)", [order.sql]).fetchall()[0][0])
            found = objection(serialized, [*order.names, *order.tables])
            if found is not None:
                return _fail(found)
            answer = _exact(db.sql(order.sql))
            _write(answer.to_arrow_reader(_BATCH_ROWS), order.answer, order.limit_rows)
    except duckdb.Error as cause:
        return _fail(str(cause).strip())
    except OSError as cause:
        if cause.errno != errno.EFBIG:
            raise
        return _fail(f"The answer is larger than {order.answer_bytes:,} bytes.")
    except MemoryError:
        return _fail("The query needs more memory than it may have.")
    return 0


def die_with(asker_pid: int) -> None:
    """The kernel kills this process when the thread that started it ends; where it cannot, writing to a closed pipe ends it."""
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError("prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != asker_pid:  # it ended before the kernel knew
        os._exit(1)


def limit(order: Order) -> None:
    """Bounds behind DuckDB's own: no file and no address space without end, no core file, and others go first."""
    address_space = 2 * order.memory_bytes + 4 * 1024**3
    for kind, most in (
        (resource.RLIMIT_FSIZE, order.answer_bytes),
        (resource.RLIMIT_AS, address_space),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (allowed, allowed))
    os.nice(10)


def confine(order: Order) -> int:
    """Before any library starts a thread: Landlock binds the thread that calls it and those that follow."""
    python = [Path(path) for path in {sys.prefix, sys.base_prefix, *sys.path} if path]
    # `/proc/self` is a link to this very process: resolved, or the rule would be about the link's target of another.
    system = [Path(path).resolve() if path == "/proc/self" else Path(path) for path in _SYSTEM_PATHS]
    data = [Path(path) for path in (order.catalog, *order.directories, *order.tables.values())]
    return restrict(read=[*python, *system, *data], write=[Path(order.scratch)])


def open_output_views(order: Order) -> duckdb.DuckDBPyConnection:
    """The published views and the state tables that were handed over; nothing else can be reached afterwards."""
    db = duckdb.connect(order.catalog, read_only=True)
    for name, path in order.tables.items():
        with pa.memory_map(path) as source:
            table = pa.ipc.open_stream(source).read_all()
        db.register("handed_over", table)
        db.execute(f'create temp table "{name}" as select * from handed_over')
        db.unregister("handed_over")
    directories = ", ".join(map(_quoted, order.directories))
    for setting in (
        f"set allowed_directories = [{directories}]",
        "set timezone = 'UTC'",
        "set python_enable_replacements = false",
        "set autoinstall_known_extensions = false",
        "set autoload_known_extensions = false",
        f"set temp_directory = {_quoted(order.scratch)}",
        f"set memory_limit = '{int(order.memory_bytes)}B'",
        f"set max_temp_directory_size = '{int(order.spill_bytes)}B'",
        "set enable_external_access = false",
        "set lock_configuration = true",
    ):
        db.execute(setting)
    return db


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _exact(answer: duckdb.DuckDBPyRelation) -> duckdb.DuckDBPyRelation:
    """The same rows; what DuckDB does not carry whole into Arrow (a UHUGEINT comes as -1, a TIMETZ without zone) as text."""
    types = list(map(str, answer.types))
    if not _NOT_IN_ARROW.intersection(types):
        return answer
    columns = zip(answer.columns, types, strict=True)
    return answer.project(
        ", ".join(
            f"#{place}{'::varchar' if kind in _NOT_IN_ARROW else ''} as {_identifier(name)}"
            for place, (name, kind) in enumerate(columns, 1)
        )
    )


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _write(reader: pa.RecordBatchReader, path: str, limit_rows: int | None) -> None:
    """DuckDB computes as it is read: behind the last wanted row nothing more is asked of it."""
    left = sys.maxsize if limit_rows is None else limit_rows
    with pa.OSFile(path, "wb") as sink, pa.ipc.new_stream(sink, reader.schema) as writer:
        for batch in reader:
            writer.write_batch(batch.slice(0, left))
            left -= batch.num_rows
            if left <= 0:
                break


def _fail(problem: str) -> int:
    sys.stderr.write(json.dumps({"problem": problem[:_PROBLEM_LIMIT_CHARACTERS]}) + "\n")
    return 1


if __name__ == "__main__":
    sys.exit(main())
