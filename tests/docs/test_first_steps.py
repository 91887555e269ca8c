"""The first steps of README are those of the tutorial, whose commands a test runs, and a first table takes few of them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text("utf-8")
TUTORIAL = (ROOT / "docs" / "tutorial" / "first-table.md").read_text("utf-8")
#: Commands until the first rows of a file of one's own.
FIRST_TABLE_MAX = 4


def commands_of_readme() -> list[str]:
    own = README.split("## Your own files")[1].split("\n## ")[0]
    blocks = re.findall(r"^```\n(.*?)^```$", own, re.MULTILINE | re.DOTALL)
    return [line.split("  #")[0].strip() for block in blocks for line in block.splitlines()]


def commands_of_tutorial() -> list[str]:
    return re.findall(r"^\$ (.*)$", TUTORIAL, re.MULTILINE)


def test_the_commands_of_readme_are_those_of_the_tutorial_in_its_order() -> None:
    left = iter(commands_of_tutorial())
    for command in commands_of_readme():
        wanted = "casparian sql " if command.startswith("casparian sql ") else command
        assert any(each.startswith(wanted) for each in left), command


def test_the_first_table_takes_few_commands_and_shows_what_did_not_make_it() -> None:
    commands = commands_of_tutorial()
    run = next(at for at, command in enumerate(commands, 1) if command.startswith("casparian run "))
    assert run <= FIRST_TABLE_MAX
    shown = TUTORIAL.split(f"$ {commands[run - 1]}\n")[1].split("```")[0]
    assert all(part in shown for part in ("12 rows: 10 valid", "2 rejected rows", "bytes: 701 of 701 read"))
