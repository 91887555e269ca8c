"""`help`: the help of a command, for whoever types the words in this order."""

from __future__ import annotations

import rich_click as click

from casparian.app import Command, ExitCode


@click.command("help", cls=Command, examples="casparian help\ncasparian help job show")
@click.argument("words", nargs=-1, metavar="[COMMAND…]")
@click.pass_context
def help_(context: click.Context, words: tuple[str, ...]) -> ExitCode:
    """Show the help of COMMAND; without one, all commands."""
    root = context.find_root()
    root.command.main([*words, "--help"], prog_name="casparian", standalone_mode=False, obj=root.obj)
    return ExitCode.OK


COMMANDS: dict[str, click.Command] = {"help": help_}
