"""Jobs: the list, the detail, logs, dead letters, the pipeline header, monitoring."""

from __future__ import annotations

from casparian_console.screens.jobs.actions import ACTIONS
from casparian_console.screens.jobs.screen import Jobs

Jobs.ACTIONS = ACTIONS

__all__ = ["Jobs"]
