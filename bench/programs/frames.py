"""A measured program: Arrow batches from one process to another, over the guest's frames, bare frames, or Arrow Flight.

`{"way": "casparian" | "bare" | "bare unix" | "flight", "path", "times"}`: the batches of an Arrow file are sent so many times by
a process that is forked from this one. The clock runs from the fork to the last batch. `casparian` sends with the shim's code and
reads with the worker's, which checks every frame and validates every batch. The bare loops send a length and a message for each
batch, which is received into one buffer that is used again; nothing is checked. Flight checks nothing either. Bytes are those of
the batches' messages; CPU time is that of both processes, without loading.
"""

from __future__ import annotations

import json
import os
import resource
import socket
import struct
import sys
import time
from collections.abc import Callable, Iterator

import pyarrow as pa

from casparian_shim.emitting import Outputs
from casparian_shim.frames.codec import encode_end_of_stream, encode_hello
from casparian_shim.frames.kinds import PROTOCOL_VERSION, Hello, LogLevel, OutputKind
from casparian_shim.process import prepare_arrow
from casparian_shim.sideband import FrameSender
from casparian_worker.execute.records import SourceRecords
from casparian_worker.execute.run import CancelToken, StreamCounters
from casparian_worker.execute.stream import GuestStream, Watchdog
from casparian_worker.guest.spawner import connected_pair

_LENGTH = struct.Struct(">I")
_TOKEN = "t"
_CONNECT_SECONDS = 20.0
Send = Callable[[socket.socket, list[pa.RecordBatch], int], None]


# --- as a guest and a worker do it ------------------------------------------------------------------------------------


def send_as_guest(connection: socket.socket, batches: list[pa.RecordBatch], times: int) -> None:
    sender = FrameSender(connection)
    sender.send(encode_hello(Hello(PROTOCOL_VERSION, _TOKEN, os.getpid(), "")))
    outputs = Outputs(sender, ("rows",))
    for batch in _repeated(batches, times):
        outputs.add_table("rows", batch)
    outputs.finish()
    sender.send(encode_end_of_stream())


class _Counter:
    """What a worker would validate against a contract and write."""

    received = quarantined = 0

    def announce(self, schema: pa.Schema, kind: OutputKind) -> None:
        pass

    def take(self, batch: pa.RecordBatch, kind: OutputKind) -> None:
        self.received += batch.num_rows


class _NoLog:
    def write(self, level: LogLevel, origin: str, text: str) -> None:
        raise RuntimeError(f"the guest said {text}")

    def flush(self) -> None:
        pass


def receive_as_worker(connection: socket.socket, _schema: pa.Schema) -> int:
    counter, log = _Counter(), _NoLog()
    stream = GuestStream(
        connection,
        token=_TOKEN,
        watchdog=Watchdog(CancelToken(), None, None, log, start_seconds=_CONNECT_SECONDS),
        find_output=lambda name: counter,
        log=log,
        counters=StreamCounters(),
        limits=None,
        records=SourceRecords(0, -1),
        greet=lambda hello: None,
    )
    if (failure := stream.read()) is not None:
        raise RuntimeError(failure.report.message)
    return counter.received


# --- the bare loop ----------------------------------------------------------------------------------------------------


def send_bare(connection: socket.socket, batches: list[pa.RecordBatch], times: int) -> None:
    for batch in _repeated(batches, times):
        message = batch.serialize()
        connection.sendall(_LENGTH.pack(message.size))
        connection.sendall(message)
    connection.sendall(_LENGTH.pack(0))


def receive_bare(connection: socket.socket, schema: pa.Schema) -> int:
    rows, buffer = 0, pa.allocate_buffer(64 << 20)
    view = memoryview(buffer).cast("B")
    head = memoryview(bytearray(_LENGTH.size))
    while True:
        _fill(connection, head)
        (length,) = _LENGTH.unpack(head)
        if not length:
            return rows
        _fill(connection, view[:length])
        rows += pa.ipc.read_record_batch(buffer.slice(0, length), schema).num_rows


def _fill(connection: socket.socket, target: memoryview) -> None:
    filled = 0
    while filled < len(target):
        count = connection.recv_into(target[filled:])
        if not count:
            raise EOFError("the sender is gone")
        filled += count


def unix_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)


# --- one measurement --------------------------------------------------------------------------------------------------


def _repeated(batches: list[pa.RecordBatch], times: int) -> Iterator[pa.RecordBatch]:
    for _ in range(times):
        yield from batches


def over_socket(
    pair: tuple[socket.socket, socket.socket],
    send: Send,
    receive: Callable[[socket.socket, pa.Schema], int],
    batches: list[pa.RecordBatch],
    times: int,
) -> dict[str, float]:
    ours, theirs = pair
    began = time.perf_counter()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            ours.close()
            send(theirs, batches, times)
            status = 0
        finally:
            os._exit(status)
    theirs.close()
    with ours:
        rows = receive(ours, batches[0].schema)
        seconds = time.perf_counter() - began
    _require_success(pid)
    return {"seconds": seconds, "rows": rows}


def over_flight(batches: list[pa.RecordBatch], times: int) -> dict[str, float]:
    """The batches from a Flight server on the loopback, read one by one."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            _serve_flight(batches, times, writing)
            status = 0
        finally:
            os._exit(status)
    from pyarrow import flight

    port = int(os.read(reading, 16))
    client = flight.connect(f"grpc://127.0.0.1:{port}")
    began = time.perf_counter()
    rows = sum(chunk.data.num_rows for chunk in client.do_get(flight.Ticket(b"")))
    seconds = time.perf_counter() - began
    list(client.do_action(flight.Action("end", b"")))
    client.close()
    _require_success(pid)
    return {"seconds": seconds, "rows": rows}


def _serve_flight(batches: list[pa.RecordBatch], times: int, port_to: int) -> None:
    import threading

    from pyarrow import flight

    is_done = threading.Event()

    class Server(flight.FlightServerBase):  # type: ignore[misc]
        def do_get(self, context: object, ticket: object) -> object:
            return flight.GeneratorStream(batches[0].schema, _repeated(batches, times))

        def do_action(self, context: object, action: object) -> list[bytes]:
            is_done.set()
            return []

    server = Server("grpc://127.0.0.1:0")
    os.write(port_to, str(server.port).encode())
    is_done.wait()
    server.shutdown()


def _require_success(pid: int) -> None:
    _pid, status = os.waitpid(pid, 0)
    if status != 0:
        raise RuntimeError(f"the sender ended with {os.waitstatus_to_exitcode(status)}")


def main() -> None:
    given = json.loads(sys.argv[1])
    pa.set_cpu_count(1)
    prepare_arrow()
    with pa.OSFile(given["path"]) as file:
        batches = pa.ipc.open_file(file).read_all().to_batches()
    times = given["times"]
    began_cpu = time.process_time()
    match given["way"]:
        case "casparian":
            answer = over_socket(connected_pair(), send_as_guest, receive_as_worker, batches, times)
        case "bare":
            answer = over_socket(connected_pair(), send_bare, receive_bare, batches, times)
        case "bare unix":
            answer = over_socket(unix_pair(), send_bare, receive_bare, batches, times)
        case _:
            answer = over_flight(batches, times)
    used_cpu = time.process_time() - began_cpu
    sent = sum(pa.ipc.get_record_batch_size(batch) for batch in batches) * times
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_seconds = used_cpu + children.ru_utime + children.ru_stime
    print(json.dumps({**answer, "cpu_seconds": cpu_seconds, "gigabytes": sent / 1e9}))


if __name__ == "__main__":
    main()
