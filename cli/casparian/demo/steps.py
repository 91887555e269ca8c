"""The demo, step by step, and its end: the table of checks, the places of all files, the next commands, and the result."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from blake3 import blake3

from casparian.demo import facts
from casparian.demo.facts import Check, Found, LineageFound, check
from casparian.demo.fix_logs import Truth, generate
from casparian.demo.fix_orders import OUTPUTS
from casparian.demo.session import WORKERS, Narrator, Place, Session, aligned, cut, follow, running_daemon
from casparian.shipped import bundled
from casparian_app.measuring import measure_sandbox
from casparian_protocol.home import Home
from casparian_protocol.settings import SandboxSettings
from casparian_protocol.wording import say_violation
from casparian_shim.safe import scrub

if TYPE_CHECKING:
    from casparian_protocol.values import PlainRow

_SEED = 20240102
_FILES = 12
_ORDERS_PER_FILE = 120
_FAULTS_PER_FILE = 12
_PARSER = "fix_parser"
_EXAMPLE_CHARACTERS = 400

MakeLogs = Callable[[Path, Path], Truth]


def sample_logs(directory: Path, truth_path: Path) -> Truth:
    """The demo's logs, the same on every machine, with their truth next to them."""
    return generate(
        directory,
        seed=_SEED,
        files=_FILES,
        orders_per_file=_ORDERS_PER_FILE,
        faults_per_file=_FAULTS_PER_FILE,
        truth_path=truth_path,
    )


class Step(TypedDict):
    """The facts of one step, for `--json`."""

    title: str
    commands: list[list[str]]
    facts: dict[str, object]


