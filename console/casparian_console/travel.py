"""Time travel: reading the log, moving in it, playing it, its keys, and the bar that shows the current event.

The log is read once and held packed; later visits read only what is new. `Shell.present` is kept up to date meanwhile. Playing
follows the times in the log, but waits are cut to a second. `Places` restores the screens' cursors on return, except those that
the user moved in the past.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from casparian_console.canvas import Line, clean, clip, clock, count, fit, line_width, spread
from casparian_console.facts import Facts
from casparian_console.history import History, Past
from casparian_console.listing import Cursor
from casparian_console.messages import Effects, Ended, Failed, LoadPast, Output, PastEvents, StopCommand
from casparian_console.screen import Action, Screen
from casparian_protocol.feed import FeedEvent, FeedItem
from casparian_protocol.wire.operations.daemon import Snapshot
from casparian_protocol.wording import MOMENT_HINT, NotAMoment, read_moment

_OURS = "casparian_console.screens"
#: Longer collections hold rows, not panes, and are not searched for cursors.
_PANES = 50


class Places:
    def __init__(self, screens: Mapping[str, Screen]) -> None:
        self._screens = {
            name: [(cursor, replace(cursor)) for cursor in _cursors(screen, set())] for name, screen in screens.items()
        }

    def moved(self, screen: str) -> None:
        """The user moved something in this screen, so its cursors are not restored."""
        self._screens.pop(screen, None)

    def put_back(self) -> None:
        for cursors in self._screens.values():
            for cursor, was in cursors:
                cursor.at, cursor.top, cursor.identity = was.at, was.top, was.identity


def _cursors(thing: Any, seen: set[int]) -> Iterator[Cursor]:
    """All cursors of a screen, its panes and their parts."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    if isinstance(thing, Cursor):
        yield thing
    elif isinstance(thing, dict | list | tuple):
        if len(thing) <= _PANES:
            for part in thing.values() if isinstance(thing, dict) else thing:
                yield from _cursors(part, seen)
    elif type(thing).__module__.startswith(_OURS):
        names = [*vars(thing)] if hasattr(thing, "__dict__") else [*getattr(type(thing), "__slots__", ())]
        for name in names:
            yield from _cursors(getattr(thing, name, None), seen)


_WIDE = 110
STILL_READING = "The log is still being read:"
_ABOUT = ("name", "parser", "worker_id", "output", "contract_id", "scan_id", "source_id", "tag", "reason")


def bar_line(travel: Travel, now_seq: int, width: int) -> Line:
    if travel.seq is None:
        return [("past bold", " PAST "), ("past", f" {_reading(travel, now_seq)}; Esc stops it")]
    event = travel.history.event(travel.seq)
    when = clock(event.ts)
    when = when if width >= _WIDE else when[5:]
    of = f" of {travel.history.last:,}" if width >= _WIDE else f"/{travel.history.last:,}"
    at = f"@{travel.seq:,}".rjust(len(f"@{travel.history.last:,}"))
    left: Line = [("past bold", " PAST "), ("past", f" {at}{of}  {when}  "), ("past bold", what_happened(event))]
    right: Line = [("past", f"  {_playing(travel, width)} ")]
    return spread(fit(left, max(0, width - line_width(right)), "past"), right, width)


def _reading(travel: Travel, now_seq: int) -> str:
    """How far the log is read; nothing is counted before its first events are there."""
    read = len(travel.history)
    if not read:
        return f"loading the log: {count(now_seq, 'event')} to read" if now_seq else "loading the log"
    if now_seq < travel.history.last:
        return f"reading the log: {count(read, 'event')}"
    return f"reading the log: {read:,} of {now_seq:,} events ({100 * read // now_seq} %)"


def _playing(travel: Travel, width: int) -> str:
    reading = "reading on, " if travel.is_loading and width >= _WIDE else ""
    if not travel.is_playing:
        return f"{reading}stopped {travel.speed}x"
    return (
        f"{reading}playing {travel.speed}x, waits cut to 1 s"
        if width >= _WIDE
        else f"play {travel.speed}x, waits max 1 s"
    )


def what_happened(event: FeedEvent) -> str:
    """Describe the event in a few words: its type and its subject."""
    data = event.data
    job = data.get("job")
    about = job.get("job_id", "") if isinstance(job, dict) else data.get("job_id", "")
    about = str(about)[:8] or next((data[name] for name in _ABOUT if data.get(name)), "")
    return clip(clean(f"{event.type} {about}".strip()), 60)


