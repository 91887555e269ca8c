"""docs/reference/cli.md, made from the commands themselves: `python -m casparian.reference > docs/reference/cli.md`."""

from __future__ import annotations

from collections.abc import Iterator

import rich_click as click

from casparian.main import casparian

_HEAD = """# The command line

Made from the commands themselves (`python -m casparian.reference`); a test keeps it current. `--home DIR`, `--json`,
`--quiet` and `-v` are accepted by every command, before or after its name. Data go to stdout, talk to stderr.

| exit code | means |
|---|---|
| 0 | success, partial success included |
| 1 | the work failed |
| 2 | wrong usage |
| 3 | no sentinel answers, or the home cannot be opened |
| 130 | interrupted |
"""
_COMMON = frozenset({"home", "json", "quiet", "verbose", "help"})


def text() -> str:
    """The whole page."""
    context = click.Context(casparian, info_name="casparian")
    return _HEAD + "".join(_sections(casparian, context, "casparian"))


def _sections(group: click.Group, context: click.Context, path: str) -> Iterator[str]:
    for name in group.list_commands(context):
        _, command, _ = group.resolve_command(context, [name])
        if command is None or command.hidden or command.name != name:  # another name is no other command
            continue
        here = f"{path} {name}"
        if isinstance(command, click.Group):
            if command.invoke_without_command:
                yield _section(command, here)
            yield from _sections(command, click.Context(command, info_name=name, parent=context), here)
        else:
            yield _section(command, here)


def _section(command: click.Command, path: str) -> str:
    arguments = [parameter for parameter in command.params if isinstance(parameter, click.Argument)]
    options = [
        parameter
        for parameter in command.params
        if isinstance(parameter, click.Option) and parameter.name not in _COMMON and not parameter.hidden
    ]
    words = [path, *(argument.make_metavar(click.Context(command)) for argument in arguments)]
    lines = [
        f"\n## {path}\n",
        (command.help or "").strip(),
        "",
        "```",
        " ".join([*words, "[OPTIONS]"] if options else words),
        "```",
    ]
    if options:
        lines += ["", "| option | meaning |", "|---|---|"]
        lines += [f"| `{_names(option)}` | {_meaning(option)} |" for option in options]
    if command.epilog:
        examples = [line.strip() for line in command.epilog.replace("\b", "").splitlines()]
        shown = [line for line in examples if line and line != "Examples:"]
        lines += ["", "```", *shown, "```"]
    return "\n".join(lines) + "\n"


def _names(option: click.Option) -> str:
    names = "/".join([", ".join(option.opts), *option.secondary_opts])
    if option.is_flag:
        return names
    return f"{names} {option.make_metavar(click.Context(casparian))}".replace("|", "\\|")


def _meaning(option: click.Option) -> str:
    said = (option.help or "").replace("|", "\\|")
    if option.show_default and option.default is not None and option.default is not False and option.default != ():
        said += f" Default: {option.default}."
    return said


if __name__ == "__main__":
    print(text(), end="")
