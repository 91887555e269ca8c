"""What the commands share: the home, its gateway, the streams, exit codes, and common options.

`--home`, `--json`, `--quiet` and `-v` are accepted before and after the command's name. Errors become at most three
lines on stderr and an exit code; a traceback is shown only with `-v`. The bounds of numbers on the command line are those of
the wire and the log.
"""

from __future__ import annotations

import errno
import json
import math
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from importlib import import_module
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import rich_click as click

from casparian_app.texts import NoDaemon, NoHome, UsageProblem
from casparian_protocol.errors import CasparianError, code_of
from casparian_protocol.home import Home, home_from, is_home
from casparian_shim.safe import COUNT_MAX, INT32_MAX, INT32_MIN, scrub

if TYPE_CHECKING:
    from casparian_app.gateway import Gateway
    from casparian_app.names import Kind
    from casparian_protocol.client import Client


class ExitCode(IntEnum):
    """The exit codes of every command."""

    OK = 0
    #: The work failed.
    FAILED = 1
    #: The command was called wrongly.
    USAGE = 2
    #: No daemon answers, or the home cannot be opened.
    NO_SENTINEL = 3
    INTERRUPTED = 130


@dataclass(slots=True)
class App:
    """The settings of one call; commands receive it as `ctx.obj`."""

    home_given: str | None = None
    is_json: bool = False
    #: Whether --json is anywhere on the command line, even if the line could not be parsed.
    wants_documents: bool = False
    #: Whether a document was begun on stdout.
    has_answered: bool = False
    is_quiet: bool = False
    is_verbose: bool = False
    #: The event or time that a reading command asks about (`as_of_option`); None for now.
    as_of: str | None = None
    out: TextIO = field(default_factory=lambda: sys.stdout)
    err: TextIO = field(default_factory=lambda: sys.stderr)

    @property
    def home(self) -> Home:
        return home_from(self.home_given, dict(os.environ))

    def say(self, text: str = "") -> None:
        """Print a message, never data, to stderr; --quiet silences it."""
        if not self.is_quiet:
            print(scrub(text, keep_newlines=True), file=self.err, flush=True)

    @contextmanager
    def gateway(self, *, creates_home: bool = False, is_patient: bool = False) -> Iterator[Gateway]:
        """The home's gateway, now or as of `as_of`; says when a home was made, and which event the past ends with.

        Commands that wait for jobs ask for a patient one.
        """
        from casparian_app.gateway import open_gateway

        is_new = creates_home and not is_home(self.home)
        with open_gateway(self.home, as_of=self.as_of, creates_home=creates_home, is_patient=is_patient) as gateway:
            if is_new:
                self.say(f"created a home at {self.home.root}")
            if gateway.as_of_seq is not None:
                self.say(f"as of event {gateway.as_of_seq:,}")
            yield gateway

    @contextmanager
    def daemon_client(self, timeout_seconds: float = 5.0) -> Iterator[Client]:
        """A client of the running daemon. Raises `NoHome` or `NoSentinel`: exit 3."""
        from casparian_protocol.client import Client

        if not is_home(self.home):
            raise NoHome(self.home)
        with Client.connect(self.home, timeout_seconds) as client:
            yield client

    def doubt(self, gateway: Gateway, kind: Kind, name: str | None) -> None:
        """Report a filter that names nothing known: an empty list alone would look like a good result."""
        from casparian_app.names import UnknownName, need

        try:
            need(gateway, kind, name)
        except UnknownName as refused:
            self.say(f"{refused.problem} {refused.remedy}")


