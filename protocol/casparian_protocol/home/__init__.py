"""A home directory on disk: its paths, the rotation of the daemon's log, and the removal of directory trees.

What a file contains belongs to the module named beside its path in `layout`. Settings are
`casparian_protocol.settings`.
"""

from casparian_protocol.home.daemon_log import follow, old_name, open_daemon_log, rotate_if_large
from casparian_protocol.home.layout import Home, home_from, is_home, make_home, record_sockets
from casparian_protocol.home.trees import measure_tree, open_directory, remove_if_unused, remove_scratch, remove_tree

__all__ = [
    "Home",
    "follow",
    "home_from",
    "is_home",
    "make_home",
    "measure_tree",
    "old_name",
    "open_daemon_log",
    "open_directory",
    "record_sockets",
    "remove_if_unused",
    "remove_scratch",
    "remove_tree",
    "rotate_if_large",
]
