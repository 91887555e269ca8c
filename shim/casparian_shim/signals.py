"""Signals as a process of ours needs them, whatever its starter ignored or blocked. Standard library only.

Both are inherited by every process that is started: where a service manager, a shell's `nohup` or a test runner ignores
SIGCHLD, no child can be waited for; where it blocks SIGTERM, nothing can be ended. Called first in every process.
"""

import signal
from collections.abc import Collection

#: Python's own choice: a write to nobody, or beyond a limit of size, is an error where it happens, and no end of the process.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)
#: What a shell arranges for a command: `nohup`, a job in a script's background, a terminal that is not its own.
TERMINAL = frozenset({signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU})


def reset(*, keep: Collection[signal.Signals] = ()) -> None:
    """Block nothing, ignore nothing but SIGPIPE and SIGXFSZ. `keep`: signals that stay ignored if they were."""
    for number in signal.valid_signals():
        if number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        elif number not in keep and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