class Story:
    """One run of the demo. `document` has all its facts, for `--json`."""

    def __init__(self, session: Session, narrator: Narrator, *, is_live: bool, make_logs: MakeLogs) -> None:
        self._session = session
        self._place = session.place
        self._narrator = narrator
        self._is_live = is_live
        self._make_logs = make_logs
        self._found = Found()
        self._steps: list[Step] = []
        self._approved: list[PlainRow] = []
        self.truth: Truth
        self.checks: list[Check] = []

    def tell(self) -> None:
        """Run all steps in order. Raises `CommandFailed`."""
        self._home()
        self._sample_logs()
        self._scan()
        self._tag()
        self._register()
        self._approve()
        with self._started() as child:
            self._process(child)
            self._rows()
            self._quarantine()
            self._break_explained()
            self._lineage()
            self._stop(child)
        self._verify()
        self.checks = check(self.truth, self._found)

    @property
    def is_good(self) -> bool:
        return bool(self.checks) and all(one.is_good for one in self.checks)

    def document(self, seconds: float) -> dict[str, object]:
        place = self._place
        return {
            "directory": str(place.root),
            "home": str(place.home),
            "logs": str(place.logs),
            "truth": str(place.truth),
            "seconds": round(seconds, 3),
            "steps": self._steps,
            "checks": [one.as_json() for one in self.checks],
            "is_good": self.is_good,
        }

    def _step(self, title: str, *commands: Sequence[str]) -> dict[str, object]:
        """Begin a step. Its facts go into the returned mapping."""
        self._narrator.heading(title)
        shown = [self._session.shown(*command) for command in commands]
        for words in shown:
            self._narrator.command(words)
        step = Step(title=title, commands=shown, facts={})
        self._steps.append(step)
        return step["facts"]

    def _show(self, rows: Iterable[Sequence[object]], right: Iterable[int] = ()) -> None:
        self._narrator.lines(aligned(rows, right))

    # --- preparation --------------------------------------------------------------------------------------------------

    def _home(self) -> None:
        noted = self._step("A home: the log of everything, the tables, the keys", ["init"])
        noted |= {"init": self._session.ask("init")}
        self._narrator.lines([str(self._place.home)])
        noted |= {"sandbox": self._choose_sandbox()}

    def _choose_sandbox(self) -> str:
        """Lower the demo's own home to the sandbox level that this machine has; returns that level."""
        machine = measure_sandbox()
        level = f"Parsers run at sandbox level {machine.level} here."
        wanted = SandboxSettings().minimum
        if missing := machine.missing[wanted]:
            text = self._place.config.read_text(encoding="utf-8")
            lowered = text.replace(f'#minimum = "{wanted}"', f'minimum = "{machine.level}"')
            self._place.config.write_text(lowered, encoding="utf-8")
            level += f" The demo's home allows that; a home of yours would not, because the machine lacks {missing[0]}."
        self._narrator.prose(level)
        return machine.level

    def _sample_logs(self) -> None:
        noted = self._step("Sample logs of made-up venues, with faults planted in them")
        began = time.monotonic()
        self.truth = self._make_logs(self._place.logs, self._place.truth)
        total = self.truth.total
        noted |= total.as_json() | {"seconds": round(time.monotonic() - began, 3)}
        self._narrator.prose(
            f"{len(self.truth.files)} files, {total.line_count:,} lines, {total.size_bytes / 1e6:.1f} MB: FIX 4.2, 4.4 and"
            " FIXT 1.1; fields parted by pipes, carets and the invisible SOH; bare, behind a gateway's or syslog's prefix,"
            f" inside JSON. {total.quarantined_rows.total()} lines are broken on purpose in"
            f" {len(total.violations)} different ways. What must come out was written down while they were planted:"
        )
        self._narrator.lines([str(self._place.truth)])

    def _scan(self) -> None:
        arguments = ["scan", str(self._place.logs)]
        noted = self._step("Scan: find the files", arguments)
        totals = self._session.ask(*arguments)
        noted |= totals
        self._found.scanned_files, self._found.scanned_bytes = totals["files"], totals["bytes"]
        self._narrator.lines([f"{totals['files']} files, {totals['new']} new, {totals['unreadable_count']} unreadable"])

    def _tag(self) -> None:
        arguments = ["tag", str(self._place.logs), "fix"]
        noted = self._step("Tag: say what they are", arguments)
        noted |= self._session.ask(*arguments)
        self._narrator.lines([f"`fix` on {noted['files']} files; parsers subscribe to tags"])

    def _register(self) -> None:
        arguments = ["parser", "register", str(bundled("parsers/fix"))]
        noted = self._step("Register the FIX parser: bundled, tested, hashed, signed", arguments)
        result = self._session.ask(*arguments)
        noted |= result
        self._narrator.lines([f"{result['name']} {result['version']}, artifact {result['artifact'][:16]}…"])
        self._show((one["output"], one["state"], one["contract_id"][:8]) for one in result["contracts"])

    def _approve(self) -> None:
        diff, approve = ["contract", "diff", _PARSER], ["contract", "approve", _PARSER]
        noted = self._step("Contracts: look at what changed, then approve", diff, approve)
        noted["diff"] = found = self._session.ask(*diff)
        self._narrator.lines(
            f"{one['of']}: " + ("first contract, nothing to compare with" if one["against"] is None else "changed")
            for one in found
        )
        noted["decided"] = self._approved = self._session.ask(*approve)["decided"]
        self._narrator.prose(f"{len(self._approved)} approved. Nothing unapproved runs.")

    # --- the run ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _started(self) -> Iterator[subprocess.Popen[bytes]]:
        noted = self._step(
            f"Start: a daemon with {WORKERS} workers", ["start", "--workers", str(WORKERS), "--detach"], ["status"]
        )
        with running_daemon(Home(self._place.home)) as child:
            noted["status"] = status = self._session.ask("status")
            pids = ", ".join(str(one["pid"]) for one in status["workers"])
            self._narrator.lines([f"ready, pid {child.pid}" + (f"; workers: pid {pids}" if pids else "")])
            yield child

    def _process(self, child: subprocess.Popen[bytes]) -> None:
        noted = self._step("Process: each file in a guest of its own, all or nothing", ["process"])
        began = time.monotonic()
        queued = follow(Home(self._place.home), child, self._narrator, is_live=self._is_live)
        noted["queued"] = queued.model_dump()
        noted["seconds"] = seconds = round(time.monotonic() - began, 3)
        self._narrator.lines([f"{self.truth.total.line_count:,} lines in {seconds:.1f} s"])

    # --- the results --------------------------------------------------------------------------------------------------

    def _rows(self) -> None:
        noted = self._step("Result: tables that any SQL reads", ["sql", facts.EVENTS])
        events = self._session.rows(facts.EVENTS)
        self._found.order_events.update({row["event"]: row["n"] for row in events})
        jobs, accounting = self._session.rows(facts.JOBS), self._session.rows(facts.ACCOUNTING)
        self._found.files = facts.read_files(jobs, accounting)
        noted |= {"events": events, "jobs": jobs}
        self._show([(row["event"], row["n"]) for row in events[:6]], right=[1])
        self._narrator.lines([f"… {len(events)} kinds of events"])
        self._show(
            [(output, sum(one.valid_rows[output] for one in self._found.files.values()), "rows") for output in OUTPUTS],
            right=[1],
        )

    def _quarantine(self) -> None:
        summary, show = ["quarantine", "summary"], ["quarantine", "show", "fix_orders", "--limit", "1"]
        show += ["--code", "value_not_allowed"]
        noted = self._step("Quarantine: what broke its contract, with its original text", summary, show)
        noted["summary"] = counted = self._session.ask(*summary)
        self._found.violations = facts.read_violations(counted)
        self._show(
            [(one["output"], one["code"], one["column"], one["rows"]) for one in counted],
            right=[3],
        )
        noted["example"] = examples = self._session.ask(*show)
        for row in examples[:1]:
            self._narrator.prose(f"For example source row {row['_cf_source_row']} of job {row['_cf_job_id']}:")
            for one in row["_cf_violations"]:
                self._narrator.prose(say_violation(one["code"], one["column"], one["got"], one["expected"]))
            if row["_cf_raw"]:
                self._narrator.prose(f"raw: {scrub(row['_cf_raw'][:_EXAMPLE_CHARACTERS])}")

    def _break_explained(self) -> None:
        planted = self.truth.broken_order
        if planted is None:
            return
        query = facts.life_of(planted.cl_ord_id)
        noted = self._step(f"A trade break explained: the life of order {planted.cl_ord_id}", ["sql", query])
        noted["life"] = life = self._session.rows(query)
        order = self._found.order = facts.read_order(life)
        rows = [("line", "event", "last_qty", "last_px", "cum_qty", "")]
        rows += [
            (
                str(row["line"]),
                row["event"],
                *(_short(row[name]) for name in ("last_qty", "last_px", "cum_qty")),
                row["row"],
            )
            for row in life
        ]
        self._show(rows, right=[0, 2, 3, 4])
        self._narrator.prose(
            f"The venue says {order.cum_qty:g} filled, the published fills add up to {order.valid_last_qty:g}. The missing"
            f" {order.cum_qty - order.valid_last_qty:g} are line {order.quarantined_line} of {planted.file}: its price is"
            f" written {order.quarantined_value!r}, which is not a decimal. The row is not lost and not guessed at: it is in"
            " quarantine with its text."
        )

    def _lineage(self) -> None:
        planted = self.truth.broken_order
        if planted is None:
            return
        query = facts.lineage_of(planted.cl_ord_id)
        row = self._session.rows(query)[0]
        show = ["job", "show", row["job"]]
        noted = self._step("Lineage: where one row came from", ["sql", query], show)
        job = self._session.ask(*show)
        noted |= {
            "row": row,
            "job": {name: job[name] for name in ("input", "artifact", "worker_id", "sandbox")},
        }
        self._found.lineage = seen = _look(row, Path(job["input"]))
        contract = next(one["contract_id"] for one in self._approved if one["output"] == "fix_orders")
        same = "the same" if seen.recomputed_hash == seen.source_hash else "ANOTHER"
        self._show(
            [
                ("file", f"{seen.file}, line {seen.line}"),
                ("its bytes", f"BLAKE3 {seen.source_hash[:16]}…; computed again just now: {same}"),
                ("job", f"{seen.job_id}, worker {job['worker_id']}, sandbox {job['sandbox']}"),
                ("parser", f"{_PARSER} {seen.parser_version}, artifact {job['artifact'][:16]}…"),
                ("contract", f"{contract}, approved"),
            ]
        )

    def _stop(self, child: subprocess.Popen[bytes]) -> None:
        noted = self._step("Stop: what runs may finish", ["stop"])
        noted |= self._session.ask("stop")
        noted["exit"] = child.wait(30.0)
        self._narrator.lines([f"stopped, exit {noted['exit']}"])

    def _verify(self) -> None:
        noted = self._step("The log: every decision, hash-chained", ["log", "verify"])
        status, printed = self._session.call("log", "verify")
        noted |= {"exit": status, "said": printed}
        self._found.log_status = status
        self._narrator.prose(printed)
        self._found.lines_in_files = sum(_count_lines(path) for path in sorted(self._place.logs.iterdir()))


