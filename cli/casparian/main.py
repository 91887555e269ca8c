"""The root command, the table of all commands, and how a call ends.

A command's module is imported only when the command is called. Errors become at most three lines on stderr and an exit code; a
traceback is shown only with `-v`.
"""

from __future__ import annotations

import atexit
import errno
import io
import json
import logging
import os
import sys
import threading
import traceback
from dataclasses import dataclass
from typing import NoReturn

import rich_click as click

from casparian import __version__
from casparian.app import App, ExitCode, Group
from casparian_app.texts import NoDaemon, UsageProblem
from casparian_protocol.errors import CasparianError, code_of
from casparian_shim import process
from casparian_shim.safe import scrub

#: What the help groups commands by → command → (module under casparian.commands, one line of help).
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Get started": {
        "demo": ("home", "Run the whole workflow on generated FIX logs, explained step by step."),
        "init": ("home", "Create a home with a commented config.toml."),
        "new": ("new", "Write a new parser, from a sample or a premade one."),
        "run": ("run", "Run a parser on files without registering it (dev mode)."),
    },
    "Files": {
        "scan": ("scan", "Find files and record them in the file index."),
        "preview": ("preview", "Show a file's kind, encoding and first records."),
        "files": ("files", "List the files in the file index."),
        "tag": ("files", "Put a tag on files."),
        "untag": ("files", "Remove a tag from files."),
        "rule": ("files", "Manage the rules that tag files by their path."),
        "source": ("scan", "Manage the directories that are scanned for files."),
    },
    "Parsers and contracts": {
        "parser": ("parser", "Register parsers, and manage their versions and parameters."),
        "contract": ("contract", "List, show, compare, approve and reject contracts."),
        "schema": ("schema", "Draft contracts from files."),
    },
    "Run the daemon": {
        "start": ("daemon", "Start the daemon and its local workers."),
        "stop": ("daemon", "Stop the daemon."),
        "status": ("daemon", "Show what the daemon and its workers are doing."),
        "worker": ("daemon", "Run one worker."),
        "process": ("process", "Queue the pending files and run them until the queue is empty."),
        "console": ("console", "Watch and control everything on a full screen."),
        "tui": ("console", "The same as `console`."),
    },
    "Jobs and failures": {
        "jobs": ("jobs", "List jobs; replay dead letters."),
        "job": ("jobs", "Show one job; follow, retry, rerun, cancel or close it."),
        "errors": ("failures", "Show and close failures, grouped by root cause."),
        "story": ("log", "Tell what happened to a job, in order and with causes."),
    },
    "Data": {
        "outputs": ("outputs", "Show the published tables, their files and their history."),
        "sql": ("outputs", "Query outputs, quarantines and state with read-only SQL."),
        "quarantine": ("failures", "Show and export the rows that broke their contract."),
    },
    "Proof and repair": {
        "verify": ("log", "Run committed jobs again and compare the results."),
        "log": ("log", "Read, verify, seal, export and repair the event log."),
    },
    "This installation": {
        "config": ("home", "Show, check and reload the settings."),
        "doctor": ("home", "Check the machine and the home."),
        "support-bundle": ("home", "Write a support bundle, without data and secrets."),
    },
}
click.rich_click.COMMAND_GROUPS["casparian"] = [
    {"name": group, "commands": [*commands, *(["help"] if group == "This installation" else [])]}
    for group, commands in COMMANDS.items()
]


