"""`casparian run PARSER INPUT…`: dev mode. Runs a parser from its file, shows its rows, and keeps nothing without a sink.

Stateless: no home, no lock, no log, unless PARSER names a registered one. Tables go to stdout together with what the parser
prints; with --json or --raw only the command writes to stdout, and the parser's prints go to stderr.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

import rich_click as click

from casparian.app import POSITIVE, App, Command, ExitCode, pass_app
from casparian.render import as_json, cell
from casparian_app.texts import UsageProblem, WorkFailed, count
from casparian_protocol.errors import ErrorCode
from casparian_shim.safe import scrub

if TYPE_CHECKING:
    from casparian_app.devrun.parser import DevParser
    from casparian_app.devrun.rows import InputRun, Sink
    from casparian_shim.frames import LogLevel

_ROWS_SHOWN = 10


class NoSuchInput(UsageProblem):
    """An input is not a file that can be read."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(
            f"The input {path} {why}.", remedy="Name single files; `casparian scan DIR` finds the files in a directory."
        )


class NoPythonThere(UsageProblem):
    """The directory given with `--venv` is not a virtual environment."""

    def __init__(self, directory: Path) -> None:
        super().__init__(
            f"{directory} is not a valid virtual environment: it has no bin/python.",
            remedy="Name a directory that `python -m venv DIR` made.",
        )


class OptionNeedsSink(UsageProblem):
    """An option has no effect without `--sink`."""

    def __init__(self, option: str) -> None:
        super().__init__(f"{option} has no effect without --sink.", remedy="Add --sink parquet://DIR, or leave it out.")


class NoSandboxHere(WorkFailed):
    """The machine has no layer of a sandbox, and `--sandbox` asks for one."""

    code = ErrorCode.SANDBOX_UNAVAILABLE

    def __init__(self, missing: Sequence[str]) -> None:
        super().__init__(
            f"--sandbox cannot confine the parser here. Missing: {'; '.join(missing)}.",
            remedy="Leave --sandbox out, if you trust the parser.",
        )


def _refuse_no_sandbox(_context: click.Context, _parameter: click.Parameter, is_given: bool) -> None:
    if is_given:
        raise UsageProblem(
            "--no-sandbox would have no effect: a parser is confined only with --sandbox.", remedy="Leave it out."
        )


