"""A real guest process on a real connection, and everything it said."""

import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

import casparian_shim
from casparian_shim.frames import (
    Batch,
    Frame,
    FrameReader,
    Log,
    LogLevel,
    OutputKind,
    OutputStart,
    Progress,
    StreamCut,
    StreamState,
)
from casparian_shim.frames.kinds import GuestJob

GUEST = Path(casparian_shim.__file__).parent / "guest.py"
SITE_PACKAGES = str(Path(pa.__file__).parent.parent)


@dataclass
class Heard:
    """What a guest said until it was gone."""

    status: int = -1
    frames: list[Frame] = field(default_factory=list)
    state: StreamState = field(default_factory=lambda: StreamState(token="t"))
    batches: dict[tuple[str, OutputKind], list[Any]] = field(default_factory=dict)
    stdout: str = ""
    stderr: str = ""

    def rows(self, output: str, kind: OutputKind = OutputKind.ROWS) -> list[dict[str, object]]:
        return [row for batch in self.batches.get((output, kind), []) for row in batch.to_pylist()]

    def log(self, level: LogLevel) -> list[str]:
        return [frame.message for frame in self.frames if isinstance(frame, Log) and frame.level is level]

    def progress(self) -> Progress:
        return [frame for frame in self.frames if isinstance(frame, Progress)][-1]


def run_guest(
    folder: Path,
    source: str,
    *,
    text: str = "a\nb\n",
    sys_paths: Sequence[str] = (SITE_PACKAGES,),
    shim: Path = GUEST,
    on_batch: Callable[[], None] = lambda: None,
    **settings: Any,
) -> Heard:
    (folder / "parser.py").write_text(source)
    (folder / "input.txt").write_text(text)
    ours, theirs = socket.socketpair()
    with ours, theirs, (folder / "input.txt").open("rb") as given, tempfile.TemporaryFile() as description:
        job = GuestJob(
            token="t",
            socket_fd=theirs.fileno(),
            parser_path=str(folder / "parser.py"),
            input_path=str(folder / "input.txt"),
            input_fd=given.fileno(),
            sys_paths=tuple(sys_paths),
            scratch_path=str(folder),
            job_id="j1",
            source_hash="ab" * 32,
        )
        description.write(replace(job, **settings).to_json())
        description.seek(0)
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-B", str(shim), str(description.fileno())],
            pass_fds=(theirs.fileno(), given.fileno(), description.fileno()),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PATH": os.defpath, "LANG": "C.UTF-8"},
        )
        theirs.close()
        heard = _listen(ours, on_batch)
        heard.stdout, heard.stderr = process.communicate(timeout=30)
        heard.status = process.returncode
    return heard


def _listen(ours: socket.socket, on_batch: Callable[[], None] = lambda: None) -> Heard:
    heard, reader, schema = Heard(), FrameReader(ours), None
    while not heard.state.is_complete and heard.state.failure is None:
        try:
            frame = reader.next_frame(idle_seconds=30)
        except StreamCut:
            break
        heard.state.accept(frame, reader.offset)
        heard.frames.append(frame)
        match frame:
            case OutputStart():
                schema = pa.ipc.read_schema(pa.py_buffer(frame.schema))
            case Batch(payload):
                batch = pa.ipc.read_record_batch(pa.py_buffer(payload), schema)
                batch.validate(full=True)
                heard.state.count_rows(batch.num_rows)
                assert heard.state.current is not None
                heard.batches.setdefault((heard.state.current.name, heard.state.current.kind), []).append(batch)
                on_batch()
    return heard


def as_json(value: object) -> str:
    return json.dumps(value, sort_keys=True)
