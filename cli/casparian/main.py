"""The root command and the table of all commands. A command's module is imported only when the command is called."""

from __future__ import annotations

import atexit
import io
import logging
import os
import sys
import threading
from typing import NoReturn

import rich_click as click

from casparian import __version__
from casparian.app import ExitCode, Group, run
from casparian_shim import process

#: What the help groups commands by → command → (module under casparian.commands, one line of help).
COMMANDS: dict[str, dict[str, tuple[str, str]]] = {
    "Get started": {
        "demo": ("home", "Run the whole workflow on generated FIX logs, explained step by step."),
        "init": ("home", "Create a home with a commented config.toml."),
        "new": ("home", "Write the skeleton of a new parser."),
        "run": ("run", "Run a parser on files without registering it (dev mode)."),
    },
    "Files": {
        "scan": ("scan", "Find files and record them in the file index."),
        "preview": ("scan", "Show a file's kind, encoding and first records."),
        "files": ("files", "List the files in the file index."),
        "tag": ("files", "Put a tag on files."),
        "untag": ("files", "Remove a tag from files."),
        "rule": ("files", "Manage the rules that tag files by their path."),
        "source": ("scan", "Manage the directories that are scanned for files."),
    },
    "Parsers and contracts": {
        "parser": ("parser", "Register parsers, and manage their versions and parameters."),
        "contract": ("contract", "List, show, compare, approve and reject contracts."),
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