@click.command(
    cls=Command,
    short_help="Run a parser on files without registering it (dev mode).",
    examples="""casparian run advice.py inbox/advice_0531.txt
casparian run fix_parser/ venue_a.log venue_b.log --limit 1000
casparian run fix_parser@1.0.0 venue_a.log     # a registered one
casparian run advice.py *.txt --sink parquet://trial --force
casparian run advice.py sample.txt --contract stricter.json --param tz=Europe/Berlin""",
)
@click.argument("parser", type=click.Path(path_type=Path))
@click.argument("inputs", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="INPUT...")
@click.option(
    "--sink",
    "uri",
    metavar="URI",
    help="Write the rows to parquet://DIR, csv://DIR, jsonl://DIR or arrow://DIR (default: write nothing).",
)
@click.option(
    "--contract",
    "contract_file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Use the contract in this JSON file: one for the only output, or a map of output to contract.",
)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="Set a parameter that the parser declares. Repeatable.",
)
@click.option("--limit", type=POSITIVE, metavar="N", help="Read at most N rows of each input (default: all).")
@click.option("--whatif", is_flag=True, help="Show what --sink would write; write nothing.")
@click.option("--force", is_flag=True, help="Let --sink overwrite existing files.")
@click.option(
    "--venv",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Use the Python of this virtual environment (default: the one that runs casparian).",
)
@click.option(
    "--sandbox",
    "is_confined",
    is_flag=True,
    help="Run the parser confined as in production: no terminal, environment, network or files but the input.",
)
@click.option(
    "--contained",
    "is_confined_if_possible",
    is_flag=True,
    help="Run it like --sandbox, at any level that this machine has; the console does.",
)
@click.option("--no-sandbox", is_flag=True, hidden=True, callback=_refuse_no_sandbox, expose_value=False)
@click.option("--raw", is_flag=True, help="Print every valid row as one line of JSON instead of tables.")
@click.option(
    "--propose-contract",
    "is_proposing",
    is_flag=True,
    help="Draft contracts from the rows, with evidence, instead of enforcing the parser's own.",
)
@pass_app
def run(
    app: App,
    parser: Path,
    inputs: tuple[Path, ...],
    uri: str | None,
    contract_file: Path | None,
    params: tuple[str, ...],
    limit: int | None,
    whatif: bool,
    force: bool,
    venv: Path | None,
    is_confined: bool,
    is_confined_if_possible: bool,
    raw: bool,
    is_proposing: bool,
) -> ExitCode:
    """Run a parser on files and show the first rows, the schema and the violations of each output.

    PARSER is a file, a directory, or NAME[@VERSION] of a registered parser. It runs in your environment and your
    terminal, with your rights: its output appears as it is printed, and breakpoint() works. --sandbox confines it instead.
    Its contract is enforced if it has one. Exit 0 when everything was parsed, even with violations; exit 1 when the parser
    fails.
    """
    from casparian_app.devrun.parser import read_params, with_contracts
    from casparian_app.devrun.rows import Sink, read_target

    if uri is None and (whatif or force):
        raise OptionNeedsSink("--whatif" if whatif else "--force")
    if is_proposing and contract_file is not None:
        raise UsageProblem("--propose-contract and --contract cannot be combined.", remedy="Leave one of them out.")
    for path in inputs:
        require_file(path)
    chosen = chosen_parser(app, parser)
    if contract_file is not None:
        chosen = with_contracts(chosen, contract_file)
    only_output = next(iter(chosen.contracts), chosen.metadata.name)
    if is_proposing:
        chosen = replace(chosen, contracts={})
    values = read_params(params, chosen.metadata.params)
    sink = Sink(read_target(uri), is_overwriting=force, is_trial=whatif) if uri is not None else None
    if sink is not None:
        sink.require_room(list(chosen.contracts))
    python = _python_of(venv)
    if foreign := chosen.foreign_modules:
        app.say(
            f"{cell(', '.join(foreign))}: from {cell(python)}. "
            "A registered parser can import only the standard library and pyarrow."
        )
    if is_confined:
        _require_sandbox()
    elif not is_confined_if_possible and sys.stderr.isatty():  # a script reads `sandbox` under --json
        app.say("The parser runs with your rights, without a sandbox; --sandbox confines it as in production.")
    session = _Session(
        app,
        chosen,
        values,
        python,
        limit,
        sink,
        is_raw=raw,
        is_confined=is_confined or is_confined_if_possible,
        proposes_for=only_output if is_proposing else None,
    )
    with _own_stdout(app, is_needed=app.is_json or raw), _first_interrupt_is_the_parsers() as interrupts:
        try:
            return session.run(inputs, interrupts)
        finally:
            if sink is not None:
                sink.discard()


def _require_sandbox() -> None:
    """Raise `NoSandboxHere` if guests get no sandbox on this machine."""
    from casparian_app.measuring import measure_sandbox

    if missing := measure_sandbox().missing["basic"]:
        raise NoSandboxHere(missing)