def _short(text: str | None) -> str:
    """A decimal without trailing zeros; other text stays as it is."""
    if text is None or "." not in text or not text.replace(".", "", 1).isdigit():
        return text or ""
    return text.rstrip("0").rstrip(".")


def _look(row: PlainRow, file: Path) -> LineageFound:
    """Check the source file itself: its digest, and whether the row's text is on the line that the row names."""
    content = file.read_bytes()
    lines = content.split(b"\n")
    line = lines[row["line"] - 1] if 0 < row["line"] <= len(lines) else b""
    return LineageFound(
        file=file.name,
        line=row["line"],
        job_id=row["job"],
        parser_version=row["version"],
        source_hash=row["source_hash"],
        recomputed_hash=blake3(content).hexdigest(),
        is_text_on_that_line=row["raw_tags"].encode() in line,
    )


def _count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n")


_NAME_CHARACTERS = 43
_VALUE_CHARACTERS = 14


def end(narrator: Narrator, story: Story, session: Session, seconds: float) -> None:
    """Print the result with each difference."""
    narrator.heading("Checked against what was planted, before any parser ran")
    narrator.lines(check_lines(story.checks))
    wrong = [one for one in story.checks if not one.is_good]
    for one in wrong:
        narrator.prose(f"{one.name}: expected {one.expected}, found {one.found}. {'; '.join(one.details)}".rstrip())
    narrator.heading("Where everything is")
    narrator.lines(aligned(_places(session.place)))
    narrator.heading("Go on")
    for words in _further(session):
        narrator.command(words)
    narrator.verdict(verdict(story.checks, seconds), is_good=story.is_good)


