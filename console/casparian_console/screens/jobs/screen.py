"""The mode Jobs: which part of it is open, what is selected, where keys and answers go. What it changes is `deeds`'s.

Only one part is in front at a time: the log of a job, monitoring, the detail (beside the list where there is room), the
list. `Esc` leaves them in that order, then the dead letters, then the filter.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import ClassVar, Literal

from casparian_console.canvas import Line, beside, block
from casparian_console.effects import Effects
from casparian_console.facts.jobs import Job
from casparian_console.listing import CardCursor
from casparian_console.messages import Ended, Failed, Output, Tagged
from casparian_console.screen import Context, Screen
from casparian_console.screens.jobs.cards import HEADINGS, Look, Waves, card, card_height, job_line
from casparian_console.screens.jobs.changes import Changes
from casparian_console.screens.jobs.detail import Detail
from casparian_console.screens.jobs.detail_lines import detail_lines
from casparian_console.screens.jobs.filter import Filter
from casparian_console.screens.jobs.header import HEIGHT, nothing_lines, pipeline_lines, totals_line
from casparian_console.screens.jobs.job_list import FAILED, Identity, Sheaf, Shown, sheaf_key
from casparian_console.screens.jobs.logs import LogView
from casparian_console.screens.jobs.monitoring import Monitoring
from casparian_console.text import clean, count

#: From so many columns on the detail is beside the list.
_WIDE = 120
Part = Literal["list", "detail", "log", "monitoring"]


class Jobs(Screen):
    name: ClassVar[str] = "jobs"
    title: ClassVar[str] = "Jobs"

    def __init__(self) -> None:
        self.filter = Filter()
        #: The filter to go back to from the dead letters.
        self.filter_before: Filter | None = None
        self.shown = Shown()
        self.window = CardCursor[Identity]()
        self.detail = Detail()
        self.log: LogView | None = None
        self.monitoring = Monitoring()
        self.changes = Changes()
        self.waves = Waves()
        self.has_pipeline = False
        #: A job of the selected row.
        self._last: str | None = None
        #: Effects of what cannot return any.
        self._later: Effects = []
        self._height = 10
        self._head_height = 1
        #: Rows of the list above its upper edge, wholly or in part.
        self._above = 0

    # --- what is where ------------------------------------------------------------------------------------------------

    @property
    def part(self) -> Part:
        """What takes the keys."""
        if self.log is not None:
            return "log"
        if self.monitoring.is_open:
            return "monitoring"
        return "detail" if self.detail.is_open and self.detail.is_focused else "list"

    def follow(self, context: Context) -> None:
        """Take over what changed, and find the selected row again; a selected job is always to be seen."""
        self.shown.follow(context.facts.jobs, self.filter)
        identity = self.window.identity
        if identity is not None and identity[0] == "job":
            found = self.shown.find(str(identity[1]))
            if found is not None:
                self.shown.open(found[0])
        elif identity is not None and self.shown.place(identity) is None and self._last is not None:
            gone_to = self.shown.find(self._last)  # its group is gone: where are its jobs now?
            self.window.identity = ("sheaf", gone_to[0].key) if gone_to is not None else identity
        self.window.settle(self.shown)
        row = self.shown.row(self.window.at) if len(self.shown) else None
        self._last = (row[1] or self.shown.speaker(row[0])).job_id if row is not None else None

    def selected(self, context: Context) -> tuple[Sheaf, Job | None] | None:
        """The selected row: a sheaf, or a job in it."""
        self.follow(context)
        return self.shown.row(self.window.at) if len(self.shown) else None

    def job(self, context: Context) -> Job | None:
        """The selected job; of a sheaf the one that speaks for it."""
        row = self.selected(context)
        if row is None:
            return None
        sheaf, job = row
        return job or self.shown.speaker(sheaf)

    def _height_of(self, at: int) -> int:
        sheaf, job = self.shown.row(at)
        return 1 if job is not None else card_height(sheaf) + self._heading_height(sheaf)

    def _heading_height(self, sheaf: Sheaf) -> int:
        at = self.shown.order.index(sheaf)
        if at == 0:
            return 1
        before = self.shown.order[at - 1]
        return 0 if HEADINGS[before.section] == HEADINGS[sheaf.section] else 2

    # --- what happens -------------------------------------------------------------------------------------------------

    def enter(self, context: Context) -> Effects:
        self.follow(context)
        return self.detail.want(self.job(context), context)

    def changed(self, context: Context) -> Effects:
        later, self._later = self._later, []
        return [*later, *self.detail.want(self.job(context), context)] if self.detail.is_open else later

    def took(self, message: Tagged, context: Context) -> Effects:
        tag = getattr(message, "tag", ("", ""))
        if tag[1] == "log":
            self._log_took(message)
            return self.changed(context)
        if tag[1] == "detail":
            self.detail.took(message)
            return self.changed(context)
        return self.changes.took(message, context)

    def _log_took(self, message: Tagged) -> None:
        if self.log is None or message.tag != self.log.tag:
            return  # of a log that was left
        if isinstance(message, Output):
            self.log.add(message.text, message.lines_before)
        elif isinstance(message, Ended):
            self.log.has_ended = True
        elif isinstance(message, Failed):
            self.log.problem = f"{message.problem} {message.remedy}".strip()

    def show_file(self, path: str) -> Effects:
        """For another screen: the jobs of one file."""
        self.detail.is_open = self.detail.is_focused = False
        return [*self._to_front(), *self.set_filter(Filter(text=path))]

    def _to_front(self) -> Effects:
        """The list, whatever was before it."""
        self.monitoring.is_open, self.filter_before, self.detail.top = False, None, 0
        stopped = self.log.stop() if self.log is not None else []
        self.log = None
        return stopped

    def show_job(self, job_id: str, context: Context) -> Effects:
        """Select a job for another screen; what hides it is let go."""
        stopped = self._to_front()
        job = context.facts.jobs.get(job_id)
        if job is None:
            context.say(f"Job {job_id} is not among those that the console knows.", "warn")
            return stopped
        if not (self.filter.takes_group(job.group_key) and self.filter.takes_job(job)):
            self.filter = Filter()
        self.shown.follow(context.facts.jobs, self.filter)
        sheaf = self.shown.sheaves[sheaf_key(job.group_key)]
        is_alone = self.shown.size(sheaf) == 1
        self.window.identity = ("sheaf", sheaf.key) if is_alone else ("job", job_id)
        self.follow(context)
        return stopped

    def move(self, key: str, context: Context) -> Effects:
        match self.part:
            case "log" if self.log is not None:
                self.log.move(key)
            case "monitoring":
                self.monitoring.move(key)
            case "detail":
                page = max(1, self._height - 2)
                steps = {
                    "j": 1,
                    "down": 1,
                    "k": -1,
                    "up": -1,
                    "pgdn": page,
                    "pgup": -page,
                    "g": -100_000,
                    "home": -100_000,
                }
                self.detail.top = max(0, self.detail.top + steps.get(key, 100_000))
            case _:
                self.follow(context)
                self.window.move(key, self.shown, self._height_of, self._height)
                return self.changed(context)
        return []

    def search(self, pattern: str, step: int, context: Context) -> bool | None:
        match self.part:
            case "log" if self.log is not None:
                return self.log.search(pattern, step)
            case "monitoring" | "detail":
                return None
        self.follow(context)
        found = self.shown.search(pattern, self.window.at, step)
        if found is None:
            return False
        self.go_to(found)
        return True

    def not_found(self, pattern: str) -> str:
        if self.part == "log" and self.log is not None and self.log.dropped:
            return (
                f"“{pattern}” is not in the lines that are loaded; `casparian job logs {self.log.job_id}` has them all."
            )
        return super().not_found(pattern)

    def go_to(self, identity: tuple[str, object]) -> None:
        """Select a row, wherever it is; its sheaf is opened for a job."""
        kind, name = identity
        if kind == "job" and (found := self.shown.find(str(name))) is not None:
            self.shown.open(found[0])
        place = self.shown.place((kind, name))
        if place is not None:
            self.window.settle(self.shown)
            self.window.select(self.shown, place, self._height_of, self._height)

    def place(self) -> Hashable:
        is_filtered = self.filter.is_on or self.filter_before is not None
        return (self.part, self.detail.is_open, self.detail.is_focused, is_filtered)

    def escape(self, context: Context) -> bool:
        if self.log is not None:
            self._later += self.log.stop()
            self.log = None
        elif self.monitoring.is_open:
            self.monitoring.is_open = False
        elif self.detail.is_open:
            if self.detail.is_focused and self.is_wide(context):
                self.detail.is_focused = False
            else:
                self.detail.is_open = self.detail.is_focused = False
        elif self.filter_before is not None:
            self.filter, self.filter_before = self.filter_before, None
        elif self.filter.is_on:
            self.filter = Filter(hides_done=self.filter.hides_done)
        else:
            return False
        return True

    def is_wide(self, context: Context) -> bool:
        return context.size[0] >= _WIDE

    def click(self, row: int, column: int, clicks: int, context: Context) -> Effects:
        width, height = context.size
        if self.part == "monitoring":
            self.monitoring.focus_on((2 if row > height // 2 else 0) + (column > width // 2))
            return []
        if self.log is not None:
            return []
        if self.detail.is_open and (not self.is_wide(context) or column >= self._list_width(width)):
            self.detail.is_focused = True
            return []
        self.detail.is_focused = False
        at = row - self._head_height
        if 0 <= at < len(self.window.drawn):
            self.follow(context)
            self.window.select(self.shown, self.window.drawn[at], self._height_of, self._height)
            if clicks > 1:
                self.detail.is_open = True
            return self.changed(context)
        return []

    def scroll(self, row: int, column: int, lines: int, context: Context) -> Effects:
        if self.log is not None:
            self.log.scroll(lines)
        elif self.part == "monitoring":
            self.move("j" if lines > 0 else "k", context)
        elif self.detail.is_open and (not self.is_wide(context) or column >= self._list_width(context.size[0])):
            self.detail.top = max(0, self.detail.top + lines)
        else:
            self.follow(context)
            if len(self.shown):
                self.window.scroll(lines, self.shown, self._height_of, self._height)
        return []

    # --- how it looks -------------------------------------------------------------------------------------------------

    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        if self.log is not None:
            return block(self.log.draw(context.glyphs, width, height), width, height)
        if self.monitoring.is_open:
            return self.monitoring.draw(
                context.facts, context.glyphs, width, height, is_past=context.past_seq is not None
            )
        self.follow(context)
        if self.detail.is_open and width < _WIDE:
            self.detail.is_focused = True
            return self._detail(context, width, height)
        head = self._head(context, width, height)
        rest = height - len(head)
        left = self._list_width(width) if self.detail.is_open else width
        listed = self._list(context, left, rest)
        if len(self.shown) and self._above:
            failed = self.shown.row(0)[0].section == FAILED
            above = ("bad" if failed else "dim", f"{context.glyphs.up} {self._above:,} above  ")
            head[0] = totals_line(context, self.filter, width, above)
        if not self.detail.is_open:
            return [*head, *listed]
        divider: Line = [("accent" if self.detail.is_focused else "border", context.glyphs.corners[5])]
        right = self._detail(context, width - left - 1, rest)
        return [*head, *beside(listed, right, left, divider)]

    @staticmethod
    def _list_width(width: int) -> int:
        return width * 52 // 100

    def _look(self, context: Context, width: int) -> Look:
        return Look(context.facts, context.glyphs, self.shown, self.waves, context.home, width)

    def _head(self, context: Context, width: int, height: int) -> list[Line]:
        """The line of totals, and the pipeline where there is room for it."""
        has_room = self.has_pipeline and height > HEIGHT + 6
        more = pipeline_lines(self._look(context, width), width) if has_room else []
        self._head_height = 1 + len(more)
        return [totals_line(context, self.filter, width), *more]

    def _list(self, context: Context, width: int, height: int) -> list[Line]:
        self._height = max(1, height)
        if not len(self.shown):
            return block(nothing_lines(context, self.filter, is_dead=self.filter_before is not None), width, height)
        return block(self._rows(self._look(context, width)), width, height)

    def _rows(self, look: Look) -> list[Line]:
        first, hidden = self.window.layout(self.shown, self._height_of, self._height)
        self._above = first + bool(hidden)
        lines: list[Line] = []
        owners: list[int] = []
        at, total = first, len(self.shown)
        while at < total and len(lines) < self._height + hidden:
            sheaf, job = self.shown.row(at)
            is_selected = at == self.window.at
            if job is not None:
                drawn = [job_line(look, job, is_selected=is_selected)]
            else:
                heading: Line = [("title", f" {HEADINGS[sheaf.section]}")]
                above: list[Line] = [[], heading][2 - self._heading_height(sheaf) :]
                drawn = [*above, *card(look, sheaf, is_selected=is_selected)]
            lines += drawn
            owners += [at] * len(drawn)
            at += 1
        self.window.drawn = owners[hidden : hidden + self._height]
        return lines[hidden : hidden + self._height]

    def _detail(self, context: Context, width: int, height: int) -> list[Line]:
        row = self.selected(context)
        if row is None:
            return block([[("dim", " Nothing is selected.")]], width, height)
        sheaf, job = row
        alike = self.shown.size(sheaf) if job is None else 1
        lines = detail_lines(
            job or self.shown.speaker(sheaf),
            self.detail.known,
            context.facts,
            self.shown,
            context.glyphs,
            width,
            alike=alike,
            home=clean(context.home),
        )
        self.detail.top = max(0, min(self.detail.top, len(lines) - height))
        visible = lines[self.detail.top : self.detail.top + height]
        if len(lines) > self.detail.top + height:
            more = len(lines) - self.detail.top - height + 1
            hint = "j k scroll" if self.detail.is_focused else "Tab, then j k"
            visible[-1] = [("dim", f" {context.glyphs.down} {count(more, 'more line')} ({hint})")]
        return block(visible, width, height)

    def summary(self, context: Context) -> str:
        row = self.selected(context)
        if row is None:
            return "Jobs: nothing is listed."
        sheaf, job = row
        about = job or self.shown.speaker(sheaf)
        what = f"{about.type} {clean(about.parser)} {clean(about.version)} of {clean(about.input)}"
        error = f", {clean(about.error_code)}: {clean(about.error_message)}" if about.error_code else ""
        alike = f"; {self.shown.size(sheaf)} alike" if job is None else ""
        return f"Jobs: job {about.job_id} ({what}) is {about.state}{error}{alike}."

    def set_filter(self, wanted: Filter) -> Effects:
        self.filter, self.filter_before = replace(wanted), None
        return []
