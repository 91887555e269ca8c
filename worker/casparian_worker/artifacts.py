"""Bundles and contracts of jobs, fetched by hash. Each is fetched once, checked against its hash, and unpacked once for all jobs.

A `BlobTransfer` fetches the bytes: from the sentinel's disk if this process shares it, otherwise over the bus. A bundle unpacked
by an earlier process is compared with its blob before it is used. An `assign` has no signature; the check here is that the bytes
are those that the sentinel registered, and it verified the signature then.
"""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from typing import Protocol

from casparian_protocol.contract import Contract
from casparian_protocol.errors import CasparianError, ErrorCode
from casparian_protocol.home import Home
from casparian_protocol.parsers import UnpackedAltered, blake3_of, unpack_bundle
from casparian_protocol.trees import remove_tree
from casparian_protocol.wire.messages import Fetch, Message

logger = logging.getLogger(__name__)
_DIGEST = re.compile("[0-9a-f]{64}")


#: How long to wait for a blob.
FETCH_SECONDS = 30.0
_COMPILE_SECONDS = 60.0


class BlobMissing(CasparianError):
    """The sentinel does not have what a job needs."""

    def __init__(self, what: str, digest: str, code: ErrorCode) -> None:
        super().__init__(
            f"The {what} {digest} of this job is not in the daemon's store.",
            remedy="Register the same parser again with `casparian parser register PATH`: that stores it again.",
        )
        self.code = code


class BlobForged(CasparianError):
    """Bytes that do not match their hash."""

    code = ErrorCode.UNTRUSTED_ARTIFACT

    def __init__(self, what: str, digest: str) -> None:
        super().__init__(
            f"The bytes received as {what} {digest} have another hash.",
            remedy="The file in blobs/ is damaged. Delete it, then register the same parser again with "
            "`casparian parser register PATH`: that stores it again.",
        )


class FetchTimeout(CasparianError):
    """A blob did not arrive in time."""

    code = ErrorCode.CONNECTION_RESET

    def __init__(self, digest: str) -> None:
        super().__init__(
            f"The daemon did not send {digest} within {FETCH_SECONDS:g} s.", remedy="The job is tried again."
        )


class BlobTransfer(Protocol):
    """A way for a worker to fetch blobs."""

    def fetch(self, digest: str) -> bytes | None:
        """The blob, unchecked, or None if it does not exist. Blocks; may be called from any thread. Raises `FetchTimeout`."""


class SameDiskTransfer:
    """Reads the home's own store on a disk of this host; uses another transfer for blobs that are missing or damaged there."""

    def __init__(self, home: Home, otherwise: BlobTransfer) -> None:
        self._home = home
        self._otherwise = otherwise

    def fetch(self, digest: str) -> bytes | None:
        try:
            content = self._home.blob(digest).read_bytes()
        except OSError:
            return self._otherwise.fetch(digest)
        return content if blake3_of(content) == digest else self._otherwise.fetch(digest)


class BusTransfer:
    """Fetches a blob in one message of the bus. `ask_again` repeats each request until it is answered or given up."""

    def __init__(self, call: Callable[..., None], send: Callable[[Message], object]) -> None:
        """`call(function, *arguments)` runs it in the loop, where `send` may be used; `call` may be used in any thread."""
        self._call = call
        self._send = send
        self._waiting: dict[str, list[Future[bytes | None]]] = {}

    def fetch(self, digest: str) -> bytes | None:
        waiting: Future[bytes | None] = Future()
        self._call(self._ask, digest, waiting)
        try:
            return waiting.result(FETCH_SECONDS)
        except TimeoutError as cause:
            raise FetchTimeout(digest) from cause
        finally:
            self._call(self._forget, digest, waiting)

    def arrived(self, digest: str, content: bytes | None) -> None:
        """In the loop: a blob arrived, or does not exist."""
        for waiting in self._waiting.pop(digest, []):
            waiting.set_result(content)

    def ask_again(self) -> None:
        """In the loop: repeat open requests, because the sentinel that welcomed this worker may not know them."""
        for digest in self._waiting:
            self._send(Fetch(hash=digest))

    def _ask(self, digest: str, waiting: Future[bytes | None]) -> None:
        self._waiting.setdefault(digest, []).append(waiting)
        self._send(Fetch(hash=digest))

    def _forget(self, digest: str, waiting: Future[bytes | None]) -> None:
        others = [other for other in self._waiting.get(digest, []) if other is not waiting]
        if others:
            self._waiting[digest] = others
        else:
            self._waiting.pop(digest, None)


class Artifacts:
    """The worker's cache, for several threads. `fetch` blocks, and returns None for an unknown hash."""

    def __init__(self, home: Home, fetch: Callable[[str], bytes | None]) -> None:
        self._home = home
        self._fetch = fetch
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._bundles: dict[str, Path] = {}
        self._contracts: dict[str, Contract] = {}

    def bundle(self, digest: str) -> Path:
        """The directory of the unpacked bundle."""
        with self._lock_of(digest):
            if digest not in self._bundles:
                blob = self._get("artifact", digest, ErrorCode.UNTRUSTED_ARTIFACT)
                directory = self._home.artifacts / digest
                if self._unpacked(blob, directory):
                    compile_sources(directory)
                self._bundles[digest] = directory
            return self._bundles[digest]

    def contract(self, digest: str) -> Contract:
        with self._lock_of(digest):
            if digest not in self._contracts:
                blob = self._get("contract", digest, ErrorCode.CONTRACT_MISSING)
                self._contracts[digest] = Contract.from_json(blob, is_stored=True)
            return self._contracts[digest]

    @staticmethod
    def _unpacked(blob: bytes, directory: Path) -> bool:
        """Unpack the bundle if it is missing or was altered; returns whether it was unpacked now."""
        is_new = not directory.exists()
        try:
            unpack_bundle(blob, directory)
        except UnpackedAltered as altered:
            logger.warning("%s Unpacking it again.", altered.problem)
            remove_tree(directory)
            unpack_bundle(blob, directory)
            return True
        return is_new

    def _get(self, what: str, digest: str, missing: ErrorCode) -> bytes:
        blob = self._fetch(digest) if _DIGEST.fullmatch(digest) else None  # it is also the name of a directory
        if blob is None:
            raise BlobMissing(what, digest, missing)
        if blake3_of(blob) != digest:
            raise BlobForged(what, digest)
        return blob

    def _lock_of(self, digest: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(digest, threading.Lock())


def compile_sources(directory: Path) -> None:
    """Compile the sources to bytecode, since guests never write any. It never imports them, and runs in a separate process."""
    subprocess.run(
        [sys.executable, "-I", "-m", "compileall", "-q", str(directory)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=_COMPILE_SECONDS,
        check=False,  # a syntax error is the parser's fault, and is reported when the parser is imported
    )