@click.group(
    cls=Group,
    lazy={
        name: (f"casparian.commands.{module}", line)
        for commands in COMMANDS.values()
        for name, (module, line) in commands.items()
    },
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(__version__, prog_name="casparian")
def casparian() -> None:
    """Turn dark data into governed tables, with proof of where every row came from."""


@casparian.command("help", examples="casparian help\ncasparian help job show")
@click.argument("words", nargs=-1, metavar="[COMMAND…]")
@click.pass_context
def help_(context: click.Context, words: tuple[str, ...]) -> ExitCode:
    """Show the help of a command, as in `casparian help job show`; without COMMAND, list all commands."""
    root = context.find_root()
    root.command.main([*words, "--help"], prog_name="casparian", standalone_mode=False, obj=root.obj)
    return ExitCode.OK


def run(command: click.Command, arguments: list[str] | None = None) -> ExitCode:
    """Call the command line and turn any outcome into an exit code and at most three lines.

    Under --json a failure is also a document on stdout, `{"error": {"code", "problem", "remedy"}}`, unless the command had
    answered already.
    """
    app = App()
    given = sys.argv[1:] if arguments is None else arguments
    app.wants_documents = "--json" in (given[: given.index("--")] if "--" in given else given)
    try:
        result = command.main(args=arguments, prog_name="casparian", standalone_mode=False, obj=app)
        sys.stdout.flush()  # a short answer may still be buffered, and a full disk must be reported here
    except (click.Abort, KeyboardInterrupt):
        return _tell(app, Failure("INTERRUPTED", "interrupted", "", ExitCode.INTERRUPTED))
    except click.ClickException as wrong:
        return _tell(app, _misused(wrong))
    except CasparianError as error:
        return _tell(app, _refused(error), error)
    except (BrokenPipeError, SystemExit):  # click makes the first into the second, whatever its mode
        # The reader of our stdout has closed it (`| head`): not an error; stop the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except OSError as error:
        code = _tell(app, _refused_by_the_system(error), error)
        _give_up_unwritten()
        return code
    except Exception as error:  # noqa: BLE001 -- the last line of defence: reported, exit 1, traceback with -v
        problem = f"internal error: {type(error).__name__}: {error}"
        remedy = "Run again with -v for the traceback, and please report it."
        return _tell(app, Failure("INTERNAL", problem, remedy, ExitCode.FAILED), error)
    return result if isinstance(result, ExitCode) else ExitCode.OK


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a command failed: a code for scripts, the problem and a remedy for people."""

    code: str
    problem: str
    remedy: str
    exit_code: ExitCode


def _tell(app: App, failure: Failure, error: BaseException | None = None) -> ExitCode:
    """Print the problem on stderr, the traceback with -v, and the document on stdout with --json."""
    print(f"casparian: {scrub(failure.problem, keep_newlines=True)}", file=sys.stderr)
    if failure.remedy and not (app.is_verbose and failure.code == "INTERNAL"):
        print(f"  {scrub(failure.remedy, keep_newlines=True)}", file=sys.stderr)
    if app.is_verbose and error is not None:
        traceback.print_exception(error)
    _answer_with(app, failure)
    return failure.exit_code


def _answer_with(app: App, failure: Failure) -> None:
    if not app.wants_documents or app.has_answered:
        return
    document = {"error": {"code": failure.code, "problem": failure.problem, "remedy": failure.remedy}}
    try:
        print(json.dumps(document, ensure_ascii=False), file=app.out, flush=True)
    except OSError:
        _give_up_unwritten()  # stdout cannot be written; stderr has the message


def _misused(wrong: click.ClickException) -> Failure:
    remedy = ""
    if isinstance(wrong, click.UsageError) and wrong.ctx is not None:
        what = (
            "lists its commands and options"
            if isinstance(wrong.ctx.command, click.Group)
            else "lists its arguments and options"
        )
        remedy = f"`{wrong.ctx.command_path} --help` {what}."
    return Failure("USAGE", wrong.format_message(), remedy, ExitCode.USAGE)


def _refused_by_the_system(error: OSError) -> Failure:
    """An error of the operating system, such as a full disk, that no command explained better."""
    paths = " → ".join(os.fsdecode(name) for name in (error.filename, error.filename2) if isinstance(name, str | bytes))
    code = errno.errorcode.get(error.errno or 0, "OS_ERROR")
    remedy = _SYSTEM_REMEDIES.get(code, "Run again with -v for the traceback.")
    return Failure(code, f"{paths}{': ' if paths else ''}{error.strerror or error}.", remedy, ExitCode.FAILED)


_FULL = (
    "Free some space: `df` shows the file systems of the home, of $TMPDIR and of the output; -v shows the traceback."
)
_DENIED = "`ls -ld` shows who may write there; -v shows the traceback."
_SYSTEM_REMEDIES = {"ENOSPC": _FULL, "EDQUOT": _FULL, "EACCES": _DENIED, "EPERM": _DENIED, "EROFS": _DENIED}


def _give_up_unwritten() -> None:
    """Drop what stdout cannot take, or the interpreter would complain again at exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _refused(error: CasparianError) -> Failure:
    if isinstance(error, UsageProblem):
        exit_code = ExitCode.USAGE
    elif isinstance(error, NoDaemon) or error.is_about_connecting:
        exit_code = ExitCode.NO_SENTINEL
    else:
        exit_code = ExitCode.FAILED
    return Failure(code_of(error), error.problem, error.remedy or "", exit_code)


def prepare() -> None:
    """Connect closed streams to the null device; write characters that the encoding lacks as `\\udcff`, which JSON reads too."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            # The lowest free descriptor, so it replaces the closed one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 -- as long as the process
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def main() -> None:
    """Entry point of the `casparian` script."""
    process.reset_signals(keep=process.TERMINAL)
    process.remember_absent("dateutil")  # pyarrow looks for it at each Python scalar
    prepare()
    # Log records of the packages are for the daemon's log, which has its own handlers: a command reports problems itself.
    logging.getLogger("casparian_sentinel").addHandler(logging.NullHandler())
    leave(run(casparian))


def leave(code: int) -> NoReturn:
    """Exit with this status. If no thread has to be awaited, leave the interpreter's memory to the kernel.

    Freeing all modules takes longer than most commands. Exit handlers still run.
    """
    others = [thread for thread in threading.enumerate() if thread is not threading.main_thread()]
    if any(not thread.daemon for thread in others):
        sys.exit(code)
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # the interpreter reports a full or closed stream itself
        sys.exit(code)
    os._exit(code)
