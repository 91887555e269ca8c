"""The page about a home's layout: it has every path, and what it calls safe to delete can be deleted."""

from __future__ import annotations

import re
from pathlib import Path

from casparian_protocol.home import Home
from casparian_protocol.trees import remove_tree
from tests.cli.calls import Caller

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "home.md"


def rows() -> dict[str, str]:
    """Path → what deleting it does."""
    found: dict[str, str] = {}
    for line in PAGE.read_text("utf-8").splitlines():
        if line.startswith("| `"):
            paths, *_, delete = (cell.strip() for cell in line.strip("|").split(" | "))
            found |= dict.fromkeys(re.findall(r"`([^`]+)`", paths), delete.strip(" |"))
    return found


def pattern(path: str) -> re.Pattern[str]:
    """A path with words in capitals, as an expression for what is there; a directory stands for all in it."""
    parts = (text if text.isupper() else re.escape(text) for text in re.split("([A-Z]+)", path))
    literal = "".join("[^/]+" if part.isupper() else part for part in parts)
    return re.compile(f"{literal}.*" if path.endswith("/") else literal, re.DOTALL)


def files_of(home: Path) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_symlink() or not path.is_dir())


def test_every_path_that_the_code_names_is_on_the_page() -> None:
    home = Home(Path("/h"))
    named = {
        str(value.relative_to("/h"))
        for name in vars(Home)
        if isinstance(getattr(Home, name), property) and isinstance(value := getattr(home, name), Path)
        if value.is_relative_to("/h")
    }
    paths = list(rows())
    assert len(named) > 12
    assert [
        name for name in sorted(named) if not any(path == name or path.startswith(f"{name}/") for path in paths)
    ] == []


def test_every_file_of_a_home_that_has_lived_is_on_the_page(lived: Caller) -> None:
    lived("sql", "select 1")
    patterns = [pattern(path) for path in rows()]
    files = files_of(lived.home)
    assert len(files) > 20
    assert [file for file in files if not any(each.fullmatch(file) for each in patterns)] == []


def test_what_is_called_safe_can_be_deleted(lived: Caller) -> None:
    def answers() -> list[object]:
        told = [
            lived("sql", "select * from advices order by id", "--json"),
            lived("sql", "select id, _cf_error_msg from quarantine.advices", "--json"),
            lived("jobs", "--json"),
            lived("parser", "list", "--json"),
        ]
        assert [answer.code for answer in told] == [0, 0, 0, 0]
        verified = lived("log", "verify", "--tables")
        assert verified.code == 0, verified
        return [answer.document for answer in told]

    before = answers()
    safe = [pattern(path) for path, delete in rows().items() if delete.startswith("safe")]
    deleted = [file for file in files_of(lived.home) if any(each.fullmatch(file) for each in safe)]
    for file in deleted:
        (lived.home / file).unlink()
    for name in ("artifacts", ".scratch", "run/answers"):
        if (lived.home / name).exists():
            remove_tree(lived.home / name)

    assert {"state.duckdb", "catalog.duckdb", "config.toml", "log/open-state.snapshot"} & set(deleted)
    assert answers() == before
    failed = next(job["id"] for job in lived("jobs", "--json").document if job["status"] == "FAILED")
    assert lived("job", "retry", failed).code == 0
    assert lived("process", "--workers", "1").code == 1  # the same file fails again, in an environment made anew
