"""A module that is not there is looked for once, not at every call. Standard library only.

pyarrow tries `import dateutil` for every scalar and kernel option; where dateutil is not installed each try walks `sys.path`
again: 80 to 170 µs, against 8 to 27 with the absence remembered (pyarrow 26). An import of the module fails as before.
"""

from __future__ import annotations

import importlib.util
import sys


def remember_absent(module: str) -> bool:
    """Let imports of `module` fail at once when it cannot be found; whether it is absent. Leaves present ones alone."""
    if module in sys.modules or importlib.util.find_spec(module) is not None:
        return False
    sys.modules[module] = None  # type: ignore[assignment]  # documented: None makes the import fail
    return True
