"""Bundles and contracts by hash: fetched once, checked against their names, unpacked once however many jobs ask.

What lies unpacked from an earlier process is held against the blob before it is used. An `assign` carries no signature, so
what is verified here is that the bytes are those the sentinel registered (it verified the signature then).
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from casparian_protocol.contract import Contract
from casparian_protocol.errors import CasparianError, ErrorCode
from casparian_protocol.home import Home, remove_tree
from casparian_protocol.parsers import UnpackedAltered, blake3_of, unpack_bundle

logger = logging.getLogger(__name__)

_COMPILE_SECONDS = 60.0


class BlobMissing(CasparianError):
    """The sentinel does not have what a job needs."""

    def __init__(self, what: str, digest: str, code: ErrorCode) -> None:
        super().__init__(
            f"The {what} {digest} of this job is not in the sentinel's store.",
            remedy="Register the same parser again with `casparian parser register PATH`: that stores it anew.",
        )
        self.code = code


class BlobForged(CasparianError):
    """Bytes that are not what their hash says."""

    code = ErrorCode.UNTRUSTED_ARTIFACT

    def __init__(self, what: str, digest: str) -> None:
        super().__init__(
            f"The bytes that came as {what} {digest} have another hash.",
            remedy="The file in blobs/ is damaged. Delete it, then register the same parser again with "
            "`casparian parser register PATH`: that stores it anew.",
        )


class Artifacts:
    """The worker's cache. For several threads; `fetch` blocks and gives None for an unknown hash."""

    def __init__(self, home: Home, fetch: Callable[[str], bytes | None]) -> None:
        self._home = home
        self._fetch = fetch
        self._lock = threading.Lock()
        self._locks: dict[str, threading.Lock] = {}
        self._bundles: dict[str, Path] = {}
        self._contracts: dict[str, Contract] = {}

    def bundle(self, digest: str) -> Path:
        """Where the bundle lies unpacked."""
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
        """Whether it was unpacked now; what lay there altered is replaced."""
        is_new = not directory.exists()
        try:
            unpack_bundle(blob, directory)
        except UnpackedAltered as altered:
            logger.warning("%s It is unpacked again.", altered.problem)
            remove_tree(directory)
            unpack_bundle(blob, directory)
            return True
        return is_new

    def _get(self, what: str, digest: str, missing: ErrorCode) -> bytes:
        blob = self._fetch(digest)
        if blob is None:
            raise BlobMissing(what, digest, missing)
        if blake3_of(blob) != digest:
            raise BlobForged(what, digest)
        return blob

    def _lock_of(self, digest: str) -> threading.Lock:
        with self._lock:
            return self._locks.setdefault(digest, threading.Lock())


def compile_sources(directory: Path) -> None:
    """Bytecode beside the sources, since guests never write any. Compiled, never imported, in a process of its own."""
    subprocess.run(
        [sys.executable, "-I", "-m", "compileall", "-q", str(directory)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=_COMPILE_SECONDS,
        check=False,  # what does not compile is the parser's error, told when it is imported
    )
