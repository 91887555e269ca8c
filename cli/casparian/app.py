"""What every command shares: the home, the streams, the options that stand anywhere on the line.

`--home`, `--json`, `--quiet` and `-v` are accepted before and after the command's name. Errors become at most three
lines on stderr and an exit code; a traceback is shown only with `-v`.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, TextIO

import rich_click as click
from click.exceptions import NoArgsIsHelpError

from casparian.exits import ExitCode, NoDaemon, UsageProblem
from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home, home_from
from casparian_shim.text import scrub

#: Error classes of other packages that mean "cannot connect" (named, so that they need not be imported here).
_CONNECTION_ERRORS = frozenset({"NoSentinel", "LogInUse", "HomeInUse"})


@dataclass(slots=True)
class App:
    """The settings of one call; commands receive it as `ctx.obj`."""

    home_given: str | None = None
    is_json: bool = False
    is_quiet: bool = False
    is_verbose: bool = False
    #: The event or time that a reading command asks about (`as_of.as_of_option`); None for now.
    as_of: str | None = None
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)

    @property
    def home(self) -> Home:
        return home_from(self.home_given, dict(os.environ))

    def say(self, text: str = "") -> None:
        """Talk: to stderr, unless --quiet. Never data."""
        if not self.is_quiet:
            print(text, file=self.err, flush=True)


def _common_options() -> list[click.Option]:
    return [
        click.Option(["--home"], metavar="DIR", help="The home to use (default: $CASPARIAN_HOME, ~/.casparian_flow)."),
        click.Option(["--json"], is_flag=True, help="Print one JSON document (NDJSON for streams) and nothing else."),
        click.Option(["--quiet"], is_flag=True, help="No talk on stderr, only errors."),
        click.Option(["-v", "--verbose"], is_flag=True, help="More talk; tracebacks of unexpected errors."),
    ]


def _absorb(ctx: click.Context) -> None:
    """Move the common options of this level into the App, so that they work before and after the command."""
    app = ctx.find_object(App) or ctx.ensure_object(App)
    ctx.obj = app
    app.home_given = ctx.params.pop("home", None) or app.home_given
    app.is_json = ctx.params.pop("json", False) or app.is_json
    app.is_quiet = ctx.params.pop("quiet", False) or app.is_quiet
    app.is_verbose = ctx.params.pop("verbose", False) or app.is_verbose


def _as_epilog(examples: str) -> str:
    """rich-click joins lines and keeps paragraphs."""
    return "\n\n".join(["Examples:", *(f"$ {line}" for line in examples.strip().splitlines())]) if examples else ""


class Command(click.RichCommand):
    """A command with the common options; give `examples=` to show them below the help."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_common_options())
        self.epilog = _as_epilog(examples) or self.epilog

    def invoke(self, ctx: click.Context) -> Any:
        _absorb(ctx)
        return super().invoke(ctx)


class Group(click.RichGroup):
    """A group with the common options; its commands are `Command`s and may be loaded on first use."""

    command_class = Command

    def __init__(
        self, *args: Any, lazy: dict[str, tuple[str, str]] | None = None, examples: str = "", **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self.params.extend(_common_options())
        self.epilog = _as_epilog(examples) or self.epilog
        #: name → (module, one line of help), imported when the command is called.
        self.lazy = lazy or {}

    def invoke(self, ctx: click.Context) -> Any:
        _absorb(ctx)
        return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *self.lazy]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command's name and line for listings; `resolve_command` loads the real one when it is called."""
        if name in self.lazy:
            return click.Command(name, short_help=self.lazy[name][1])
        return super().get_command(ctx, name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        name, command, rest = super().resolve_command(ctx, args)
        if name in self.lazy:
            command = import_module(self.lazy[name][0]).COMMANDS[name]
        return name, command, rest


Group.group_class = Group


def run(command: click.Command, arguments: list[str] | None = None) -> ExitCode:
    """Call the command line and turn whatever happens into an exit code and at most three lines."""
    app = App()
    try:
        result = command.main(args=arguments, prog_name="casparian", standalone_mode=False, obj=app)
        sys.stdout.flush()  # a short answer may not have been written yet, and a full disk is to be said here
    except (click.Abort, KeyboardInterrupt):
        return _interrupted()
    except click.ClickException as wrong:
        return _misused(wrong)
    except CasparianError as error:
        return _report(error, app)
    except (BrokenPipeError, SystemExit):  # click makes the first into the second, whatever its mode
        # The reader of our stdout left (`| head`): not an error; keep the interpreter from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except OSError as error:
        return _refused_by_the_system(error, app)
    except Exception as error:  # noqa: BLE001 -- the last line of defence: reported, exit 1, traceback with -v
        print(f"casparian: internal error: {type(error).__name__}: {scrub(str(error))}", file=sys.stderr)
        if app.is_verbose:
            traceback.print_exc()
        else:
            print("  Run again with -v for the traceback, and please report it.", file=sys.stderr)
        return ExitCode.FAILED
    return result if isinstance(result, ExitCode) else ExitCode.OK


def _interrupted() -> ExitCode:
    print("casparian: interrupted", file=sys.stderr)
    return ExitCode.INTERRUPTED


def _misused(wrong: click.ClickException) -> ExitCode:
    if isinstance(wrong, NoArgsIsHelpError):
        wrong.show(file=sys.stderr)
        return ExitCode.USAGE
    print(f"casparian: {scrub(wrong.format_message())}", file=sys.stderr)
    if isinstance(wrong, click.UsageError) and wrong.ctx is not None:
        print(f"  `{wrong.ctx.command_path} --help` shows how it is called.", file=sys.stderr)
    return ExitCode.USAGE


def _refused_by_the_system(error: OSError, app: App) -> ExitCode:
    """A full disk, missing rights: the machine's refusal, where nothing nearer could say more about it."""
    place = f"{os.fsdecode(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
    print(f"casparian: {scrub(place + (error.strerror or str(error)))}.", file=sys.stderr)
    if app.is_verbose:
        traceback.print_exception(error)
    else:
        print("  Check space and rights there; -v shows what was being done.", file=sys.stderr)
    _give_up_unwritten()
    return ExitCode.FAILED


def _give_up_unwritten() -> None:
    """What stdout still does not take is dropped, or the interpreter would complain once more at its exit."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _report(error: CasparianError, app: App) -> ExitCode:
    print(f"casparian: {scrub(error.problem, keep_newlines=True)}", file=sys.stderr)
    if error.remedy:
        print(f"  {scrub(error.remedy, keep_newlines=True)}", file=sys.stderr)
    if app.is_verbose:
        traceback.print_exception(error)
    if isinstance(error, UsageProblem):
        return ExitCode.USAGE
    if isinstance(error, NoDaemon) or type(error).__name__ in _CONNECTION_ERRORS:
        return ExitCode.NO_SENTINEL
    return ExitCode.FAILED


#: Hands the App to a command function as its first argument.
pass_app: Callable[[Callable[..., Any]], Callable[..., Any]] = click.make_pass_decorator(App)
