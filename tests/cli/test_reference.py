"""The page about the command line is the command line's own."""

from collections.abc import Iterator
from pathlib import Path

import rich_click as click

from casparian.app import Group
from casparian.main import casparian
from docs.generated import commands_page

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "cli.md"


def test_the_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == commands_page(), "run: python -m docs.generated"


def test_every_command_shows_an_example() -> None:
    sections = commands_page().split("\n## ")[1:]

    assert [section.splitlines()[0] for section in sections if section.count("```") < 4] == []


#: Words with which a help may begin, besides those that give an order.
_NO_ORDERS = frozenset(
    ("a", "an", "the", "this", "that", "what", "which", "how", "every", "everything", "one", "no", "it", "its", "all")
)


def _commands(command: click.Command, path: str = "casparian") -> Iterator[tuple[str, click.Command]]:
    yield path, command
    if isinstance(command, Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            _, found, _ = command.resolve_command(context, [name])
            assert found is not None
            yield from _commands(found, f"{path} {name}")


def test_every_help_gives_an_order_and_every_option_says_what_it_does() -> None:
    for path, command in _commands(casparian):
        said = (command.help or "").split()
        assert said, path
        if not isinstance(command, Group) or command.invoke_without_command:
            assert said[0].lower().strip(".,:") not in _NO_ORDERS, f"{path}: {command.help}"
            assert not said[0].endswith(("s", "ing")) or said[0] in ("Process", "Press"), f"{path}: {command.help}"
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert option.help and option.help[0].isupper() and option.help.endswith((".", ")")), (
                    f"{path} {option.opts}: {option.help}"
                )
