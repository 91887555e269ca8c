"""The Parser Bench: its keys and its two panes, the parsers at the left and the detail or the test result at the right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from casparian_console.canvas import Line, clean, count
from casparian_console.facts import Contract, Parser
from casparian_console.listing import Cursor, Fixed, Match
from casparian_console.messages import (
    Answer,
    Effects,
    Ended,
    Failed,
    ListDirectory,
    Listing,
    Output,
    RunOperation,
    RunQuery,
    Tagged,
)
from casparian_console.overlays import PathPrompt, TextView
from casparian_console.screen import Action, Context, Screen, existing
from casparian_console.screens.approvals import ask_reason, contract_view
from casparian_console.screens.bench import drawing
from casparian_console.screens.bench.entries import OTHER, Entries, Entry, FileChoice, file_query
from casparian_console.screens.bench.trials import WATCH, Runner, Trial, diff_lines
from casparian_protocol.queries.registry import ContractBefore
from casparian_protocol.wire.operations.registry import PAUSE, RESUME


def _now(context: Any) -> bool:
    return context.past_seq is None


def _can_test(bench: Any, context: Any) -> bool:
    entry = bench.entry()
    return _now(context) and entry is not None and entry.can_run


def _is_tested(bench: Any, context: Any) -> bool:
    return _can_test(bench, context) and bench.trial() is not None


def _is_running(bench: Any, _context: Any) -> bool:
    trial = bench.trial()
    return trial is not None and trial.is_running


def _can_watch(bench: Any, context: Any) -> bool:
    return _can_test(bench, context) and bool(bench.entry().path)


def _has_waiting(bench: Any, context: Any) -> bool:
    return _now(context) and bool(bench.waiting(context))


def _can_pause(bench: Any, _context: Any) -> bool:
    parser = bench.parser()
    return parser is not None and not parser.paused


def _can_resume(bench: Any, _context: Any) -> bool:
    parser = bench.parser()
    return parser is not None and bool(parser.paused)


ACTIONS: tuple[Action, ...] = existing(
    (
        Action("bench.open", ("enter",), "detail/result", "Switch between the parser's detail and its last test",
               lambda s, c: s.toggle(c), lambda s, c: s.entry() is not None, 60),
        Action("bench.pane", ("tab",), "pane", "Switch between the list and the pane at its right",
               lambda s, c: s.switch(c), weight=25),
        Action("bench.test", ("t",), "test", "Test the parser on a file; those that failed last come first",
               lambda s, c: s.test(c), _can_test, 90),
        Action("bench.quick", ("N",), "quick test", "Test any Python file with a parser in it, registered or not",
               lambda s, c: s.quick(c), lambda s, c: _now(c), 70),
        Action("bench.again", ("r",), "again", "Run the last test of this parser again",
               lambda s, c: s.again(c), _is_tested, 65),
        Action("bench.stop", ("c",), "stop test", "Stop the test that runs",
               lambda s, c: s.stop(c), _is_running, 85),
        Action("bench.watch", ("w",), "watch", "Test the parser whenever its file is saved; again: stop that",
               lambda s, c: s.watch(c), _can_watch, 45),
        Action("bench.diff", ("D",), "schema diff", "Compare the declared columns with those that a test observed",
               lambda s, c: s.schema_diff(c), _can_test, 55),
        Action("bench.approve", ("a",), "approve", "Approve a proposed contract; shows what it changes first",
               lambda s, c: s.approve(c), _has_waiting, 88, needs="decide_contract", is_change=True),
        Action("bench.reject", ("x",), "reject", "Reject a proposed contract, with a reason",
               lambda s, c: s.reject(c), _has_waiting, 50, needs="decide_contract", is_change=True),
        Action("bench.pause", ("p",), "pause", "Start no more jobs of this parser; they stay queued",
               lambda s, c: s.pause(c), _can_pause, 58, needs="pause", is_change=True),
        Action("bench.resume", ("u",), "resume", "Let the jobs of a paused parser run again",
               lambda s, c: s.resume(c), _can_resume, 80, needs="resume", is_change=True),
    )
)  # fmt: skip


#: How often `parsers/` is listed again while the bench is visible.
_LIST_AGAIN_US = 5_000_000


class Bench(Screen):
    name = "bench"
    title = "Parser Bench"
    key = "alt-p"
    ACTIONS = ACTIONS

    def __init__(self) -> None:
        self.entries = Entries()
        self.runner = Runner()
        self.cursor = Cursor()
        #: Parsers whose last test result is shown instead of their detail.
        self.shows_result: set[tuple[str, str]] = set()
        #: Whether the user has moved or used the selection.
        self._is_chosen = False
        self.is_right = False
        #: The first visible line of the right pane.
        self.top = 0
        self.layout = drawing.Layout()
        self.listed: list[Entry] = []
        self._listed_us = 0
        self._is_listable = True
        self._choice: FileChoice | None = None
        self._prompt: PathPrompt | None = None
        #: The parser whose next test result is shown as a comparison of declared and observed columns.
        self._wants_diff: tuple[str, str] | None = None

    # --- the selection ------------------------------------------------------------------------------------------------

    def rows(self) -> Fixed:
        return Fixed([entry.identity for entry in self.listed])

    def settle(self, context: Context) -> None:
        listed = self.entries.listed(context.facts.registry, context.home)
        #: The files in `parsers/`; in the past only registered parsers are known.
        self.listed = [each for each in listed if context.past_seq is None or each.kind == "registered"]
        if not self._is_chosen:
            self.cursor = Cursor()  # the first entry until the user selects one: the lists arrive one after the other
        self.cursor.settle(self.rows(), self.layout.entries_shown)

    def entry(self) -> Entry | None:
        return next((entry for entry in self.listed if entry.identity == self.cursor.identity), None)

    def parser(self) -> Parser | None:
        entry = self.entry()
        return entry.parser if entry is not None else None

    def trial(self) -> Trial | None:
        return self.runner.latest(self.cursor.identity)  # type: ignore[arg-type]

    def is_result(self) -> bool:
        return self.cursor.identity in self.shows_result and self.trial() is not None

    def waiting(self, context: Context) -> list[Contract]:
        """The selected parser's contracts that wait for a decision."""
        parser = self.parser()
        return [each for each in context.facts.registry.waiting_contracts if parser and each.parser == parser.name]

    def show_parser(self, name: str, context: Context) -> Effects:
        """Select a registered parser, for another screen."""
        self._is_chosen = True
        self.cursor.identity = ("registered", name)
        self.settle(context)
        self.is_right, self.top = False, 0
        return []

    def enter(self, context: Context) -> Effects:
        self.settle(context)
        self._listed_us, self._is_listable = context.facts.now_us, True
        return [ListDirectory(("bench", "files"), f"{context.home}/parsers")]

    def changed(self, context: Context) -> Effects:
        is_due = self._is_listable and context.facts.now_us - self._listed_us >= _LIST_AGAIN_US
        return self.enter(context) if is_due else []

    # --- tests --------------------------------------------------------------------------------------------------------

    def test(self, context: Context) -> Effects:
        """Ask which file to test on; the list fills when the projection answers."""
        entry = self.entry()
        if entry is None:
            return []
        self._is_chosen = True
        title = f"Test {clean(entry.name)} on"

        def chosen(path: str) -> Effects:
            if path == OTHER:
                return self._ask_path(title, ("",), lambda typed: self.run(entry, typed, context), context)
            return self.run(entry, path, context)

        self._choice = FileChoice(title, chosen)
        return [*context.open(self._choice), file_query(("bench", "choice"), entry.parser)]

    def test_file(self, parser: str, path: str, context: Context) -> Effects:
        """Test a registered parser on a file, for another screen."""
        self.show_parser(parser, context)
        entry = self.entry()
        return self.run(entry, path, context) if entry is not None and entry.name == parser else []

    def quick(self, context: Context) -> Effects:
        """Ask for any Python file, then for the file to test it on."""

        def typed(path: str) -> Effects:
            self._is_chosen = True
            self.cursor.identity = self.entries.remember_quick(path)
            self.settle(context)
            return self.test(context)

        return self._ask_path("Which parser? A .py file, or its directory", (".py",), typed, context)

    def _ask_path(
        self, title: str, endings: Sequence[str], then: Callable[[str], Effects], context: Context
    ) -> Effects:
        self._prompt = PathPrompt(title, then, ("bench", "path"), endings=endings)
        return [*context.open(self._prompt), *self._prompt.opened()]

    def run(self, entry: Entry, path: str, context: Context) -> Effects:
        self.shows_result.add(entry.identity)
        self.top = 0
        return self.runner.start(entry, path, context.facts.now_us)

    def again(self, context: Context) -> Effects:
        entry, last = self.entry(), self.trial()
        return self.run(entry, last.input, context) if entry is not None and last is not None else []

    def stop(self, context: Context) -> Effects:
        return self.runner.stop(self.cursor.identity, context.facts.now_us)  # type: ignore[arg-type]

    def watch(self, context: Context) -> Effects:
        """Switch testing on save on or off. Without a previous test, ask for the file to test on first."""
        entry = self.entry()
        if entry is None:
            return []
        is_on = self.runner.watched is None or self.runner.watched.identity != entry.identity
        effects = self.runner.watch(entry if is_on else None)
        context.say(f"{clean(entry.name)} is tested again whenever it is saved." if is_on else "No file is watched.")
        return [*effects, *self.test(context)] if is_on and self.trial() is None else effects

    def schema_diff(self, context: Context) -> Effects:
        """Compare declared and observed columns of the last test; without one, run a test first."""
        trial = self.trial()
        if trial is not None and trial.run:
            return self._show_diff(trial, context)
        entry = self.entry()
        self._wants_diff = entry.identity if entry is not None else None
        context.say("The observed columns come from a test: choose the file.")
        return self.test(context)

    def _show_diff(self, trial: Trial, context: Context) -> Effects:
        return context.open(TextView("Declared and observed", diff_lines(trial, context.glyphs), wish=(120, 40)))

    # --- contracts and pauses -----------------------------------------------------------------------------------------

    def approve(self, context: Context) -> Effects:
        """Show the diff; the approving key is in that view."""

        def show(contract_id: str) -> Effects:
            return [RunQuery(("bench", "contract", contract_id), ContractBefore(contract_id))]

        return self._one_contract("Which contract?", show, context)

    def reject(self, context: Context) -> Effects:
        def ask(contract_id: str) -> Effects:
            contract = context.facts.registry.contracts.get(contract_id)
            return ask_reason(contract, ("bench", "decide"), context) if contract is not None else []

        return self._one_contract("Reject which contract?", ask, context)

    def _one_contract(self, title: str, then: Callable[[str], Effects], context: Context) -> Effects:
        waiting = self.waiting(context)
        if len(waiting) == 1:
            return then(waiting[0].contract_id)
        options = [
            (
                each.contract_id,
                f"{clean(each.parser)} {clean(each.version)} / {clean(each.output)}  {count(each.columns, 'column')}",
            )
            for each in waiting
        ]
        return context.choose(title, options, then)

    def pause(self, context: Context) -> Effects:
        parser = self.parser()
        if parser is None:
            return []
        name = parser.name
        resume = RunOperation(
            ("bench", "resume", name),
            RESUME(parser=name),
            f"casparian parser resume {name}",
            f"{name} runs again",
        )
        return [
            RunOperation(
                ("bench", "pause", name),
                PAUSE(parser=name, reason="from the console"),
                f'casparian parser pause {name} --reason "from the console"',
                f"{name} is paused; its jobs stay queued",
                resume,
            )
        ]

    def resume(self, context: Context) -> Effects:
        parser = self.parser()
        if parser is None:
            return []
        name = parser.name
        return [
            RunOperation(
                ("bench", "resume", name),
                RESUME(parser=name),
                f"casparian parser resume {name}",
                f"{name} runs again",
            )
        ]

    # --- answers ------------------------------------------------------------------------------------------------------

    def on_answer(self, message: Tagged, context: Context) -> Effects:
        what = getattr(message, "tag", ("", ""))[1:]
        now_us = context.facts.now_us
        match message, what:
            case Listing(), ("files",):
                self.entries.take_listing(message.entries)
            case Failed(), ("files",):
                self._is_listable = False  # reported once; tried again when the bench is entered
            case Listing(), ("path",) if self._prompt is not None:
                self._prompt.on_answer(message)
            case Answer(), ("choice",) if self._choice is not None:
                self._choice.fill(message)
            case Failed(), ("choice",) if self._choice is not None:
                self._choice.fail()
            case Answer(), ("contract", contract_id):
                contract = context.facts.registry.contracts.get(contract_id)
                if contract is not None and message.rows:
                    return context.open(contract_view(contract, message.rows[0], ("bench", "decide"), context))
            case Output(), _ if message.tag == WATCH:
                return self.runner.saved(now_us)
            case ((Output() | Ended() | Failed()), ("trial", number)):
                ended, effects = self.runner.on_answer(number, message, now_us)
                return [*effects, *(self._ended(ended, context) if ended is not None else [])]
        return []

    def _ended(self, trial: Trial, context: Context) -> Effects:
        _, bad, _ = trial.counts
        words = {"success": "passed", "partial_success": f"{count(bad, 'bad row')}", "no_data": "gave no rows"}
        style = "ok" if trial.state == "success" else "warn" if trial.state in words else "bad"
        context.say(f"{trial.label} on {trial.input.rpartition('/')[2]}: {words.get(trial.state, 'failed')}", style)
        if self._wants_diff != trial.entry:
            return []
        self._wants_diff = None
        return self._show_diff(trial, context) if trial.run else []

    # --- keys and mouse -----------------------------------------------------------------------------------------------

    def toggle(self, context: Context) -> Effects:
        """Switch between the detail and the result; without a result, move to the pane."""
        self._is_chosen = True
        identity = self.cursor.identity
        if self.trial() is None:
            self.is_right = not self.is_right
        elif identity in self.shows_result:
            self.shows_result.discard(identity)
        else:
            self.shows_result.add(identity)  # type: ignore[arg-type]
        self.top = 0
        return []

    def switch(self, context: Context) -> Effects:
        self.is_right = not self.is_right
        return []

    def move(self, key: str, context: Context) -> Effects:
        self._is_chosen = True
        if self.is_right:
            cursor = Cursor(at=self.top, top=self.top)
            last_top = max(0, self.layout.lines - self.layout.height)
            if cursor.move(key, Fixed(range(last_top + 1)), self.layout.height):
                self.top = cursor.at
        elif self.cursor.move(key, self.rows(), self.layout.entries_shown):
            self.top = 0
        return []

    def search(self, pattern: str, step: int, context: Context) -> Match | None:
        if not self.listed:
            return None
        self._is_chosen = True
        names = [entry.name for entry in self.listed]
        found = self.cursor.find(pattern, step, self.rows(), names.__getitem__, self.layout.entries_shown)
        self.top = 0 if found else self.top
        return found

    def escape(self, context: Context) -> bool:
        if self.is_right:
            self.is_right = False
            return True
        if self.is_result():
            self.shows_result.discard(self.cursor.identity)
            self.top = 0
            return True
        return False

    def click(self, row: int, column: int, clicks: int, context: Context) -> Effects:
        self.is_right = column >= self.layout.left_width
        place = self.layout.places[row] if not self.is_right and row < len(self.layout.places) else None
        if place is not None:
            self._is_chosen = True
            self.cursor.select(self.rows(), place, self.layout.entries_shown)
            self.top = 0
            return self.toggle(context) if clicks > 1 else []
        return []

    def scroll(self, row: int, column: int, lines: int, context: Context) -> Effects:
        if column >= self.layout.left_width:
            self.top = max(0, min(self.top + lines, self.layout.lines - self.layout.height))
        else:
            self._is_chosen = True
            self.cursor.scroll(lines, self.rows(), self.layout.entries_shown)
        return []

    def draw(self, context: Context, width: int, height: int) -> list[Line]:
        self.settle(context)
        return drawing.draw(self, context, width, height)

    def summary(self, context: Context) -> str:
        entry, trial = self.entry(), self.trial()
        if entry is None:
            return "Parser Bench, nothing selected"
        tested = f"; last test on {trial.input}: {trial.state}" if trial is not None else ""
        return f"Parser Bench, selected {entry.kind} parser {entry.target}{tested}"
