"""The program that runs one user query: `python -m casparian_sentinel.sql.confined`, started by `query_process`.

It reads what it may access from the first line of stdin, and gives up everything else before it loads a library (Landlock: read
the published data, write its own temporary directory). Then it opens DuckDB and waits for its order. With the order it attaches
the catalog, turns external access off, locks the configuration, checks the query as DuckDB parses it, runs it, and writes Arrow
IPC to the file named in the order. A refusal or an error is one JSON line on stderr and exit code 1. Without an order it ends
silently. It also ends when the thread that started it ends.
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
from casparian_shim.sandbox.landlock import restrict

if TYPE_CHECKING:
    import duckdb

_PR_SET_PDEATHSIG = 1
_PROBLEM_LIMIT_CHARACTERS = 4000
_BATCH_ROWS = 65_536
#: For this long a query competes with the rest of the machine; after that it lets other processes go first.
_GIVES_WAY_SECONDS = 1.0
_NICENESS = 10

_NOT_IN_ARROW = frozenset({"UHUGEINT", "BIGNUM", "BIT", "TIME WITH TIME ZONE"})

#: Read by DuckDB itself, which aborts without /proc/self and /sys/fs/cgroup (notes: section 4).
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
    """Run the query; returns the exit status."""
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
        return _fail("The query needs more memory than its limit.")
    return 0


def die_with(asker_pid: int) -> None:
    """End this process when the thread that started it ends. Without kernel support, writing to the closed pipe ends it."""
    if sys.platform != "linux":
        return
    if ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError("prctl(PR_SET_PDEATHSIG)")
    if os.getppid() != asker_pid:  # it ended before the kernel knew of this process
        os._exit(1)


def confine(ground: Ground) -> int:
    """Apply Landlock before any library starts a thread: it binds the calling thread and threads started later."""
    python = [Path(path) for path in {sys.prefix, sys.base_prefix, *sys.path} if path]
    # `/proc/self` must be resolved to this process here, because otherwise the rule would apply to the link.
    system = [Path(path).resolve() if path == "/proc/self" else Path(path) for path in _SYSTEM_PATHS]
    data = [Path(ground.catalog).parent, *map(Path, ground.directories)]
    return restrict(read=[*python, *system, *data], write=[Path(ground.scratch)])


def ready() -> duckdb.DuckDBPyConnection:
    """A DuckDB connection without a database, with everything loaded that a query needs."""
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
    """Set process limits in addition to DuckDB's: file size, address space, and no core file."""
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
    """Lower the priority of every thread of this process; threads that start later inherit it."""
    if sys.platform != "linux":
        os.nice(_NICENESS)
        return
    for thread in os.listdir("/proc/self/task"):
        with suppress(ProcessLookupError):  # it ended in the meantime
            os.setpriority(os.PRIO_PROCESS, int(thread), _NICENESS)


def lock(db: duckdb.DuckDBPyConnection, ground: Ground, order: Order) -> None:
    """Attach the published views and the given state tables; nothing else can be reached afterwards."""
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
    """The same rows, with values that Arrow cannot carry exactly (a UHUGEINT becomes -1, a TIMETZ loses its zone) as text."""
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
    """Write the answer. DuckDB computes while it is read, so nothing is computed after the last wanted row."""
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
    os._exit(status)  # everything to keep is in the answer's file, and the kernel frees the rest faster
