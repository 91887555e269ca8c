"""What a worker tells a guest it starts: one JSON object on an inherited descriptor."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from casparian_shim.frames.kinds import BATCH_BYTES_MAX

PRODUCTION = "production"
DEV = "dev"


@dataclass(frozen=True, slots=True)
class GuestJob:
    """One job for one guest. Written by the worker, which is trusted; read once."""

    token: str
    #: The connected socket, inherited.
    socket_fd: int
    #: The parser: a file, or a directory together with `entry`.
    parser_path: str
    input_path: str
    #: The input, opened by the worker (the very file it hashed); None: open `input_path`.
    input_fd: int | None = None
    #: The module of a bundle that is the parser, `fix_parser.py`.
    entry: str | None = None
    #: Declared outputs. Empty: any valid name will do.
    outputs: tuple[str, ...] = ()
    params: Mapping[str, Any] = field(default_factory=dict)
    #: Where imports may come from beside the interpreter's own library: the environment's site-packages.
    sys_paths: tuple[str, ...] = ()
    #: Arrow IPC files with reference data, by name.
    context_paths: Mapping[str, str] = field(default_factory=dict)
    scratch_path: str = ""
    job_id: str = ""
    source_hash: str = ""
    #: `production`: prints and logging become frames. `dev`: they go where the terminal is.
    mode: str = PRODUCTION
    #: What one batch may take on the wire (`limits.batch_bytes`).
    batch_bytes: int = BATCH_BYTES_MAX
    #: Where the author keeps the parser, when that is not where it runs: tracebacks name this directory.
    shown_path: str = ""

    @property
    def bundle_path(self) -> str:
        """The directory the parser lies in."""
        return self.parser_path if self.entry is not None else os.path.dirname(os.path.abspath(self.parser_path))

    @property
    def parser_file(self) -> str:
        """The file that is the parser."""
        if self.entry is None:
            return self.parser_path
        return os.path.join(self.parser_path, self.entry if self.entry.endswith(".py") else f"{self.entry}.py")

    def to_json(self) -> bytes:
        return json.dumps(asdict(self)).encode("ascii")

    @classmethod
    def from_json(cls, text: bytes) -> "GuestJob":
        raw = json.loads(text)
        unknown = raw.keys() - {known.name for known in fields(cls)}
        if unknown:
            raise ValueError(f"the job has unknown fields: {sorted(unknown)}")
        for name in ("outputs", "sys_paths"):
            raw[name] = tuple(raw.get(name, ()))
        return cls(**raw)
