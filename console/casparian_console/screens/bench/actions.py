"""Every key of the Parser Bench."""

from __future__ import annotations

from typing import Any

from casparian_console.actions import Action, existing


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
