"""What a finished attempt offers, held against the disk before the core decides.

Cheap enough for the loop: each file is opened without following links and its status read, nothing is hashed. That the
content matches its digest is `promote`'s to verify; what the manifest's words and sums must be is the core's.
"""

from __future__ import annotations

import errno

from casparian_protocol.home import Home
from casparian_protocol.jobs import STAGED_NAME, Manifest, StagedFile
from casparian_sentinel.commit.files import directory_below, opened_regular, staged_by
from casparian_sentinel.ports import Fs

#: What lies there is not what was offered: the worker's doing. Any other error is our disk's, and blames nobody.
_NOT_AS_OFFERED = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EINVAL, errno.ENXIO, errno.EACCES, errno.EPERM}
)


def problem_of_files(fs: Fs, home: Home, job_id: str, epoch: int, manifest: Manifest) -> str:
    """What is wrong with the staged files (missing, a link, several links, another size); empty when nothing is.

    Raises `OSError` when the disk does not let us look: the offer is as good as before and may be repeated.
    """
    if not manifest.files:
        return ""
    try:
        with directory_below(fs, home.staging, *staged_by(home, job_id, epoch)) as directory:
            for file in manifest.files:
                if problem := _problem_of_file(fs, file, directory):
                    return problem
    except OSError as cause:
        if cause.errno not in _NOT_AS_OFFERED:
            raise
        return f"the staging directory cannot be opened ({cause.strerror})"
    return ""


def _problem_of_file(fs: Fs, file: StagedFile, directory: int) -> str:
    if not STAGED_NAME.match(file.name):
        return f"{file.name!r} is not a name of a staged file"
    try:
        with opened_regular(fs, directory, file.name) as descriptor:
            size_bytes = fs.size(descriptor)
            if size_bytes != file.bytes:
                return f"{file.name} has {size_bytes} bytes, {file.bytes} were declared"
    except OSError as cause:
        if cause.errno not in _NOT_AS_OFFERED:
            raise
        return f"{file.name}: {cause.strerror}"
    return ""