def _common_options() -> list[click.Option]:
    return [
        click.Option(["--home"], metavar="DIR", help="Use this home (default: $CASPARIAN_HOME, or ~/.casparian_flow)."),
        click.Option(
            ["--json"], is_flag=True, help="Print one JSON document (NDJSON for streams) and nothing else on stdout."
        ),
        click.Option(["--quiet"], is_flag=True, help="Print only errors on stderr."),
        click.Option(
            ["-v", "--verbose"], is_flag=True, help="Print more on stderr, with tracebacks of unexpected errors."
        ),
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

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """A group's name alone prints its help; with --json it is refused, because help is not a document."""
        app = ctx.find_object(App)
        if not args and self.no_args_is_help and not ctx.resilient_parsing:  # completion parses what is typed so far
            if app is not None and app.wants_documents:
                ctx.fail("Missing command.")
            print(ctx.get_help())
            ctx.exit()
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*self.lazy, *super().list_commands(ctx)]

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command's name and line for listings; `resolve_command` loads the real one when it is called."""
        if name in self.lazy:
            return click.Command(name, short_help=self.lazy[name][1])
        return super().get_command(ctx, name)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not ctx.resilient_parsing and self.get_command(ctx, args[0]) is None and args[0][:1].isalnum():
            from casparian_app.names import hint

            whole = f"{ctx.command_path.removeprefix('casparian').strip()} {args[0]}".strip()
            meant = hint(args[0], [*self.list_commands(ctx), *self._deeper(args[0])])
            ctx.fail(f"There is no command `{whole}`. {meant}".rstrip())
        name, command, rest = super().resolve_command(ctx, args)
        if name in self.lazy:
            command = import_module(self.lazy[name][0]).COMMANDS[name]
        return name, command, rest

    def _deeper(self, name: str) -> list[str]:
        """`job retry` for `retry`: the groups below this one that have a command of this name."""
        loaded = [(group, import_module(module).COMMANDS[group]) for group, (module, _line) in self.lazy.items()]
        return [f"{group} {name}" for group, found in loaded if isinstance(found, Group) and name in found.commands]


Group.group_class = Group


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


#: Hands the App to a command function as its first argument.
pass_app: Callable[[Callable[..., Any]], Callable[..., Any]] = click.make_pass_decorator(App)


F = TypeVar("F", bound=Callable[..., Any])
#: The longest wait allowed; in milliseconds it still fits 32 bits.
_TIMEOUT_SECONDS_MAX = 1_000_000


class _Seconds(click.FloatRange):
    """A range of seconds that also refuses NaN, which passes every comparison."""

    name = "seconds"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        found = super().convert(value, param, ctx)
        if math.isnan(found):
            self.fail(f"{value!r} is not a valid number of seconds.", param, ctx)
        return found


COUNT = click.IntRange(0, COUNT_MAX)
POSITIVE = click.IntRange(1, COUNT_MAX)
INT32 = click.IntRange(INT32_MIN, INT32_MAX)
TIMEOUT = _Seconds(0.1, _TIMEOUT_SECONDS_MAX)
WAIT_SECONDS = _Seconds(0, 86_400)
POLL_SECONDS = click.IntRange(0, 86_400 * 365)


def as_of_option(command: F) -> F:
    """`--as-of` for a reading command; `App.gateway` applies it."""
    option = click.option(
        "--as-of",
        metavar="SEQ|TIME",
        expose_value=False,
        callback=_remember,
        help="Answer as of event SEQ of the log or a time, such as 2026-05-01T18:00, 18:00 or -15m (default: now).",
    )
    return option(command)


def _remember(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.ensure_object(App).as_of = value


def force_option(command: F) -> F:
    """`--force` for a command that writes a file."""
    return click.option("--force", is_flag=True, help="Overwrite an existing file.")(command)


def named_values(given: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` before the parser is known; the parser that takes a file determines the type."""
    values: dict[str, str] = {}
    for text in given:
        name, has_value, value = text.partition("=")
        if not has_value or not name:
            raise UsageProblem(f"--param {text[:80]!r} has no value.", remedy="Write --param NAME=VALUE.")
        if name in values:
            raise UsageProblem(f"--param {name[:80]} is given twice.", remedy="Give each parameter once.")
        values[name] = value
    return values
