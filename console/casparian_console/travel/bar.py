"""The bar over a screen that shows the past: that it is the past, which event, when, what it was, how it plays. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casparian_console.canvas import Line, fit, line_width, spread
from casparian_console.text import clean, clip, clock
from casparian_protocol.feed import FeedEvent

if TYPE_CHECKING:
    from casparian_console.travel.travel import Travel

_WIDE = 110
_ABOUT = ("name", "parser", "worker_id", "output", "contract_id", "scan_id", "source_id", "tag", "reason")


def line(travel: Travel, now_seq: int, width: int) -> Line:
    if travel.seq is None:
        read = len(travel.history)
        of = f" of {now_seq:,} events ({100 * read // now_seq} %)" if now_seq >= travel.history.last > 0 else " events"
        return [("past bold", " PAST "), ("past", f" reading the log: {read:,}{of}; Esc stops it")]
    event = travel.history.event(travel.seq)
    when = clock(event.ts)
    when = when if width >= _WIDE else when[5:]
    of = f" of {travel.history.last:,}" if width >= _WIDE else f"/{travel.history.last:,}"
    at = f"@{travel.seq:,}".rjust(len(f"@{travel.history.last:,}"))
    left: Line = [("past bold", " PAST "), ("past", f" {at}{of}  {when}  "), ("past bold", what(event))]
    right: Line = [("past", f"  {_playing(travel, width)} ")]
    return spread(fit(left, max(0, width - line_width(right)), "past"), right, width)


def _playing(travel: Travel, width: int) -> str:
    reading = "reading on, " if travel.is_loading and width >= _WIDE else ""
    if not travel.is_playing:
        return f"{reading}stopped {travel.speed}x"
    return (
        f"{reading}playing {travel.speed}x, waits cut to 1 s"
        if width >= _WIDE
        else f"play {travel.speed}x, waits max 1 s"
    )


def what(event: FeedEvent) -> str:
    """The event in a few words: its type, and what it is about."""
    data = event.data
    job = data.get("job")
    about = job.get("job_id", "") if isinstance(job, dict) else data.get("job_id", "")
    about = str(about)[:8] or next((data[name] for name in _ABOUT if data.get(name)), "")
    return clip(clean(f"{event.type} {about}".strip()), 60)
