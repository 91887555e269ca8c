"""The log for an outsider: raw segments, the same events as readable lines, digests of all, and one signature.

`raw/` holds the very bytes of the log up to a head, `events/` a line of JSON for each event, `MANIFEST.json` the SHA-256 of
every file and the head of the chain, `MANIFEST.json.minisig` its signature by the home's key. The folder appears complete
or not at all. `verify_export.py`, which is handed in, checks it without us.
"""

from __future__ import annotations

import hashlib
import json
import secrets
import shutil
from pathlib import Path
from typing import Any

from casparian_protocol.errors import CasparianError
from casparian_protocol.minisign import public_key_line, public_key_text
from casparian_sentinel.log.export import export_jsonl
from casparian_sentinel.log.format import Head, Position
from casparian_sentinel.log.reader import LogReader
from casparian_sentinel.log.segments import list_segments, segment_name, segment_path
from casparian_sentinel.log.signed_head import Sign
from casparian_sentinel.ports import Fs

FORMAT = "casparian-log-export-1"
MANIFEST = "MANIFEST.json"
_PIECE_BYTES = 1024 * 1024
_README = """An event log of Casparian, exported so that it can be checked without Casparian.

    python3 -I -S verify_export.py                 # digests, chain, sequence numbers, readable lines, signature
    python3 -I -S verify_export.py --key RW...     # the same, by a public key that you have from elsewhere
    minisign -Vm MANIFEST.json -p minisign.pub     # the signature alone

raw/      the log's own bytes, segment by segment
events/   the same events, one JSON document a line
"""


class ExportTargetTaken(CasparianError):
    def __init__(self, target: Path) -> None:
        super().__init__(f"{target} exists already.", remedy="Name a directory that does not exist yet.")


def export_signed(
    fs: Fs,
    directory: Path,
    target: Path,
    *,
    chain_id: bytes,
    head: Head,
    at_microseconds: int,
    public_key: bytes,
    sign: Sign,
    script: bytes,
) -> dict[str, Any]:
    """Write the log up to `head` into the new directory `target`; its manifest. Raises `LogCorrupt`."""
    if target.exists():
        raise ExportTargetTaken(target)
    aside = target.with_name(f".{target.name}.part-{secrets.token_hex(4)}")
    aside.mkdir(mode=0o700, parents=True)
    try:
        (aside / "README.txt").write_text(_README, encoding="utf-8")
        (aside / "verify_export.py").write_bytes(script)
        _write_segments(fs, directory, aside, head)
        manifest = {
            "format": FORMAT,
            "chain_id": chain_id.hex(),
            "first_seq": 1,
            "last_seq": head.seq,
            "batch_count": head.batch_no,
            "head_sha256": head.sha256.hex(),
            "exported_at": at_microseconds,
            "public_key": public_key_line(public_key),
            "files": _digests(aside),
        }
        content = json.dumps(manifest, indent=1, sort_keys=True).encode("ascii") + b"\n"
        comment = f"casparian log export, events 1 to {head.seq}, head {head.sha256.hex()}"
        (aside / MANIFEST).write_bytes(content)
        (aside / f"{MANIFEST}.minisig").write_text(sign(content, comment), encoding="utf-8")
        (aside / "minisign.pub").write_text(public_key_text(public_key), encoding="utf-8")
        aside.rename(target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
    return manifest


def _write_segments(fs: Fs, directory: Path, target: Path, head: Head) -> None:
    (target / "raw").mkdir()
    (target / "events").mkdir()
    segments = [segment for segment in list_segments(fs, directory) if segment <= head.position.segment]
    with LogReader(fs, directory) as reader:
        for segment in segments:
            name = segment_name(segment)
            limit = head.position.offset if segment == head.position.segment else None
            size = _copy(fs, segment_path(directory, segment), target / "raw" / name, limit)
            begin, end = reader.segment_start(segment), Position(segment, size)
            lines = target / "events" / name.replace(".caslog", ".jsonl")
            with lines.open("w", encoding="utf-8") as out:
                for _behind, events in reader.event_batches(begin, end, as_written=True):
                    export_jsonl(events, out)


def _copy(fs: Fs, source: Path, target: Path, limit: int | None) -> int:
    descriptor = fs.open_read(source)
    try:
        size = fs.size(descriptor) if limit is None else limit
        with target.open("xb") as out:
            for offset in range(0, size, _PIECE_BYTES):
                out.write(fs.pread(descriptor, min(_PIECE_BYTES, size - offset), offset))
    finally:
        fs.close(descriptor)
    return size


def _digests(folder: Path) -> dict[str, dict[str, Any]]:
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found[path.relative_to(folder).as_posix()] = {"bytes": path.stat().st_size, "sha256": digest}
    return found
