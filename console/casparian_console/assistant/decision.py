"""The question before something that the assistant asks for, in the person's words and with what it hits. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from casparian_console.assistant.tools import Request
from casparian_console.canvas import Glyphs, Line
from casparian_console.effects import Effects
from casparian_console.facts.store import Facts
from casparian_console.overlays import Overlay, wrapped
from casparian_console.text import clean, clip


@dataclass
class Decision(Overlay):
    """Yes and no are told to the model; `Esc` leaves the question open."""

    question: str
    details: Sequence[str]
    accept: Callable[[], Effects]
    decline: Callable[[], Effects]
    title: str = "The assistant asks"

    def __post_init__(self) -> None:
        self.wish = (76, min(20, 7 + len(self.details) + len(self.question) // 60))

    def handle(self, key: str) -> Effects:
        if key in ("y", "enter"):
            self.is_closed = True
            return self.accept()
        if key in ("n", "q"):
            self.is_closed = True
            return self.decline()
        return []

    def body(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        details: list[Line] = [[("", clip(clean(each), width, glyphs.ellipsis))] for each in self.details]
        return [*wrapped(self.question, width, "bold"), [], *details]

    def hint(self) -> str:
        return "y or Enter: do it   n: refuse   Esc: decide later"


def hits(request: Request, facts: Facts) -> list[str]:
    """The job that a request hits, as far as the console knows it."""
    job = facts.jobs.get(request.job_id)
    if job is None and request.job_id:
        found = [job for job_id, job in facts.jobs.by_id.items() if job_id.startswith(request.job_id)]
        job = found[0] if len(found) == 1 else None
    if job is None:
        return []
    return ["", f"The job is {job.state}:", f"  {job.type} {job.parser} {job.version}".rstrip(), f"  {job.input}"]