class _Session:
    """One call of `run`: each input in turn, then the sink."""

    def __init__(
        self,
        app: App,
        parser: DevParser,
        params: Mapping[str, object],
        python: str,
        limit: int | None,
        sink: Sink | None,
        *,
        is_raw: bool,
        is_confined: bool,
        proposes_for: str | None,
    ) -> None:
        from casparian_app.inferring import ContractInference

        self._app = app
        self._parser = parser
        self._params = params
        self._python = python
        self._limit = limit
        self._sink = sink
        self._is_raw = is_raw
        self._is_confined = is_confined
        self._proposing = ContractInference(proposes_for) if proposes_for is not None else None
        self._runs: list[InputRun] = []

    def run(self, inputs: tuple[Path, ...], interrupts: list[int]) -> ExitCode:
        """Parse every input, even after one has failed; returns the overall result."""
        from casparian_app.devrun.engine import run_input

        for path in inputs:
            done = run_input(
                self._parser,
                path,
                params=self._params,
                python=self._python,
                limit=self._limit,
                rows_shown=_ROWS_SHOWN,
                on_rows=self._keep,
                log=_TerminalLog(),
                in_terminal=not self._is_confined,
            )
            if done.error is not None and interrupts:
                raise KeyboardInterrupt
            self._runs.append(done)
            self._tell(done)
        failed = sum(each.error is not None for each in self._runs)
        written = self._finish_sink(failed)
        if self._app.is_json:
            self._print_document(written)
        elif self._proposing is not None:
            self._propose()
        return ExitCode.FAILED if failed else ExitCode.OK

    def _propose(self) -> None:
        """The contract as JSON to stdout, its evidence to stderr."""
        from casparian.reports import print_contracts

        assert self._proposing is not None
        print_contracts(self._app, self._proposing.contracts())

    def _keep(self, output: str, batch: Any, is_bad: bool) -> None:
        if self._proposing is not None:
            self._proposing.take(output, batch, is_bad)
        if self._sink is not None:
            self._sink.add(output, batch, is_quarantine=is_bad)
        if self._is_raw and not is_bad and not self._app.is_json:
            from casparian_app.devrun.rows import json_line
            from casparian_protocol.values import plain_rows

            for row in plain_rows(batch):
                own = {name: value for name, value in row.items() if not name.startswith("_cf_")}
                print(json_line({"output": output, **own}), file=self._app.out)

    def _tell(self, done: InputRun) -> None:
        from casparian.reports import accounting, error_lines, print_run

        app = self._app
        if not app.is_json and not self._is_raw:
            print_run(app, done, self._parser.label)
        elif not app.is_json:
            app.say(f"{cell(done.path)}: {accounting(done)}")
        if self._is_confined and not app.is_json:
            app.say(f"{cell(done.path)}: sandbox level {done.sandbox}")
        if done.error is not None:
            for line in error_lines(done, is_verbose=app.is_verbose):
                print(line, file=sys.stderr)
        elif done.status == "partial_success":
            app.say("In production such rows are quarantined; if max_pct is exceeded, the file fails.")

    def _finish_sink(self, failed: int) -> list[tuple[Path, int]]:
        if self._sink is None:
            return []
        if failed:
            self._app.say(f"Nothing was written: {count(failed, 'input')} failed.")
            return []
        written = self._sink.commit()
        verb = "would be written" if self._sink.is_trial else "written"
        for path, rows in written:
            self._app.say(f"{cell(str(path))}: {count(rows, 'row')} {verb}")
        if not written:
            self._app.say("No rows, so no files.")
        return written

    def _print_document(self, written: list[tuple[Path, int]]) -> None:
        from casparian.reports import document
        from casparian_app.inferring import contract_document

        metadata = self._parser.metadata
        drafts = self._proposing.contracts() if self._proposing is not None else []
        as_json(
            self._app,
            {
                **({"proposed_contract": contract_document(drafts)} if drafts else {}),
                "parser": {"name": metadata.name, "version": metadata.version, "file": self._parser.file},
                "inputs": [document(each) for each in self._runs],
                "written": [{"path": path, "rows": rows} for path, rows in written],
                "is_trial": self._sink is not None and self._sink.is_trial,
            },
        )


class _TerminalLog:
    """Prints what a parser logs to stderr as it arrives."""

    def write(self, level: LogLevel, origin: Literal["guest", "worker"], text: str) -> None:
        for line in text.split("\n"):
            print(f"{level.name.lower():<7}  {scrub(line)}", file=sys.stderr, flush=True)

    def flush(self) -> None:
        """Nothing to flush: every line is printed at once."""


def chosen_parser(app: App, parser: Path) -> DevParser:
    """The parser at this path, or the registered one with this name."""
    from casparian_app.devrun.parser import is_parser_name, load_parser, registered_parser

    if parser.exists() or not is_parser_name(str(parser)):
        return load_parser(parser)
    with app.gateway() as gateway:
        return registered_parser(gateway, str(parser))


def require_file(path: Path) -> None:
    if not path.exists():
        raise NoSuchInput(path, "does not exist")
    if not path.is_file():
        raise NoSuchInput(path, "is a directory" if path.is_dir() else "is not a regular file")
    if not os.access(path, os.R_OK):
        raise NoSuchInput(path, "is not readable")


def _python_of(venv: Path | None) -> str:
    if venv is None:
        return sys.executable
    python = venv.absolute() / "bin" / "python"
    if not python.exists():
        raise NoPythonThere(venv)
    return str(python)


@contextmanager
def _own_stdout(app: App, *, is_needed: bool) -> Iterator[None]:
    """Point descriptor 1, which the parser inherits, at stderr; the command's own data go to the original stdout."""
    if not is_needed:
        yield
        return
    app.out.flush()
    before = os.dup(1)
    given, app.out = app.out, open(before, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115 -- closed below
    os.dup2(2, 1)
    try:
        yield
    finally:
        app.out.close()
        app.out = given
        os.dup2(before, 1)
        os.close(before)


@contextmanager
def _first_interrupt_is_the_parsers() -> Iterator[list[int]]:
    """Ctrl-C reaches the parser too, which may be in a debugger: leave the first one to it, exit on the second."""
    seen: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        seen.append(number)
        if len(seen) > 1:
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, note)
    try:
        yield seen
    finally:
        signal.signal(signal.SIGINT, before)


COMMANDS: dict[str, click.Command] = {"run": run}
