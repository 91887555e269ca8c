"""The modes, in the order of the top bar."""

from casparian_console.screens.bench import Bench
from casparian_console.screens.discover import Discover
from casparian_console.screens.home import Home
from casparian_console.screens.inspect import Inspect
from casparian_console.screens.jobs import Jobs

SCREENS = (Home, Discover, Bench, Jobs, Inspect)