SPEEDS = (1, 2, 5, 10, 20, 50, 100)
LONGEST_WAIT_US = 1_000_000
#: The most time that one tick plays, so that a machine that slept does not catch up at once.
_LONGEST_TICK_US = 2_000_000
_MOST_EVENTS = 2_000
#: The time between ticks while playing.
PLAYING_TICK_SECONDS = 0.1


class Travel:
    def __init__(self) -> None:
        self.is_on = False
        #: The facts at `seq`; None in the present, and while the log is being read.
        self.facts: Facts | None = None
        self.seq: int | None = None
        self.history = History()
        self.is_playing = False
        self.speed = 1
        self._past = Past(self.history)
        self._tag: tuple[str, ...] | None = None
        self._loads = 0
        self._heard: list[FeedEvent] = []
        self._places: Places | None = None
        self._played_at_us = 0
        self._credit_us = 0.0

    @property
    def is_loading(self) -> bool:
        return self._tag is not None

    @property
    def tick_seconds(self) -> float | None:
        """The required time between ticks; None: no requirement."""
        return PLAYING_TICK_SECONDS if self.is_playing else None

    def actions(self) -> tuple[Action, ...]:
        return ACTIONS if self.is_on else ()

    # --- entering and leaving -----------------------------------------------------------------------------------------

    def enter(self, context: Any) -> Effects:
        """Go to the past; the same key returns."""
        if self.is_on:
            return self.leave(context)
        self.is_on, self._places = True, Places(context.screens)
        if (
            self.history.last > context.present.seq > 0
        ):  # the log was truncated since, so what was read is no longer valid
            self.history = History()
            self._past = Past(self.history)
        return self._load(context.present.seq)

    def leave(self, context: Any) -> Effects:
        effects: Effects = [StopCommand(self._tag)] if self._tag is not None else []
        if self._places is not None:
            self._places.put_back()
        self.is_on, self.facts, self.seq, self.is_playing = False, None, None, False
        self._tag, self._places, self._heard = None, None, []
        return effects

    def touched(self, screen: str) -> None:
        """The user moved something in a screen while in the past."""
        if self._places is not None:
            self._places.moved(screen)

    def _load(self, expected: int = 0) -> Effects:
        self._past.expect(expected)
        self._loads += 1
        self._tag = ("travel", "log", str(self._loads))
        return [LoadPast(self._tag, self.history.last + 1)]

    def on_answer(self, message: Any, context: Any) -> Effects:
        """Take a part of the log."""
        if message.tag != self._tag:
            return []  # for a visit that is over
        match message:
            case PastEvents(events=events):
                return self._read(events, context)
            case Ended(code=0):
                return self._arrive(context)
            case Failed() | Ended():
                if isinstance(message, Ended):
                    context.say(f"The log cannot be read: {message.stderr or f'exit code {message.code}'}", "bad")
                self._tag = None
                return self.leave(context) if self.seq is None else []
            case Output():
                return []
        raise AssertionError(message)

    def _read(self, events: tuple[FeedEvent, ...], context: Any) -> Effects:
        for event in events:
            if event.seq > self.history.last and not self.history.append(event):
                missing = self.history.last + 1
                context.say(f"The log cannot be shown: event {missing:,} is missing before {event.seq:,}.", "bad")
                return self.leave(context)
        if self.seq is None and len(self.history):
            self._past.go(self.history.last, is_passing=True)
        return []

    def _arrive(self, context: Any) -> Effects:
        """The log is read: add the events heard meanwhile and go to the end."""
        self._tag = None
        heard, self._heard = self._heard, []
        for event in heard:
            self._extend(event)
        if not len(self.history):
            context.say("The log holds no event yet: there is no past.", "warn")
            return self.leave(context)
        if context.message[0].startswith(STILL_READING):
            context.say("")  # it is true no longer
        if self.seq is None:
            self._past.go(max(self.history.first, self.history.last - 1))  # makes the first step back quick
            self.go(self.history.last)
        return []

    def heard(self, item: FeedItem) -> Effects:
        """Append a new event to the log; after a gap, read what is missing."""
        if not self.is_on:
            return []
        if self.is_loading:
            if isinstance(item, FeedEvent):
                self._heard.append(item)
            return []
        if isinstance(item, FeedEvent):
            return [] if self._extend(item) else self._load()
        if isinstance(item, Snapshot) and item.seq > self.history.last:
            return self._load()
        return []

    def _extend(self, event: FeedEvent) -> bool:
        return event.seq <= self.history.last or self.history.append(event)

    # --- moving -------------------------------------------------------------------------------------------------------

    def go(self, seq: int) -> Effects:
        """Go to the event, or to the end of the log in that direction."""
        self.seq = max(self.history.first, min(seq, self.history.last))
        self.facts = self._past.go(self.seq)
        return []

    def step(self, events: int) -> Effects:
        self.is_playing = False
        return self.go((self.seq or 0) + events)

    def neighbour(self, step: int, context: Any) -> Effects:
        """Go to the previous or next event of the same job."""
        self.is_playing = False
        found = self.history.neighbour(self.seq or self.history.last, step)
        if found is None:
            context.say(f"Nothing happened to this job {'after' if step > 0 else 'before'} this.", "warn")
            return []
        return self.go(found)

    def ask_where(self, context: Any) -> Effects:
        self.is_playing = False

        def jump(text: str) -> Effects:
            return self._jump(text, context)

        effects: Effects = context.prompt("Go to a time or an event", jump, hint=MOMENT_HINT)
        return effects

    def _jump(self, text: str, context: Any) -> Effects:
        if self.seq is None:
            return []
        try:
            moment = read_moment(text, context.present.now_us, self.history.time_of(self.seq))
        except NotAMoment as problem:
            context.say(str(problem), "bad")
            return []
        seq, at_us = moment.seq, moment.at_us
        wanted = self.history.last_at(at_us) if seq is None and at_us is not None else seq or 0
        self.go(wanted)
        if at_us is not None and self.history.time_of(self.seq) > at_us:
            context.say("The log is younger than that: this is its first event.", "warn")
        elif seq is not None and self.seq != seq:
            context.say(f"There is no event {seq:,}: this is the nearest.", "warn")
        return []

    # --- playing ------------------------------------------------------------------------------------------------------

    def play(self, context: Any) -> Effects:
        if not self.is_playing and self.seq == self.history.last:
            context.say("This is the end of the log; go back before playing.", "warn")
            return []
        self.is_playing = not self.is_playing
        self._played_at_us, self._credit_us = context.present.now_us, 0.0
        return []

    def change_speed(self, step: int) -> Effects:
        at = SPEEDS.index(self.speed) + step
        self.speed = SPEEDS[max(0, min(at, len(SPEEDS) - 1))]
        return []

    def tick(self, context: Any) -> Effects:
        """Play the events that have become due since the last tick."""
        if not self.is_playing or self.seq is None:
            return []
        now_us = context.present.now_us
        self._credit_us += max(0, min(now_us - self._played_at_us, _LONGEST_TICK_US))
        self._played_at_us = now_us
        target = self.seq
        while target < self.history.last and target - self.seq < _MOST_EVENTS:
            gap_us = max(0, self.history.time_of(target + 1) - self.history.time_of(target))
            wait_us = min(gap_us / self.speed, LONGEST_WAIT_US)
            if wait_us > self._credit_us:
                break
            self._credit_us -= wait_us
            target += 1
        if target - self.seq == _MOST_EVENTS:
            self._credit_us = 0.0  # as fast as possible, without catching up later
        if target != self.seq:
            self.go(target)
        self.is_playing = target < self.history.last
        return []

    def bar(self, context: Any, width: int) -> Line:
        return bar_line(self, context.present.seq, width)


