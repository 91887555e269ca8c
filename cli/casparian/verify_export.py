"""Check an exported Casparian event log, offline, with nothing but Python (3.9 or newer): `python3 -I -S verify_export.py`.

It checks, in this order: the signature of MANIFEST.json, with `minisign` or `openssl`; the size and SHA-256 of every file, and
that there are no other files; the raw segments (headers, checksums, the SHA-256 chain from the first batch to the head in the
manifest, and gapless sequence numbers); and that every readable line agrees with the raw bytes. It prints every problem.
Exit 0: intact and signed; 1: not what was exported; 2: wrong usage; 3: intact, but the signature could not be checked.
This file is part of the export, so anyone who can alter the export can alter it too: for a strict check, take this file and
the public key from a source that you trust.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import math
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypedDict

#: The key of an event's data that names its cause.
CAUSE_KEY = "_cause"
FORMAT = "casparian-log-export-1"
MANIFEST, SIGNATURE, KEY = "MANIFEST.json", "MANIFEST.json.minisig", "minisign.pub"

HEADER = struct.Struct("<8sII16sQQQQQ32s")
PREFIX = struct.Struct("<8sII")
REST = struct.Struct("<QQQQ32s")
SEGMENT_MAGIC, BATCH_MAGIC = b"\xc1\xffCASLOG", b"\xc1\xffCASBAT"
CRC_MASK = 0x5CA57A1B
SEGMENT_FORMAT = 1
MAX_DEPTH = 64


class Problem(Exception):
    """A problem with the export, in words."""


# --- the signature


def check_signature(folder: Path, given_key: str | None) -> tuple[bool, str]:
    """Whether the signature was checked, and a sentence about it. Raises `Problem` if it does not match."""
    content = (folder / MANIFEST).read_bytes()
    lines = (folder / SIGNATURE).read_text(encoding="utf-8", errors="replace").splitlines()
    if len(lines) < 4 or not lines[2].startswith("trusted comment: "):
        raise Problem(f"{SIGNATURE} is not a minisign signature")
    shipped = key_line((folder / KEY).read_text(encoding="utf-8", errors="replace"))
    key = key_line(given_key) if given_key else shipped
    signature, both, public = unpack_base64(lines[1]), unpack_base64(lines[3]), unpack_base64(key)
    if len(public) != 42 or public[:2] != b"Ed":
        raise Problem("the public key is not one of minisign")
    if len(signature) != 74 or signature[:2] != b"ED" or len(both) != 64:
        raise Problem(f"{SIGNATURE} is not a prehashed minisign signature")
    if signature[2:10] != public[2:10]:
        raise Problem("the signature was made with another key")
    comment = lines[2][len("trusted comment: ") :].encode()
    whose = "the given key" if given_key else f"the key in this folder; compare it with the sender's: {key}"
    minisign, openssl = shutil.which("minisign"), shutil.which("openssl")
    if minisign:
        command = [minisign, "-Vm", str(folder / MANIFEST), "-x", str(folder / SIGNATURE), "-P", key]
        if subprocess.run(command, capture_output=True, check=False).returncode != 0:
            raise Problem(f"{MANIFEST} is not what was signed, says minisign")
        return True, f"signature good (minisign), by {whose}"
    if openssl:
        digest = hashlib.blake2b(content).digest()
        if not openssl_verifies(openssl, public[10:], digest, signature[10:]):
            raise Problem(f"{MANIFEST} is not what was signed")
        if not openssl_verifies(openssl, public[10:], signature[10:] + comment, both):
            raise Problem("the signature's comment is not what was signed")
        return True, f"signature good (openssl), by {whose}"
    return False, "signature NOT checked: neither minisign nor openssl is here"


def openssl_verifies(openssl: str, public: bytes, message: bytes, signature: bytes) -> bool:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        der = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + public).decode()
        (folder / "key.pem").write_text(f"-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n")
        (folder / "message").write_bytes(message)
        (folder / "signature").write_bytes(signature)
        command = [openssl, "pkeyutl", "-verify", "-pubin", "-inkey", str(folder / "key.pem"), "-rawin"]
        command += ["-in", str(folder / "message"), "-sigfile", str(folder / "signature")]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0


def key_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1].strip() if lines else ""


def unpack_base64(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as cause:
        raise Problem("the key or the signature is not Base64") from cause


# --- the files


class Listed(TypedDict):
    """A file of the export."""

    bytes: int
    sha256: str


class Manifest(TypedDict):
    """The checked fields of the manifest."""

    format: str
    chain_id: str
    first_seq: int
    last_seq: int
    batch_count: int
    head_sha256: str
    public_key: str
    files: dict[str, Listed]


def read_manifest(folder: Path) -> Manifest:
    try:
        manifest: Manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError) as cause:
        raise Problem(f"{MANIFEST} cannot be read: {cause}") from cause
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise Problem(f"{MANIFEST} is not of format {FORMAT}; a newer script may know it")
    return manifest


def check_files(folder: Path, manifest: Manifest) -> Iterator[str]:
    named = manifest["files"]
    present = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()
    }
    for name in sorted(present - set(named) - {MANIFEST, SIGNATURE, KEY}):
        yield f"{name}: the manifest does not know this file"
    for name in sorted(named):
        path = folder / name
        if ".." in Path(name).parts or Path(name).is_absolute():
            yield f"{name}: no name for a file of an export"
        elif path.is_symlink() or not path.is_file():
            yield f"{name}: the file is missing"
        elif path.stat().st_size != named[name]["bytes"]:
            yield f"{name}: has {path.stat().st_size} bytes, the manifest says {named[name]['bytes']}"
        elif sha256_of(path) != named[name]["sha256"]:
            yield f"{name}: its SHA-256 is not the manifest's"


def sha256_of(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
    return digest.hexdigest()


# --- the chain


class Chain:
    """The position in the chain: the hash, batch and event before the next batch."""

    def __init__(self, manifest: Manifest) -> None:
        self.chain_id = bytes.fromhex(manifest["chain_id"])
        self.sha256 = hashlib.sha256(b"casparian event log " + self.chain_id).digest()
        self.batch_no = self.seq = self.previous = self.previous_end = 0

    def read_segment(self, path: Path) -> Iterator[list[Any]]:
        """Each event of the segment as [seq, ts, type, v, actor, data]; raises `Problem` at the first wrong byte."""
        content = path.read_bytes()
        self.check_header(path.name, content)
        offset = HEADER.size
        while offset < len(content):
            size, body = self.check_batch(path.name, content, offset)
            for event in unpack(body, path.name, offset):
                self.seq += 1
                yield [self.seq, *event]
            self.sha256 = hashlib.sha256(content[offset : offset + size]).digest()
            self.batch_no += 1
            offset += size
        self.previous, self.previous_end = int(path.name.split(".")[0]), len(content)

    def check_header(self, name: str, content: bytes) -> None:
        if len(content) < HEADER.size:
            raise Problem(f"{name}: ends within its header")
        magic, crc, version, chain_id, first_seq, first_batch, previous, _offset, end, sha256 = HEADER.unpack_from(
            content
        )
        if magic != SEGMENT_MAGIC or crc != zlib.crc32(content[12 : HEADER.size]) ^ CRC_MASK:
            raise Problem(f"{name}: its header is damaged")
        if version != SEGMENT_FORMAT:
            raise Problem(f"{name}: has format {version}; this script knows format {SEGMENT_FORMAT}")
        if (chain_id, sha256) != (self.chain_id, self.sha256):
            raise Problem(f"{name}: does not continue the chain before it")
        if (first_seq, first_batch) != (self.seq + 1, self.batch_no + 1) or int(name.split(".")[0]) != first_seq:
            raise Problem(f"{name}: begins with event {first_seq}, where event {self.seq + 1} belongs")
        if (previous, end) != (self.previous, self.previous_end):
            raise Problem(f"{name}: the segment before it is not the one it continues")

    def check_batch(self, name: str, content: bytes, offset: int) -> tuple[int, bytes]:
        where = f"{name} at offset {offset}, event {self.seq + 1}"
        if offset + PREFIX.size + REST.size > len(content):
            raise Problem(f"{where}: the file ends within a batch")
        magic, length, crc = PREFIX.unpack_from(content, offset)
        size = PREFIX.size + length
        if magic != BATCH_MAGIC or offset + size > len(content) or length <= REST.size:
            raise Problem(f"{where}: no batch is here")
        rest = content[offset + PREFIX.size : offset + size]
        if crc != zlib.crc32(rest, zlib.crc32(len(rest).to_bytes(4, "little"))) ^ CRC_MASK:
            raise Problem(f"{where}: the batch does not match its checksum")
        batch_no, first_seq, _segment, _synced, sha256 = REST.unpack_from(rest)
        if sha256 != self.sha256:
            raise Problem(f"{where}: the batch does not continue the chain")
        if (batch_no, first_seq) != (self.batch_no + 1, self.seq + 1):
            raise Problem(f"{where}: it is batch {batch_no} with event {first_seq}")
        return size, rest[REST.size :]


# --- events: a reader of the part of msgpack that the log uses


def unpack(body: bytes, name: str, offset: int) -> list[Any]:
    try:
        value, end = read_value(body, 0, 0)
    except (IndexError, struct.error, UnicodeDecodeError, ValueError, TypeError) as cause:
        raise Problem(f"{name} at offset {offset}: its events cannot be decoded ({cause})") from cause
    if end != len(body) or not isinstance(value, list) or any(not isinstance(e, list) or len(e) != 5 for e in value):
        raise Problem(f"{name} at offset {offset}: its events are not [ts, type, v, actor, data]")
    return value


NUMBERS = {
    0xCA: ">f", 0xCB: ">d", 0xCC: ">B", 0xCD: ">H", 0xCE: ">I", 0xCF: ">Q", 0xD0: ">b", 0xD1: ">h", 0xD2: ">i", 0xD3: ">q",
}  # fmt: skip
LENGTHS = {
    0xC4: ("bin", ">B"), 0xC5: ("bin", ">H"), 0xC6: ("bin", ">I"), 0xD9: ("str", ">B"), 0xDA: ("str", ">H"),
    0xDB: ("str", ">I"), 0xDC: ("list", ">H"), 0xDD: ("list", ">I"), 0xDE: ("map", ">H"), 0xDF: ("map", ">I"),
}  # fmt: skip
CONSTANTS = {0xC0: None, 0xC2: False, 0xC3: True}


def read_value(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    kind = data[at]
    at += 1
    if kind <= 0x7F:
        return kind, at
    if kind >= 0xE0:
        return kind - 0x100, at
    if kind in CONSTANTS:
        return CONSTANTS[kind], at
    if kind in NUMBERS:
        form = NUMBERS[kind]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    if kind in LENGTHS:
        shape, form = LENGTHS[kind]
        return read_sized(shape, struct.unpack_from(form, data, at)[0], data, at + struct.calcsize(form), depth)
    if kind <= 0x8F:
        return read_sized("map", kind & 0x0F, data, at, depth)
    if kind <= 0x9F:
        return read_sized("list", kind & 0x0F, data, at, depth)
    if kind <= 0xBF:
        return read_sized("str", kind & 0x1F, data, at, depth)
    raise ValueError(f"byte {kind:#x} is not used in the log")


def read_sized(shape: str, size: int, data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if shape in ("str", "bin"):
        piece = data[at : at + size]
        if len(piece) != size:
            raise ValueError("it ends within a text")
        return (piece.decode() if shape == "str" else {"base64": base64.b64encode(piece).decode()}), at + size
    found: list[Any] = []
    for _ in range(size * (2 if shape == "map" else 1)):
        value, at = read_value(data, at, depth + 1)
        found.append(value)
    if shape == "map":
        return {found[index]: found[index + 1] for index in range(0, len(found), 2)}, at
    return found, at


# --- the readable lines


def check_lines(lines: Path, events: Iterator[list[Any]]) -> None:
    with lines.open("rb") as file:
        for seq, ts, kind, version, actor, data in events:
            line = file.readline()
            facts = {name: value for name, value in data.items() if name != CAUSE_KEY}
            record = {"seq": seq, "ts": ts, "type": kind, "v": version, "actor": actor, "data": finite(facts)}
            record["cause"] = data.get(CAUSE_KEY) or None
            try:  # older exports have no causes
                is_same = {"cause": None, **json.loads(line)} == record
            except ValueError:
                is_same = False
            if not is_same:
                raise Problem(f"{lines.name}: the line of event {seq} does not say what the raw bytes say")
        if file.readline():
            raise Problem(f"{lines.name}: has lines beyond the last event")


def finite(value: Any) -> Any:
    """The value with NaN and infinity replaced by their names, as in the export, because JSON has neither."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def check_log(folder: Path, manifest: Manifest) -> None:
    chain = Chain(manifest)
    segments = sorted(name for name in manifest["files"] if name.startswith("raw/"))
    for name in segments:
        path = folder / name
        check_lines(folder / "events" / (path.stem + ".jsonl"), chain.read_segment(path))
    ended = (chain.seq, chain.batch_no, chain.sha256.hex())
    expected = (manifest["last_seq"], manifest["batch_count"], manifest["head_sha256"])
    if ended != expected:
        raise Problem(f"the chain ends with event {ended[0]}, the manifest says event {expected[0]} and another head")


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description="Check an exported Casparian event log.")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).resolve().parent)
    parser.add_argument("--key", help="the public key you trust: its line (RW...), instead of the folder's own")
    options = parser.parse_args(arguments)
    problems: list[str] = []
    is_signed, signature_text = False, ""
    try:
        is_signed, signature_text = check_signature(options.folder, options.key)
    except (Problem, OSError) as wrong:
        problems.append(str(wrong))
    try:
        manifest = read_manifest(options.folder)
        problems += check_files(options.folder, manifest)
        check_log(options.folder, manifest)
    except (Problem, OSError) as wrong:
        problems.append(str(wrong))
    except (KeyError, TypeError, ValueError, AttributeError) as wrong:
        problems.append(f"{MANIFEST} does not say what it must ({type(wrong).__name__}: {wrong})")
    for problem in problems:
        print("WRONG: " + ascii(problem)[1:-1])
    if problems:
        return 1
    print(f"intact: events {manifest['first_seq']} to {manifest['last_seq']}, head {manifest['head_sha256']}")
    print(signature_text)
    return 0 if is_signed else 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
