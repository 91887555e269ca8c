"""The modes of the console: what each one shows of the facts, and what its keys do.

A screen is a `casparian_console.screen.Screen`: it draws lines from facts and answers, and returns effects. `home` is one
module; each other screen is a folder. Several screens use `approvals` and `failure`.
"""

from casparian_console.screens.bench import Bench
from casparian_console.screens.discover import Discover
from casparian_console.screens.home import Home
from casparian_console.screens.inspect import Inspect
from casparian_console.screens.jobs import Jobs

#: The screens in the order of the top bar.
SCREENS = (Home, Discover, Bench, Jobs, Inspect)

__all__ = ["SCREENS", "Bench", "Discover", "Home", "Inspect", "Jobs"]
