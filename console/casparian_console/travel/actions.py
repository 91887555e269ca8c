"""The keys of time travel; they are there only while the console stands in the past, and win over a screen's own."""

from __future__ import annotations

from typing import Any

from casparian_console.actions import Action

HUNDRED = 100


def _is_there(travel: Any, _context: Any) -> bool:
    """The log was read."""
    return travel.seq is not None


ACTIONS: tuple[Action, ...] = (
    Action("travel.back", ("left",), "before", "One event back", lambda t, c: t.step(-1), _is_there, 94),
    Action("travel.on", ("right",), "after", "One event on", lambda t, c: t.step(1), _is_there, 93),
    Action("travel.play", (" ",), "play", "Play the log, or stop", lambda t, c: t.play(c), _is_there, 92),
    Action(
        "travel.jump",
        ("t",),
        "go to",
        "Go to a time (ISO, 14:05, -15m) or to an event's sequence",
        lambda t, c: t.ask_where(c),
        _is_there,
        91,
    ),
    Action(
        "travel.earlier",
        ("[",),
        "its last",
        "What happened to the same job before",
        lambda t, c: t.neighbour(-1, c),
        _is_there,
        70,
    ),
    Action(
        "travel.later",
        ("]",),
        "its next",
        "What happened to the same job after",
        lambda t, c: t.neighbour(1, c),
        _is_there,
        69,
    ),
    Action("travel.faster", ("+",), "faster", "Play faster, up to 100x", lambda t, c: t.change_speed(1), _is_there, 65),
    Action("travel.slower", ("-",), "slower", "Play slower", lambda t, c: t.change_speed(-1), _is_there, 64),
    Action(
        "travel.far_back",
        ("ctrl-left", "s-left"),
        "100 back",
        "A hundred events back",
        lambda t, c: t.step(-HUNDRED),
        _is_there,
        45,
    ),
    Action(
        "travel.far_on",
        ("ctrl-right", "s-right"),
        "100 on",
        "A hundred events on",
        lambda t, c: t.step(HUNDRED),
        _is_there,
        44,
    ),
    Action(
        "travel.start",
        ("home",),
        "start",
        "The first event of the log",
        lambda t, c: t.step(-(1 << 62)),
        _is_there,
        35,
    ),
    Action("travel.end", ("end",), "end", "The last event of the log", lambda t, c: t.step(1 << 62), _is_there, 34),
)
