"""The docs check: links lead somewhere, commands exist, README and CI say the same, nothing private has slipped in.

Run from anywhere: `python .ci/docs_check.py`. Prints each finding with file and line; exit 1 when there is one.
"""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import rich_click as click

from casparian.main import casparian

ROOT = Path(__file__).resolve().parent.parent
_LINK = re.compile(r"\[[^\]]*\]\(([^)#\s]+)(#[^)\s]*)?\)")
_COMMAND = re.compile(r"^\s*(?:\$ )?(casparian\s.*)$")
_MACHINE_PATH = re.compile(r"(?<![\w.~-])/(?:root|work)/\w+")
_INDEX_HOST = re.compile("py" + r"pi\.org|python" + r"hosted\.org", re.IGNORECASE)
_TEST_COMMAND = re.compile(r"^pip install .*&& .*pytest.*$", re.MULTILINE)


def tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


def dead_links(page: Path, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        for target, _anchor in _LINK.findall(line):
            if "://" not in target and not target.startswith("mailto:") and not (page.parent / target).exists():
                yield f"{page.relative_to(ROOT)}:{number}: link to {target} leads nowhere"


def unknown_commands(page: Path, text: str) -> Iterator[str]:
    """Commands in fenced blocks must exist, with their options."""
    is_fenced = False
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("```"):
            is_fenced = not is_fenced
        elif is_fenced and (found := _COMMAND.match(line)) and (problem := _problem_with(found[1])):
            yield f"{page.relative_to(ROOT)}:{number}: {problem}: {found[1].strip()}"


def _problem_with(command_line: str) -> str | None:
    try:
        words = shlex.split(command_line.split(" && ")[0].split(" | ")[0], comments=True)[1:]
    except ValueError:
        return "not a command line"
    group: click.Command = casparian
    context = click.Context(casparian, info_name="casparian")
    while words:
        word = words.pop(0)
        if word.startswith("-"):
            options = {name: option for option in group.params for name in (*option.opts, *option.secondary_opts)}
            name, _, value = word.partition("=")
            if name not in options and name not in ("--help", "-h", "--version"):
                return f"unknown option {name}"
            option = options.get(name)
            if isinstance(option, click.Option) and not option.is_flag and not value and words:
                words.pop(0)
        elif isinstance(group, click.Group) and not word.startswith("["):
            try:
                _name, found, _rest = group.resolve_command(context, [word])
            except click.UsageError:
                found = None
            if found is None:
                return f"unknown command {word}"
            group = found
        # anything else is an argument
    return None


def private_words(file: Path, text: str) -> Iterator[str]:
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, what in ((_MACHINE_PATH, "a machine's path"), (_INDEX_HOST, "a package index's host")):
            if pattern.search(line):
                yield f"{file.relative_to(ROOT)}:{number}: names {what}"


def readme_and_ci_agree() -> Iterator[str]:
    readme = _TEST_COMMAND.findall((ROOT / "README.md").read_text(encoding="utf-8"))
    in_ci = _TEST_COMMAND.findall((ROOT / ".ci/run").read_text(encoding="utf-8"))
    if not readme or readme != in_ci:
        yield f"README's test command {readme} is not the one in .ci/run {in_ci}"


def main() -> int:
    findings = [*readme_and_ci_agree()]
    for page in tracked("*.md"):
        text = page.read_text(encoding="utf-8")
        findings += [*dead_links(page, text), *unknown_commands(page, text)]
    for file in tracked("*.py", "*.md", "*.toml", "*.lock", ".ci/run", "*.sql", "*.json"):
        if file != Path(__file__).resolve():
            findings += private_words(file, file.read_text(encoding="utf-8"))
    for finding in findings:
        print(finding)
    print(f"docs check: {len(findings)} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
