"""A home directory on disk: where everything lies, the daemon's log, and the removal of directory trees.

What is written into files belongs to the module named beside each path; settings are `casparian_protocol.settings`.
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
