"""Numbers on the command line: the same bounds as on the wire and in the log (`casparian_protocol.bounds`), from one place."""

from __future__ import annotations

import rich_click as click

from casparian_protocol.bounds import COUNT_MAX, INT32_MAX, INT32_MIN

#: As much as anybody waits; in milliseconds it still fits 32 bits.
_TIMEOUT_SECONDS_MAX = 1_000_000

COUNT = click.IntRange(0, COUNT_MAX)
POSITIVE = click.IntRange(1, COUNT_MAX)
INT32 = click.IntRange(INT32_MIN, INT32_MAX)
TIMEOUT = click.FloatRange(0.1, _TIMEOUT_SECONDS_MAX)
POLL_SECONDS = click.IntRange(0, 86_400 * 365)
