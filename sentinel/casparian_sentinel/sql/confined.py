"""The program of the process that runs one user query: `python -m casparian_sentinel.sql.confined`, started by `query_process`.

Reads what it may touch from the first line on stdin and gives up everything else (Landlock: read the published data, write
its own temporary directory) before it loads a library. Then it opens DuckDB and waits. With its order it attaches the catalog,
turns external access off and locks the configuration, looks at the query as DuckDB reads it, runs it and writes Arrow IPC to
the file named in the order. A refusal or an error is one JSON line on stderr and exit 1. Without an order it ends silently.
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
import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from casparian_sentinel.sql.query_process import Ground, Order
from casparian_sentinel.sql.second_look import objection
from casparian_shim import process
from casparian_shim.process import restrict

if TYPE_CHECKING:
    import duckdb

_PR_SET_PDEATHSIG = 1
_PROBLEM_LIMIT_CHARACTERS = 4000
_BATCH_ROWS = 65_536
#: So long a query competes with the rest of the machine; a longer one lets others go first.
_GIVES_WAY_SECONDS = 1.0
_NICENESS = 10

_NOT_IN_ARROW = frozenset({"UHUGEINT", "BIGNUM", "BIT", "TIME WITH TIME ZONE"})

#: Read by DuckDB itself; without /proc/self and /sys/fs/cgroup it aborts (notes: section 4).
_SYSTEM_PATHS = (
    "/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/share/zoneinfo", "/etc/localtime", "/dev/null", "/dev/urandom",
    "/sys/fs/cgroup", "/proc/self", "/proc/meminfo", "/proc/stat", "/sys/devices/system/cpu",
)  # fmt: skip


def main() -> int:
    process.reset_signals()
    ground = Ground.from_json(sys.stdin.readline())
    die_with(ground.asker_pid)
    os.chdir(ground.scratch)
    os.environ["HOME"] = ground.scratch
    confine(ground)
    db = ready()
    text = sys.stdin.read()
    if not text:
        return 0
    return answer(db, ground, Order.from_json(text))


def answer(db: duckdb.DuckDBPyConnection, ground: Ground, order: Order) -> int:
    """Run the one query; the exit status."""
    import duckdb

    limit(order)
    later = threading.Timer(_GIVES_WAY_SECONDS, give_way)
    later.daemon = True
    later.start()
    try:
        lock(db, ground, order)
        serialized = json.loads(db.execute("select json_serialize_sql(?)", [order.sql]).fetchall()[0][0])
        found = objection(serialized, [*order.names, *order.tables])
        if found is not None:
            return _fail(found)
        _write(_exact(db.sql(order.sql)), order.answer, order.limit_rows)
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


def confine(ground: Ground) -> int:
    """Before any library starts a thread: Landlock binds the thread that calls it and those that follow."""
    python = [Path(path) for path in {sys.prefix, sys.base_prefix, *sys.path} if path]
    # `/proc/self` is a link to this very process: resolved, or the rule would be about the link's target of another.
    system = [Path(path).resolve() if path == "/proc/self" else Path(path) for path in _SYSTEM_PATHS]
    data = [Path(ground.catalog).parent, *map(Path, ground.directories)]
    return restrict(read=[*python, *system, *data], write=[Path(ground.scratch)])


def ready() -> duckdb.DuckDBPyConnection:
    """DuckDB without a database, with everything loaded that a query runs through."""
    import duckdb

    db = duckdb.connect()
    for setting in (
        "set timezone = 'UTC'",
        "set python_enable_replacements = false",
        "set autoinstall_known_extensions = false",
        "set autoload_known_extensions = false",
    ):
        db.execute(setting)
    db.sql("select json_serialize_sql('select 1'), now()").to_arrow_reader(1).read_all()
    return db


def limit(order: Order) -> None:
    """Bounds behind DuckDB's own: no file and no address space without end, and no core file."""
    address_space = 2 * order.memory_bytes + 4 * 1024**3
    for kind, most in (
        (resource.RLIMIT_FSIZE, order.answer_bytes),
        (resource.RLIMIT_AS, address_space),
        (resource.RLIMIT_CORE, 0),
    ):
        hard = resource.getrlimit(kind)[1]
        allowed = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (allowed, allowed))


def give_way() -> None:
    """Let others go first. Each thread has a priority of its own; those that are started later inherit it."""
    if sys.platform != "linux":
        os.nice(_NICENESS)
        return
    for thread in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):  # it ended meanwhile
            os.setpriority(os.PRIO_PROCESS, int(thread), _NICENESS)


def lock(db: duckdb.DuckDBPyConnection, ground: Ground, order: Order) -> None:
    """Show the published views and the state tables that were handed over; nothing else can be reached afterwards."""
    import pyarrow as pa

    name = _identifier(Path(ground.catalog).stem)
    for statement in (f"attach {_quoted(ground.catalog)} as {name} (read_only)", f"use {name}", "detach memory"):
        db.execute(statement)
    for table, path in order.tables.items():
        with pa.memory_map(path) as source:
            rows = pa.ipc.open_stream(source).read_all()
        db.register("handed_over", rows)
        db.execute(f'create temp table "{table}" as select * from handed_over')
        db.unregister("handed_over")
    directories = ", ".join(map(_quoted, ground.directories))
    for setting in (
        f"set allowed_directories = [{directories}]",
        f"set temp_directory = {_quoted(ground.scratch)}",
        f"set memory_limit = '{int(order.memory_bytes)}B'",
        f"set max_temp_directory_size = '{int(order.spill_bytes)}B'",
        "set enable_external_access = false",
        "set lock_configuration = true",
    ):
        db.execute(setting)


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


def _write(answer: duckdb.DuckDBPyRelation, path: str, limit_rows: int | None) -> None:
    """DuckDB computes as it is read: behind the last wanted row nothing more is asked of it."""
    import pyarrow as pa

    left = sys.maxsize if limit_rows is None else limit_rows
    reader = answer.to_arrow_reader(min(_BATCH_ROWS, left))
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
    status = main()
    sys.stderr.flush()
    os._exit(status)  # all that there was to keep is in the answer's file; the kernel frees the rest faster