def check_lines(checks: Sequence[Check]) -> list[str]:
    """The checks as a table: a tick or a cross, the check, the expected and the found value.

    Long texts are cut; the differences, printed below the table, are not.
    """
    rows: list[Sequence[object]] = [("", "", "expected", "found")]
    rows += [
        (
            "✓" if one.is_good else "✗",
            cut(one.name, _NAME_CHARACTERS),
            _short_value(one.expected),
            _short_value(one.found),
        )
        for one in checks
    ]
    return aligned(rows, right=[2, 3])


def verdict(checks: Sequence[Check], seconds: float) -> str:
    wrong = sum(1 for one in checks if not one.is_good)
    if wrong:
        return f"{wrong} of {len(checks)} checks DIFFER from what was planted. Please report all of this."
    return f"All {len(checks)} checks agree with what was planted, in {seconds:.0f} s."


def _short_value(value: object) -> str:
    if isinstance(value, bool) or value is None:
        return "" if value is None else str(value)
    return (
        f"{value:,}"
        if isinstance(value, int)
        else f"{value:g}"
        if isinstance(value, float)
        else cut(str(value), _VALUE_CHARACTERS)
    )


def _places(place: Place) -> list[tuple[str, str]]:
    root = place.root
    return [
        ("all of it", str(root)),
        ("the logs", f"{place.logs.relative_to(root)}/"),
        ("what was planted", place.truth.name),
        ("published rows", "home/outputs/fix_orders/v1/*.parquet, …"),
        ("bad rows", "home/quarantine/fix_orders/v1/*.parquet, …"),
        ("views for any DuckDB", "home/catalog.duckdb (duckdb -readonly)"),
        ("the event log", "home/log/*.caslog"),
        ("the parser's own words", "home/logs/<date>/<job>.log"),
    ]


def _further(session: Session) -> list[list[str]]:
    by_side = "select side, count(*) as n from fix_orders group by side"
    return [
        session.shown("jobs"),
        session.shown("sql", by_side),
        session.shown("quarantine", "show", "fix_other"),
        session.shown("log", "tail"),
    ]
