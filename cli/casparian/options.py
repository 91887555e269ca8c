"""Options that several commands share, and the bounds of numbers on the command line: those of the wire and the log."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import rich_click as click

from casparian.app import App
from casparian_app.problems import UsageProblem
from casparian_protocol.bounds import COUNT_MAX, INT32_MAX, INT32_MIN

F = TypeVar("F", bound=Callable[..., Any])
#: As much as anybody waits; in milliseconds it still fits 32 bits.
_TIMEOUT_SECONDS_MAX = 1_000_000


class _Seconds(click.FloatRange):
    """A range of seconds; NaN is none of them, though no comparison says so."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is not a number of seconds.", param, ctx)
        return found


COUNT = click.IntRange(0, COUNT_MAX)
POSITIVE = click.IntRange(1, COUNT_MAX)
INT32 = click.IntRange(INT32_MIN, INT32_MAX)
TIMEOUT = _Seconds(0.1, _TIMEOUT_SECONDS_MAX)
WAIT_SECONDS = _Seconds(0, 86_400)
POLL_SECONDS = click.IntRange(0, 86_400 * 365)


def as_of_option(command: F) -> F:
    """`--as-of` for a reading command; `App.gateway` heeds it."""
    option = click.option(
        "--as-of",
        metavar="SEQ|TIME",
        expose_value=False,
        callback=_remember,
        help="Answer as of event SEQ of the log, or of an ISO time (default: now).",
    )
    return option(command)


def _remember(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(App).as_of = value


def force_option(command: F) -> F:
    """`--force` for a command that writes a file."""
    return click.option("--force", is_flag=True, help="Overwrite an existing file.")(command)


def named_values(given: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` where the parser is not known yet; the parser that takes a file says what type the text stands for."""
    values: dict[str, str] = {}
    for text in given:
        name, has_value, value = text.partition("=")
        if not has_value or not name:
            raise UsageProblem(f"--param {text[:80]!r} gives no value.", remedy="Write --param name=value.")
        if name in values:
            raise UsageProblem(f"--param {name[:80]} is given twice.", remedy="Give each parameter once.")
        values[name] = value
    return values
