"""`python -I -S -m`-like child: a digest of what lies below a directory, by names, sizes, times and inodes; nothing is read.

Two equal digests mean that a scan would find nothing new. Directories of the given names are passed over, links are not
followed; what cannot be read is part of the digest by its error. Knows nothing but the standard library.
"""

from __future__ import annotations

import hashlib
import os
import sys


def digest_of(root: str, passed_over: frozenset[str]) -> str:
    """Hex; equal for equal trees. Memory grows with the depth and the widest directory."""
    hasher = hashlib.blake2b(digest_size=16)
    pending = [os.fsencode(root)]
    while pending:
        directory = pending.pop()
        try:
            with os.scandir(directory) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as cause:
            hasher.update(b"%b\0error %d\0" % (directory, cause.errno or 0))
            continue
        hasher.update(b"%b\0%d\0" % (directory, len(found)))
        for entry in reversed(found):
            name = os.fsdecode(entry.name)
            try:
                if entry.is_dir(follow_symlinks=False):
                    if name not in passed_over:
                        pending.append(entry.path)
                    continue
                status = entry.stat(follow_symlinks=False)
            except OSError as cause:
                hasher.update(b"%b\0error %d\0" % (entry.name, cause.errno or 0))
                continue
            facts = (status.st_mode, status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)
            hasher.update(b"%b\0%d %d %d %d %d\0" % (entry.name, *facts))
    return hasher.hexdigest()


if __name__ == "__main__":
    os.nice(10)
    sys.stdout.write(digest_of(sys.argv[1], frozenset(sys.argv[2:])))
