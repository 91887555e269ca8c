"""What the commands share: the home, its gateway, the streams, exit codes, common options and the types of values.

`--home`, `--json`, `--quiet` and `-v` are accepted before and after the command's name. Values are refused in one form, whatever
their type (`InvalidValue`); `main` prints the refusal. The bounds of numbers are those of the wire and the log.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from importlib import import_module
from typing import TYPE_CHECKING, Any, TextIO, TypeVar

import rich_click as click
from click.types import StringParamType

from casparian_app.texts import NoHome, UsageProblem, file_in_the_way
from casparian_protocol.home import Home, home_from, is_home
from casparian_shim.safe import COUNT_MAX, INT32_MAX, INT32_MIN, is_utf8, scrub

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
        """The home of this call, which may not exist yet. Raises `NoHome` if it cannot be one."""
        home = home_from(self.home_given, dict(os.environ))
        if not is_utf8(str(home.root)):
            raise UsageProblem(
                f"{home.root} is not a valid home: its path is not UTF-8.",
                remedy="Name a directory with --home or CASPARIAN_HOME.",
            )
        if file_in_the_way(home.root) is not None:
            raise NoHome(home)
        return home

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
        _word_refusals(self)
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
        _word_refusals(self)
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


#: Hands the App to a command function as its first argument.
pass_app: Callable[[Callable[..., Any]], Callable[..., Any]] = click.make_pass_decorator(App)


F = TypeVar("F", bound=Callable[..., Any])
#: The longest wait allowed; in milliseconds it still fits 32 bits.
_TIMEOUT_SECONDS_MAX = 1_000_000


class InvalidValue(click.BadParameter):
    """A value that its option or argument refuses: `'0' is not a valid --limit: it must be a whole number, 1 or more.`"""

    def __init__(self, value: object, reason: str, param: click.Parameter | None, ctx: click.Context | None) -> None:
        super().__init__(reason, ctx, param)
        self.value = value

    def format_message(self) -> str:
        return f"{self.value!r} is not a valid {_name_of(self.param)}: {self.message}."


def _name_of(param: click.Parameter | None) -> str:
    """`--limit`; `ID` for the argument `[ID…]`."""
    if not isinstance(param, click.Argument):
        return "value" if param is None else param.opts[-1]
    name = (param.metavar or param.human_readable_name).rstrip("….")
    return name[1:-1].rstrip("….") if name.startswith("[") else name


class _Text(StringParamType):
    """Text that is UTF-8; bytes of the command line that are not reach Python as surrogates."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_utf8(str(value)):
            raise InvalidValue(value, "it is not UTF-8", param, ctx)
        return super().convert(value, param, ctx)


def _range_of(kind: click.IntRange | click.FloatRange, refused: object = "") -> str:
    """The range in words. The limit of every count is named only to those who were refused by it."""
    if kind.max == COUNT_MAX and len(str(refused)) < len(str(COUNT_MAX)):
        return f"{kind.min:,} or more"
    return f"{kind.min:,} to {kind.max:,}"


class _Whole(click.IntRange):
    """A whole number in a range, which the help also shows in words."""

    def _describe_range(self) -> str:
        return _range_of(self)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            raise InvalidValue(value, f"it must be a whole number, {_range_of(self, value)}", param, ctx) from None


class _Seconds(click.FloatRange):
    """A number of seconds in a range. NaN, which passes every comparison, is refused too."""

    def _describe_range(self) -> str:
        return _range_of(self)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            found = super().convert(value, param, ctx)
        except click.BadParameter:
            found = math.nan
        if math.isnan(found):
            raise InvalidValue(value, f"it must be a number of seconds, {_range_of(self)}", param, ctx)
        return found


class _OneOf(click.Choice[str]):
    """One of a few words."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            words = [self.normalize_choice(choice, ctx) for choice in self.choices]
            raise InvalidValue(value, f"it must be {' or '.join(words)}", param, ctx) from None


class _FilePath(click.Path):
    """The path of a file or directory."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return super().convert(value, param, ctx)
        except click.BadParameter:
            is_there, is_directory = os.path.exists(value), os.path.isdir(value)
            reason = "it is a directory" if is_directory else "it is a file" if is_there else "it does not exist"
            if is_there and (self.dir_okay if is_directory else self.file_okay):
                reason = "it cannot be read"
            raise InvalidValue(value, reason, param, ctx) from None


def _word_refusals(command: click.Command) -> None:
    """Give the options and arguments of a command types that refuse a value in our words instead of click's."""
    for param in command.params:
        match param.type:
            case click.IntRange(min=low, max=high):
                param.type = _Whole(low, high)
            case click.Choice(choices=choices, case_sensitive=is_exact):
                param.type = _OneOf(choices, case_sensitive=is_exact)
            case click.Path() as path:
                param.type = _FilePath(
                    path.exists, path.file_okay, path.dir_okay, allow_dash=path.allow_dash, path_type=path.type
                )
            case StringParamType() as text if text is not FILE_TEXT:
                param.type = _Text()


COUNT = _Whole(0, COUNT_MAX)
POSITIVE = _Whole(1, COUNT_MAX)
INT32 = _Whole(INT32_MIN, INT32_MAX)
TIMEOUT = _Seconds(0.1, _TIMEOUT_SECONDS_MAX)
WAIT_SECONDS = _Seconds(0, 86_400)
POLL_SECONDS = _Whole(0, 86_400 * 365)
#: The name of a file, or a part of its path: any bytes.
FILE_TEXT = StringParamType()


def accept_option(command: F) -> F:
    """`--accept-weaker-sandbox` for a command that starts a daemon."""
    option = click.option(
        "--accept-weaker-sandbox",
        is_flag=True,
        help="Run parsers even if this machine cannot confine them as sandbox.minimum demands; the log records it.",
    )
    return option(command)


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
