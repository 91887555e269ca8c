"""Removing private directories of guests, whatever a guest made of them and whoever finds them.

A directory in use is locked (`flock`) by its worker; the kernel lets go of the lock when that worker dies. Which
attempts are over is told by the caller.
"""

from __future__ import annotations

import fcntl
import logging
import os
from pathlib import Path

from casparian_protocol.trees import open_directory, remove_tree

logger = logging.getLogger(__name__)


def remove_scratch(scratch: Path) -> None:
    """Remove it with everything in it, however deep, directories that the guest closed included. Links are not followed.

    What the disk does not let go stays for the next sweep.
    """
    try:
        remove_tree(scratch)
    except FileNotFoundError:
        return
    except OSError as cause:
        logger.warning("The scratch directory %s could not be removed whole: %s", scratch.name, cause)


def remove_if_unused(scratch: Path) -> bool:
    """Remove it unless a living worker holds it; True if it was removed."""
    try:
        lock = open_directory(scratch)
    except OSError:  # removed at this moment, or no directory
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        remove_scratch(scratch)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True
