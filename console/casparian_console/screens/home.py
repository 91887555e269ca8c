"""Home: four cards with live numbers, and below them the list of what needs a person.

`concerns` builds that list from the facts: failed jobs, dead letters, paused parsers, contracts, workers, a full disk.
"""

from __future__ import annotations

from dataclasses import dataclass

from casparian_console.canvas import (
    Glyphs,
    Line,
    ago,
    block,
    box,
    clean,
    clip,
    count,
    fit,
    restyle,
    short,
    short_count,
    size,
)
from casparian_console.facts import Bucket, Facts, Standing
from casparian_console.listing import Cursor, Fixed, Match
from casparian_console.messages import Effects, Tagged
from casparian_console.screen import Action, Context, Screen, existing
from casparian_console.screens.approvals import Approvals
from casparian_console.screens.jobs.cards import progress_words
from casparian_console.screens.jobs.monitoring import live_panels

#: How many causes of failure are listed; Jobs lists all.
FAILURES_LISTED = 200


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing that needs a person: what it is, since when, and the mode where it can be handled."""

    identity: tuple[str, ...]
    text: str
    glyph: str
    style: str
    mode: str
    at_us: int = 0
    job_id: str = ""
    parser: str = ""


def concerns(facts: Facts, glyphs: Glyphs) -> list[Concern]:
    """The concerns, the most urgent first: nothing runs, jobs failed, jobs are blocked, a decision is due."""
    found: list[Concern] = []
    if facts.link == "gone" and facts.is_known:
        found.append(Concern(("daemon",), "The daemon does not run: `casparian start`", glyphs.failed, "bad", ""))
    if facts.is_without_workers and facts.waiting:
        text = f"{count(facts.waiting, 'job')} queued, and no worker is connected: `casparian worker` starts one"
        found.append(Concern(("workers",), text, glyphs.warning, "bad", "jobs"))
    if facts.intake_paused:
        text = f"No new work is taken: {clean(facts.intake_paused)}"
        found.append(Concern(("intake",), text, glyphs.warning, "bad", "jobs"))
    for lines in facts.troubles.values():
        for line in lines:
            found.append(Concern(("trouble", line[:60]), clean(line), glyphs.failed, "bad", "jobs"))
    for lost in facts.given_up:
        text = f"Worker {clean(lost.worker)} was given up: {clean(lost.reason)}"
        found.append(Concern(("given up", lost.worker), text, glyphs.failed, "bad", "jobs"))
    for worker in facts.workers.values():
        if worker.state == "stalled":
            held = ", ".join(clean(job.input.rpartition("/")[2]) for job in worker.jobs)
            text = f"Worker {clean(worker.id)} makes no progress on {held or 'its job'}"
            job_id = worker.jobs[0].job_id if worker.jobs else ""
            found.append(Concern(("stalled", worker.id), text, glyphs.warning, "warn", "jobs", job_id=job_id))
    found += [_failed(bucket, glyphs) for bucket in facts.jobs.latest(Standing.FAILED, FAILURES_LISTED)]
    for each in facts.registry.waiting_files:
        verb = "waits" if each.files == 1 else "wait"
        text = f"{count(each.files, 'file')} tagged {clean(each.tag)} {verb}: {clean(each.reason)}"
        mode = "bench" if each.parser else "discover"
        found.append(Concern(("waiting", each.tag), text, glyphs.warning, "warn", mode, parser=each.parser))
    for parser in facts.registry.paused_parsers:
        held = "is tried with one job" if parser.breaker == "half_open" else "is paused"
        why = clean(facts.registry.pause_of(parser.name, parser.version))
        text = f"{clean(parser.name)} {clean(parser.version)} {held}: {why}"
        identity = ("paused", parser.name, parser.version)
        found.append(Concern(identity, text, glyphs.paused, "warn", "bench", parser=parser.name))
    for contract in facts.registry.waiting_contracts:
        where = f"{clean(contract.parser)} {clean(contract.version)}"
        text = f"Contract of {where} / {clean(contract.output)} waits for approval"
        found.append(
            Concern(
                ("contract", contract.contract_id), text, glyphs.waiting, "accent", "approvals", contract.proposed_at
            )
        )
    return found


def _failed(bucket: Bucket, glyphs: Glyphs) -> Concern:
    first = bucket.first
    code = (clean(first.error_code) if first is not None else f"ERR-{bucket.cause[:8]}") or "no reason was given"
    what = f"{clean(bucket.parser)} {clean(bucket.version)}" if bucket.parser else clean(bucket.type)
    message = f": {clean(first.error_message)}" if first is not None and first.error_message else ""
    text = f"{what}: {count(bucket.size, 'job')} failed · {code}{message}"
    job_id = first.job_id if first is not None else ""
    return Concern(("failed", *map(str, bucket.key)), text, glyphs.failed, "bad", "jobs", bucket.latest_at, job_id)


#: The cards in order, with the mode that each leads to.
CARDS = ("discover", "bench", "inspect", "jobs")
_WIDE = 110
#: The width from which the queue, the throughput and the workers are shown at the right.
_ROOMY = 160
_MOST_RUNNING = 6
#: With fewer rows than this for published jobs, running jobs appear on the card only.
_PUBLISHED_ROWS = 6


class Home(Screen):
    name = "home"
    title = "Home"
    key = "alt-h"

    def __init__(self) -> None:
        self.card = 0
        self.is_in_list = False
        self.cursor = Cursor()
        self.approvals = Approvals()
        self._shown: list[Concern] = []
        self._list_height = 8
        self._columns = 2
        self._card_rows = 0

    # --- keys ---------------------------------------------------------------------------------------------------------

    def open_card(self, at: int, context: Context) -> Effects:
        self.card, self.is_in_list = at, False
        return context.go(CARDS[at])

    def open_selected(self, context: Context) -> Effects:
        if self.approvals.is_open:
            return self.approvals.show(context)
        if not self.is_in_list:
            return self.open_card(self.card, context)
        found = self._selected()
        return self._visit(found, context) if found is not None else []

    def _selected(self) -> Concern | None:
        return next((each for each in self._shown if each.identity == self.cursor.identity), None)

    def _visit(self, concern: Concern, context: Context) -> Effects:
        if concern.mode == "approvals":
            return self.approvals.open(context)
        if not concern.mode:
            context.say("The console reconnects by itself as soon as the daemon answers.", "dim")
            return []
        screen = context.screen(concern.mode)
        before: Effects = []
        if concern.job_id:
            before = screen.show_job(concern.job_id, context)
        elif concern.parser:
            before = screen.show_parser(concern.parser, context)
        return [*before, *context.visit(concern.mode)]

    def step(self, step: int, context: Context) -> Effects:
        """Move left or right between the cards."""
        if not self.approvals.is_open:
            self.is_in_list = False
            self.card = (self.card + step) % len(CARDS)
        return []

    def switch(self, context: Context) -> Effects:
        self.is_in_list = not self.is_in_list and bool(self._shown)
        return []

    def move(self, key: str, context: Context) -> Effects:
        if self.approvals.is_open:
            return self.approvals.move(key, context)
        if self.is_in_list:
            if key in ("k", "up") and self.cursor.at == 0:
                self.is_in_list = False
            else:
                self.cursor.move(key, self._rows(), self._list_height)
        elif key in ("j", "down", "G", "end", "pgdn"):
            below = self.card + self._columns
            if below < len(CARDS):
                self.card = below
            elif self._shown:
                self.is_in_list = True
        elif key in ("k", "up") and self.card >= self._columns:
            self.card -= self._columns
        return []

    def escape(self, context: Context) -> bool:
        if self.approvals.is_open:
            self.approvals.is_open = False
            return True
        if self.is_in_list:
            self.is_in_list = False
            return True
        return False

    def on_answer(self, message: Tagged, context: Context) -> Effects:
        return self.approvals.on_answer(message, context)

    def search(self, pattern: str, step: int, context: Context) -> Match | None:
        if self.approvals.is_open or not self._shown:
            return None
        texts = [each.text for each in self._shown]
        found = self.cursor.find(pattern, step, self._rows(), texts.__getitem__, self._list_height)
        self.is_in_list = self.is_in_list or bool(found)
        return found

    def click(self, row: int, column: int, clicks: int, context: Context) -> Effects:
        if self.approvals.is_open:
            return self.approvals.click(row, clicks, context)
        card_height = 5
        if row < self._card_rows * card_height:
            at = row // card_height * self._columns + column * self._columns // max(1, context.size[0])
            return self.open_card(min(at, len(CARDS) - 1), context)
        place = row - self._card_rows * card_height - 2 + self.cursor.top
        if 0 <= place < len(self._shown):
            self.is_in_list = True
            self.cursor.select(self._rows(), place, self._list_height)
            if clicks > 1:
                return self.open_selected(context)
        return []

    def scroll(self, row: int, column: int, lines: int, context: Context) -> Effects:
        if self.approvals.is_open:
            self.approvals.scroll(lines)
        else:
            self.cursor.scroll(lines, self._rows(), self._list_height)
        return []

    def _rows(self) -> Fixed:
        return Fixed([each.identity for each in self._shown])

    # --- drawing ------------------------------------------------------------------------------------------------------

    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        if self.approvals.is_open:
            return self.approvals.draw(context, width, height)
        self._columns = 4 if width >= _WIDE else 2
        self._card_rows = len(CARDS) // self._columns
        lines = self._cards(context, width)
        room = height - len(lines)
        if width < _ROOMY or not context.facts.is_known:
            return block([*lines, *self._waiting(context, width, room)], width, height)
        side = width * 2 // 5
        left = block(self._waiting(context, width - side, room), width - side, room)
        right = block(live_panels(context.facts, context.glyphs, side, room), side, room)
        return block([*lines, *([*a, *b] for a, b in zip(left, right, strict=True))], width, height)

    def _cards(self, context: Context, width: int) -> list[Line]:
        cards = (_discover, _bench, _inspect, _jobs)
        texts = [
            card(context) if _is_known(context.facts, name) else [[("dim", "not known yet")]]
            for name, card in zip(CARDS, cards, strict=True)
        ]
        lines: list[Line] = []
        for start in range(0, len(texts), self._columns):
            row = range(start, start + self._columns)
            widths = [width // self._columns + (width % self._columns if at == row[-1] else 0) for at in row]
            boxes = [self._card(context, at, texts[at], columns) for at, columns in zip(row, widths, strict=True)]
            lines += [[fragment for line in parts for fragment in line] for parts in zip(*boxes, strict=True)]
        return lines

    def _card(self, context: Context, at: int, text: list[Line], width: int) -> list[Line]:
        is_chosen = at == self.card and not self.is_in_list
        name = f"{at + 1} {context.screen(CARDS[at]).title}"
        body: list[Line] = [[("", " "), *line] for line in text]
        marker = f"{context.glyphs.cursor} " if is_chosen else ""
        return box(body, width, 5, context.glyphs, title=marker + name, style="accent" if is_chosen else "border")

    def _waiting(self, context: Context, width: int, height: int) -> list[Line]:
        self._shown = concerns(context.facts, context.glyphs)
        self._list_height = max(1, height - 3)
        if not self.is_in_list:  # the list has no focus, so show its most urgent entries
            self.cursor = Cursor(pattern=self.cursor.pattern)
        self.cursor.settle(self._rows(), self._list_height)
        if not self._shown:
            return [[], [("dim", f" {_nothing(context.facts)}")], *_below(context, width, height - 2)]
        top, number = self.cursor.top, len(self._shown)
        part = f"  {top + 1}-{top + self._list_height} of {number}" if number > self._list_height else f"  {number}"
        lines: list[Line] = [[], [("title", " Needs a person"), ("dim", part)]]
        for at, concern in enumerate(
            self._shown[self.cursor.top : self.cursor.top + self._list_height], self.cursor.top
        ):
            is_chosen = self.is_in_list and at == self.cursor.at
            since = ago(concern.at_us, context.facts.now_us)
            mark = context.glyphs.cursor if is_chosen else " "
            text = clip(concern.text, width - 16, context.glyphs.ellipsis)
            line = fit([("", f" {mark}"), (concern.style, concern.glyph), ("", f" {text}")], width - 10)
            line = [*line, ("dim", f"{since:>9} ")]
            lines.append(restyle(line, "selected") if is_chosen else line)
        return [*lines, *_below(context, width, height - len(lines))]


#: The tables whose numbers a card shows.
_SHOWN = {"discover": ("sources", "files"), "bench": ("parsers", "contracts"), "inspect": ("outputs",), "jobs": ()}


def _is_known(facts: Facts, card: str) -> bool:
    return facts.is_known and facts.registry.knows(*_SHOWN[card])


def _nothing(facts: Facts) -> str:
    """The text of an empty list. It says that nothing needs a person only when everything is known."""
    if not facts.is_complete:
        return "Loading…" if facts.link == "live" else "Nothing is known yet."
    if facts.waiting and not facts.workers:
        return f"{count(facts.waiting, 'job')} queued until a worker connects."
    return "Nothing needs a person."


def _discover(context: Context) -> list[Line]:
    known = context.facts.registry
    style = "warn" if known.untagged else "dim"
    first: Line = [("bold", count(known.files, "file")), ("", f", {known.watched}")]
    if context.past_seq is not None:
        return [first, [("dim", "sizes and tags: only now")]]
    return [
        first,
        [("dim", size(known.file_bytes))],
        [(style, f"{known.untagged:,} untagged")],
    ]


def _bench(context: Context) -> list[Line]:
    known = context.facts.registry
    newest = known.current()
    paused = len({parser.name for parser in known.paused_parsers})
    waiting = len(known.waiting_contracts)
    return [
        [("bold", count(len(newest), "parser"))],
        [("warn" if paused else "dim", f"{paused} paused")],
        [("warn" if waiting else "dim", f"{count(waiting, 'contract')} waiting")],
    ]


def _inspect(context: Context) -> list[Line]:
    outputs = context.facts.registry.outputs.values()
    rows, bad = sum(each.rows for each in outputs), sum(each.quarantined for each in outputs)
    last = max((each.last_commit for each in outputs), default=0)
    newest = f"last commit {ago(last, context.facts.now_us)}" if last else "nothing published yet"
    return [
        [("bold", count(len(outputs), "table")), ("", f", {short_count(rows, 'row')}")],
        [("warn" if bad else "dim", f"{short(bad)} quarantined")],
        [("dim", newest)],
    ]


def _jobs(context: Context) -> list[Line]:
    facts = context.facts
    bad = facts.failed + facts.dead
    dead = f", {facts.dead:,} dead" if facts.dead else ""
    done = "done" if dead else "complete"
    ended: Line = [("bad" if bad else "dim", f"{facts.failed:,} failed{dead}"), ("", f", {facts.done:,} {done}")]
    rate = f"{short(facts.rows_per_second)} rows/s" if facts.rows_per_second else "idle"
    if facts.running and not facts.rows_per_second:
        rate = "no rows reported yet"
    return [[("bold", f"{facts.running:,} running"), ("", f", {facts.waiting:,} queued")], ended, [("dim", rate)]]


def _below(context: Context, width: int, height: int) -> list[Line]:
    """The latest published jobs and, if there is room, the running jobs below them."""
    buckets = context.facts.jobs.latest(Standing.RUNNING, _MOST_RUNNING)
    room = len(buckets) + 2 if buckets else 0
    if height - room < _PUBLISHED_ROWS:
        return _latest(context, height)
    lines = _latest(context, min(height - room, _PUBLISHED_ROWS + _MOST_RUNNING))
    if buckets:
        lines += [[], [("title", " Running")], *(_running(context, bucket, width) for bucket in buckets)]
    return lines


def _running(context: Context, bucket: Bucket, width: int) -> Line:
    job = bucket.first
    what = f"{bucket.parser} {bucket.version}" if bucket.parser else "scan"
    words = [job.input.rpartition("/")[2] or job.input, *progress_words(job.progress)] if job is not None else []
    shown = f" {context.glyphs.dot} ".join(clean(word) for word in words)
    text = f"{clean(what)}: {shown if bucket.size == 1 else count(bucket.size, 'job')}"
    return [("accent", f"  {context.glyphs.running} "), ("", clip(text, width - 6, context.glyphs.ellipsis))]


def _latest(context: Context, height: int) -> list[Line]:
    """The latest published jobs, if there is room."""
    if height < 4:
        return []
    lines: list[Line] = []
    for bucket in context.facts.jobs.latest(Standing.DONE, height - 3):
        what = f"{bucket.parser} {bucket.version}" if bucket.parser else f"scan of {bucket.key[2]}"
        text = f"{what}: {count(bucket.size, 'job')}, {short_count(bucket.rows, 'row')}, {short(bucket.quarantined)} quarantined"
        since = ago(bucket.latest_at, context.facts.now_us)
        lines.append([("ok", f"  {context.glyphs.done} "), ("", clean(text)), ("dim", f"  {since}")])
    return [[], [("title", " Published last")], *lines] if lines else []


Home.ACTIONS = existing(
    (
        Action("home.open", ("enter",), "open", "Open the chosen card, or the screen for the chosen entry",
               lambda s, c: s.open_selected(c), weight=90),
        Action("home.discover", ("1",), "discover", "Open Discover", lambda s, c: s.open_card(0, c), weight=0),
        Action("home.bench", ("2",), "bench", "Open the Parser Bench", lambda s, c: s.open_card(1, c), weight=0),
        Action("home.inspect", ("3",), "inspect", "Open Inspect", lambda s, c: s.open_card(2, c), weight=0),
        Action("home.jobs", ("4",), "jobs", "Open Jobs", lambda s, c: s.open_card(3, c), weight=0),
        Action("home.left", ("left",), "left", "Go to the card at the left", lambda s, c: s.step(-1, c), weight=0),
        Action("home.right", ("right",), "right", "Go to the card at the right", lambda s, c: s.step(1, c), weight=0),
        Action("home.pane", ("tab",), "cards/list", "Switch between the cards and what needs a person",
               lambda s, c: s.switch(c), lambda s, c: bool(s._shown) and not s.approvals.is_open, 35),
        Action("home.approvals", ("A",), "approvals", "List the contracts that wait for approval",
               lambda s, c: s.approvals.open(c), weight=70, needs="decide_contract"),
        Action("home.approve", ("a",), "approve", "Approve the chosen contract; shows what changes first",
               lambda s, c: s.approvals.approve(c), lambda s, c: s.approvals.has_choice(c), 85,
               "decide_contract", is_change=True),
        Action("home.reject", ("x",), "reject", "Reject the chosen contract, with a reason",
               lambda s, c: s.approvals.reject(c), lambda s, c: s.approvals.has_choice(c), 80,
               "decide_contract", is_change=True),
    )
)  # fmt: skip