HUNDRED = 100


def _is_there(travel: Any, _context: Any) -> bool:
    """Whether the log has been read."""
    return travel.seq is not None


ACTIONS: tuple[Action, ...] = (
    Action("travel.back", ("left",), "before", "Go one event back", lambda t, c: t.step(-1), _is_there, 94),
    Action("travel.on", ("right",), "after", "Go one event on", lambda t, c: t.step(1), _is_there, 93),
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
        "Go to the previous event of the same job",
        lambda t, c: t.neighbour(-1, c),
        _is_there,
        70,
    ),
    Action(
        "travel.later",
        ("]",),
        "its next",
        "Go to the next event of the same job",
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
        "Go a hundred events back",
        lambda t, c: t.step(-HUNDRED),
        _is_there,
        45,
    ),
    Action(
        "travel.far_on",
        ("ctrl-right", "s-right"),
        "100 on",
        "Go a hundred events on",
        lambda t, c: t.step(HUNDRED),
        _is_there,
        44,
    ),
    Action(
        "travel.start",
        ("home",),
        "start",
        "Go to the first event of the log",
        lambda t, c: t.step(-(1 << 62)),
        _is_there,
        35,
    ),
    Action(
        "travel.end", ("end",), "end", "Go to the last event of the log", lambda t, c: t.step(1 << 62), _is_there, 34
    ),
)
