"""The mode Jobs: its open part, its selection, and the routing of keys and answers. `actions` defines the keys.

One part has the focus at a time: the log of a job, Monitoring, the detail (next to the list if there is room), or the list.
`Esc` leaves them in that order, then the dead letters, then the filter.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import replace
from typing import ClassVar, Literal

from casparian_console.canvas import Line, block, clean, side_by_side
from casparian_console.facts import Job
from casparian_console.listing import CardCursor, Match
from casparian_console.messages import Effects, Ended, Failed, Output, Tagged
from casparian_console.screen import Context, Screen
from casparian_console.screens.jobs.cards import HEADINGS, CardContext, card, card_height, job_line
from casparian_console.screens.jobs.changes import Changes
from casparian_console.screens.jobs.detail import Detail
from casparian_console.screens.jobs.detail_lines import draw_detail
from casparian_console.screens.jobs.filter import STANDING_WORDS, Filter, Finding, found_words
from casparian_console.screens.jobs.header import HEIGHT, nothing_lines, pipeline_lines, totals_line
from casparian_console.screens.jobs.job_list import FAILED, Identity, JobGroup, JobGroupKey, JobList, job_group_key
from casparian_console.screens.jobs.logs import LogView
from casparian_console.screens.jobs.monitoring import Monitoring

#: How many rows before the end of the loaded rows of an open group the next page is queried.
_AHEAD = 100
#: The width from which the detail is next to the list.
_WIDE = 120
#: The width from which the detail is open by default.
_ROOMY = 160
#: The height from which a blank line separates the cards.
_TALL = 36
Part = Literal["list", "detail", "log", "monitoring"]


class Jobs(Screen):
    name: ClassVar[str] = "jobs"
    title: ClassVar[str] = "Jobs"
    key: ClassVar[str] = "alt-j"

    def __init__(self) -> None:
        self.filter = Filter()
        #: The filter to restore when leaving the dead letters.
        self.filter_before: Filter | None = None
        self.job_list = JobList()
        self.window = CardCursor[Identity]()
        self.detail = Detail()
        self.log: LogView | None = None
        self.monitoring = Monitoring()
        self.changes = Changes(self.stay, self.job_list.fingerprint)
        self.has_pipeline = False
        #: Whether the user has opened or closed the detail.
        self.is_detail_decided = False
        self._gap = 0
        #: A job of the selected row, to find the row again.
        self._last: str | None = None
        #: The group of a row that was retried or cancelled: when the row leaves the group, the cursor stays in place.
        self._acted_on: JobGroupKey | None = None
        self.finding = Finding()
        #: A job to select as soon as it is loaded.
        self._wanted_job = ""
        #: Effects of methods that cannot return any.
        self._later: Effects = []
        self._height = 10
        self._head_height = 1
        #: The number of rows above the window, in full or in part.
        self._above = 0

    # --- the selection ------------------------------------------------------------------------------------------------

    @property
    def part(self) -> Part:
        """The part that takes the keys."""
        if self.log is not None:
            return "log"
        if self.monitoring.is_open:
            return "monitoring"
        return "detail" if self.detail.is_open and self.detail.is_focused else "list"

    def follow(self, context: Context) -> None:
        """Apply changes and find the selected row again; a selected job is always visible."""
        self.job_list.follow(context.facts.jobs, self.filter)
        if self._has_left():
            self.window.identity = self._acted_on = None
        identity = self.window.identity
        if identity is not None and identity[0] == "job":
            found = self.job_list.find(str(identity[1]))
            if found is not None:
                self.job_list.open(found[0])
        elif identity is not None and self.job_list.place(identity) is None and self._last is not None:
            gone_to = self.job_list.find(self._last)  # the group is gone: find out where its jobs went
            self.window.identity = ("group", gone_to[0].key) if gone_to is not None else identity
        self.window.settle(self.job_list)
        row = self.job_list.row(self.window.at) if len(self.job_list) else None
        about = (row[1] or self.job_list.speaker(row[0])) if row is not None else None
        self._last = about.job_id if about is not None else None

    def stay(self) -> None:
        """Keep the cursor in place although an action may move the selected row."""
        identity = self.window.identity
        if identity is not None and identity[0] == "group":
            self._acted_on = self.job_list.groups[identity[1]].key  # type: ignore[index]
        elif identity is not None and (found := self.job_list.find(str(identity[1]))) is not None:
            self._acted_on = found[0].key

    def _has_left(self) -> bool:
        identity = self.window.identity
        if self._acted_on is None or identity is None:
            return False
        if identity[0] == "group":
            return identity[1] == self._acted_on and self._acted_on not in self.job_list.groups
        found = self.job_list.find(str(identity[1]))
        return found is None or found[0].key != self._acted_on

    def selected(self, context: Context) -> tuple[JobGroup, Job | None] | None:
        """The selected row: a group, or one of its jobs."""
        self.follow(context)
        return self.job_list.row(self.window.at) if len(self.job_list) else None

    def job(self, context: Context) -> Job | None:
        """The selected job; for a group, the job that represents it."""
        row = self.selected(context)
        if row is None:
            return None
        group, job = row
        return job or self.job_list.speaker(group)

    def _height_of(self, at: int) -> int:
        group, job = self.job_list.row(at)
        return 1 if job is not None else card_height(group) + self._heading_height(group)

    def _heading_height(self, group: JobGroup) -> int:
        at = self.job_list.order.index(group)
        if at == 0:
            return 1
        before = self.job_list.order[at - 1]
        return self._gap if HEADINGS[before.section] == HEADINGS[group.section] else 2

    # --- changes and answers ------------------------------------------------------------------------------------------

    def enter(self, context: Context) -> Effects:
        self._open_where_wide(context.size[0])
        self.follow(context)
        return self.detail.want(self.job(context), context)

    def _open_where_wide(self, width: int) -> None:
        """Open the detail if there is room for it and the list, until the user opens or closes it."""
        if not self.is_detail_decided:
            self.detail.is_open = width >= _ROOMY

    def changed(self, context: Context) -> Effects:
        later, self._later = self._later, []
        if self._wanted_job and context.facts.jobs.get(self._wanted_job) is not None:
            wanted, self._wanted_job = self._wanted_job, ""
            later += self.show_job(wanted, context)
        asked = self.detail.want(self.job(context), context) if self.detail.is_open else []
        return [*later, *asked, *self._pages(context)]

    def _pages(self, context: Context) -> Effects:
        """Pin the listed buckets, and query the next page of an open group before the cursor reaches its end."""
        facts = context.facts
        if context.past_seq is not None:
            return []
        self.follow(context)
        spans = self.job_list.spans()
        listed = self.job_list.order if self.filter.is_by_job else [span.group for span in spans]
        searched = self.finding.pinned(facts, self.filter)
        facts.pin({key for group in listed for key in group.bucket_keys}, searched)
        asked = self.finding.ask(facts, self.filter)
        if (sought := self.finding.take_missed(facts, self.filter)) is not None:
            context.say(*found_words(sought, self._go_to_match(sought, 1)))
        for span in spans:
            if span.row <= self.window.at + _AHEAD and self.window.at >= span.row + span.size - _AHEAD:
                for key in span.group.bucket_keys:
                    asked += facts.more(key)
        return asked

    def on_answer(self, message: Tagged, context: Context) -> Effects:
        tag = getattr(message, "tag", ("", ""))
        if tag[1] == "log":
            self._on_log(message)
            return self.changed(context)
        if tag[1] == "detail":
            self.detail.on_answer(message)
            return self.changed(context)
        return self.changes.on_answer(message, context)

    def _on_log(self, message: Tagged) -> None:
        if self.log is None or message.tag != self.log.tag:
            return  # for a log that was closed
        if isinstance(message, Output):
            self.log.add(message.text, message.lines_before)
        elif isinstance(message, Ended):
            self.log.has_ended = True
        elif isinstance(message, Failed):
            self.log.problem = f"{message.problem} {message.remedy}".strip()

    def show_file(self, path: str) -> Effects:
        """Show the jobs of one file, for another screen."""
        self.detail.is_open = self.detail.is_focused = False
        self.is_detail_decided = True
        return [*self._to_front(), *self.set_filter(Filter(text=path))]

    def _to_front(self) -> Effects:
        """Bring the list to the front."""
        self.monitoring.is_open, self.filter_before, self.detail.top = False, None, 0
        stopped = self.log.stop() if self.log is not None else []
        self.log = None
        return stopped

    def show_job(self, job_id: str, context: Context) -> Effects:
        """Select a job, for another screen; a filter that hides it is removed."""
        stopped = self._to_front()
        job = context.facts.jobs.get(job_id)
        if job is None:
            if context.past_seq is not None:
                context.say(f"There was no job {job_id} yet.", "warn")
                return stopped
            self._wanted_job = job_id
            return [*stopped, *context.facts.find_job(job_id)]
        if not (self.filter.takes_bucket(job.bucket_key) and self.filter.takes_job(job)):
            self.filter = Filter()
        self.job_list.follow(context.facts.jobs, self.filter)
        group = self.job_list.groups[job_group_key(job.bucket_key)]
        is_alone = self.job_list.total(group) == 1
        self.window.identity = ("group", group.key) if is_alone else ("job", job_id)
        self.follow(context)
        return stopped

    def move(self, key: str, context: Context) -> Effects:
        match self.part:
            case "log" if self.log is not None:
                self.log.move(key)
            case "monitoring":
                self.monitoring.move(key)
            case "detail":
                self.detail.move(key, max(1, self._height - 2))
            case _:
                self.follow(context)
                self._acted_on, self.finding.missed = None, ""
                self.window.move(key, self.job_list, self._height_of, self._height)
                effects = self.changed(context)
                if words := self.job_list.end_words(self.window.at, context.facts.is_loading):
                    context.say(words, "dim")
                return effects
        return []

    def search(self, pattern: str, step: int, context: Context) -> Match | None:
        match self.part:
            case "log" if self.log is not None:
                return self.log.search(pattern, step)
            case "monitoring" | "detail":
                return None
        self.follow(context)
        if context.past_seq is None:
            self.finding.seek(pattern, context.facts, self.filter)
        return self.finding.note(self._go_to_match(pattern, step), context.facts, self.filter)

    def _go_to_match(self, pattern: str, step: int) -> Match:
        identity, found = self.job_list.search(pattern, self.window.at, step)
        if identity is not None:
            self.go_to(identity)
        return found

    def not_found(self, pattern: str) -> str:
        if self.part == "log" and self.log is not None and self.log.dropped:
            command = f"casparian job logs {self.log.job_id}"
            return f"“{pattern}” is not in the lines that are loaded; `{command}` has them all."
        return self.finding.missed or super().not_found(pattern)

    def go_to(self, identity: tuple[str, object]) -> None:
        """Select a row anywhere in the list; for a job its group is opened."""
        kind, name = identity
        if kind == "job" and (found := self.job_list.find(str(name))) is not None:
            self.job_list.open(found[0])
        place = self.job_list.place((kind, name))
        if place is not None:
            self.window.settle(self.job_list)
            self.window.select(self.job_list, place, self._height_of, self._height)

    def place(self) -> Hashable:
        is_filtered = self.filter.is_on or self.filter_before is not None
        return (self.part, self.detail.is_open, self.detail.is_focused, is_filtered)

    def escape(self, context: Context) -> bool:
        if self.log is not None:
            self._later += self.log.stop()
            self.log = None
        elif self.monitoring.is_open:
            self.monitoring.is_open = False
        elif self.detail.is_open and (self.is_detail_decided or self.detail.is_focused):
            if self.detail.is_focused and self.is_wide(context):
                self.detail.is_focused = False
            else:
                self.detail.is_open = self.detail.is_focused = False
                self.is_detail_decided = True
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
            self.window.select(self.job_list, self.window.drawn[at], self._height_of, self._height)
            if clicks > 1:
                self.detail.is_open = self.is_detail_decided = True
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
            if len(self.job_list):
                self.window.scroll(lines, self.job_list, self._height_of, self._height)
        return []

    # --- drawing ------------------------------------------------------------------------------------------------------

    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        if self.log is not None:
            return block(self.log.draw(context.glyphs, width, height), width, height)
        if self.monitoring.is_open:
            return self.monitoring.draw(
                context.facts, context.glyphs, width, height, is_past=context.past_seq is not None
            )
        self._open_where_wide(width)
        self._gap = int(height >= _TALL)
        self.follow(context)
        if self.detail.is_open and width < _WIDE:
            self.detail.is_focused = True
            return self._detail(context, width, height)
        head = self._head(context, width, height)
        rest = height - len(head)
        left = self._list_width(width) if self.detail.is_open else width
        listed = self._list(context, left, rest)
        if len(self.job_list) and self._above:
            failed = self.job_list.row(0)[0].section == FAILED
            above = ("bad" if failed else "dim", f"{context.glyphs.up} {self._above:,} above")
            head[0] = totals_line(context, self.finding.words(context.facts, self.filter), width, above)
        if not self.detail.is_open:
            return [*head, *listed]
        divider: Line = [("accent" if self.detail.is_focused else "border", context.glyphs.corners[5])]
        right = self._detail(context, width - left - 1, rest)
        return [*head, *side_by_side(listed, right, left, divider)]

    @staticmethod
    def _list_width(width: int) -> int:
        return width * 52 // 100

    def _look(self, context: Context, width: int) -> CardContext:
        return CardContext(context.facts, context.glyphs, self.job_list, context.home, width)

    def _head(self, context: Context, width: int, height: int) -> list[Line]:
        """The line of totals and, if there is room, the pipeline."""
        has_room = self.has_pipeline and height > HEIGHT + 6
        more = pipeline_lines(self._look(context, width), width) if has_room else []
        self._head_height = 1 + len(more)
        return [totals_line(context, self.finding.words(context.facts, self.filter), width), *more]

    def _list(self, context: Context, width: int, height: int) -> list[Line]:
        self._height = max(1, height)
        if not len(self.job_list):
            is_dead = self.filter_before is not None
            return block(nothing_lines(context, self.filter, self.finding, is_dead=is_dead), width, height)
        return block(self._rows(self._look(context, width)), width, height)

    def _rows(self, look: CardContext) -> list[Line]:
        first, hidden = self.window.layout(self.job_list, self._height_of, self._height)
        self._above = first + bool(hidden)
        lines: list[Line] = []
        owners: list[int] = []
        at, total = first, len(self.job_list)
        while at < total and len(lines) < self._height + hidden:
            group, job = self.job_list.row(at)
            is_selected = at == self.window.at
            if job is not None:
                drawn = [job_line(look, group, job, is_selected=is_selected)]
            else:
                heading: Line = [("title", f" {HEADINGS[group.section]}")]
                rows = self._heading_height(group)
                is_first = at == 0 or rows == 2
                above: list[Line] = [[], heading][2 - rows :] if is_first else [[]] * rows
                drawn = [*above, *card(look, group, is_selected=is_selected)]
            lines += drawn
            owners += [at] * len(drawn)
            at += 1
        self.window.drawn = owners[hidden : hidden + self._height]
        return lines[hidden : hidden + self._height]

    def _detail(self, context: Context, width: int, height: int) -> list[Line]:
        row = self.selected(context)
        about = (row[1] or self.job_list.speaker(row[0])) if row is not None else None
        if row is None or about is None:
            nothing = "Nothing is selected." if row is None else "loading…"
            return block([[("dim", f" {nothing}")]], width, height)
        alike = self.job_list.total(row[0]) if row[1] is None else 1
        return draw_detail(about, self.detail, context, self.job_list, width, height, alike=alike)

    def selected_words(self, context: Context) -> str:
        job = self.job(context) if self.part in ("list", "detail") else None
        return f"on a {STANDING_WORDS[job.standing]} job" if job is not None else "here"

    def summary(self, context: Context) -> str:
        row = self.selected(context)
        if row is None:
            return "Jobs: nothing is listed."
        group, job = row
        about = job or self.job_list.speaker(group)
        if about is None:
            return f"Jobs: {self.job_list.total(group)} jobs of {clean(group.parser)} {clean(group.version)}."
        what = f"{about.type} {clean(about.parser)} {clean(about.version)} of {clean(about.input)}"
        error = f", {clean(about.error_code)}: {clean(about.error_message)}" if about.error_code else ""
        alike = f"; {self.job_list.total(group)} alike" if job is None else ""
        return f"Jobs: job {about.job_id} ({what}) is {about.state}{error}{alike}."

    def set_filter(self, wanted: Filter) -> Effects:
        self.filter, self.filter_before = replace(wanted), None
        self.finding.forget_search()
        return []
