"""What is accepted acts: every setting is read by the code that ships, every option is used, and the rest is refused."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import rich_click as click

from casparian.main import casparian
from casparian_protocol.contract import Contract, ContractInvalid
from casparian_protocol.settings import REMOVED, Settings
from tests.cli.calls import Caller
from tests.worker.attempts import Desk

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("cli", "console", "protocol", "sentinel", "shim", "worker")
#: They name settings to show, check or document them; that is not a use of one.
NAMING_ONLY = {"protocol/casparian_protocol/settings.py", "cli/casparian/shipped.py"}
SETTINGS = sorted(f"{group}.{key}" for group, keys in Settings().model_dump().items() for key in keys)


def shipped() -> Iterator[tuple[str, ast.Module]]:
    for folder in SHIPPED:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if name not in NAMING_ONLY:
                yield name, ast.parse(path.read_text(encoding="utf-8"))


def name_of(node: ast.expr) -> str:
    """The last name of `a.b.c`, without leading underscores."""
    return {ast.Attribute: getattr(node, "attr", ""), ast.Name: getattr(node, "id", "")}.get(type(node), "").lstrip("_")


def read_settings() -> set[str]:
    """`group.key` for each `….group.key`, for each `x.key` with `x = ….group`, and where the group's class is named."""
    classes = {type(getattr(Settings(), group)).__name__: group for group in Settings.model_fields}
    found: set[str] = set()
    for _name, tree in shipped():
        nodes = list(ast.walk(tree))
        named = {classes[node.id] for node in nodes if isinstance(node, ast.Name) and node.id in classes}
        stands_for = {group: {group} for group in Settings.model_fields}
        for node in nodes:
            if isinstance(node, ast.Assign) and name_of(node.value) in stands_for:
                for target in node.targets:
                    stands_for[name_of(node.value)].add(name_of(target))
            elif isinstance(node, ast.Assign) and isinstance(node.value, ast.Tuple):
                for target, value in zip(getattr(node.targets[0], "elts", []), node.value.elts, strict=False):
                    if name_of(value) in stands_for:
                        stands_for[name_of(value)].add(name_of(target))
        for node in nodes:
            if isinstance(node, ast.Attribute):
                groups = {group for group, names in stands_for.items() if name_of(node.value) in names}
                found |= {f"{group}.{node.attr}" for group in groups | named}
    return found


def test_every_setting_is_read_by_code_that_ships() -> None:
    assert set(SETTINGS) - read_settings() == set()


#: Options of every command; the App has them.
_COMMON = {"home", "json", "quiet", "verbose", "help"}


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    """Every command as it is called, loaded from its module."""
    context = click.Context(group)
    for name in group.list_commands(context):
        _, command, _ = group.resolve_command(context, [name])
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


def test_every_option_of_every_command_is_used_by_its_function() -> None:
    unused = []
    for name, command in commands(casparian):
        assert command.callback is not None, name
        node = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(command.callback)))).body[0]
        assert isinstance(node, ast.FunctionDef)
        used = {each.id for each in ast.walk(node) if isinstance(each, ast.Name)}
        for parameter in command.params:
            is_handed_on = parameter.name in used or node.args.kwarg is not None
            if parameter.expose_value and parameter.name not in _COMMON and not is_handed_on:
                unused.append(f"{name}: {parameter.name}")
    assert unused == []


@pytest.mark.parametrize("key", ["dir", "keep_days"])
def test_a_policy_key_that_would_do_nothing_is_refused_when_written_and_read_when_stored(key: str) -> None:
    literal = {"columns": [{"name": "a", "type": "string"}], "quarantine": {key: "x" if key == "dir" else 7}}
    with pytest.raises(ContractInvalid, match=rf"quarantine\.{key}: not implemented yet"):
        Contract.from_literal(literal)
    stored = Contract.from_literal(literal, is_stored=True)
    assert stored.literal()["quarantine"] == literal["quarantine"]


def test_a_removed_setting_is_told_and_ignored_with_its_only_value_and_refused_with_any_other(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    call = Caller(tmp_path / "home", capfd)
    told = "The setting sandbox.mode (from CASPARIAN_SANDBOX__MODE) was removed"
    assert set(REMOVED) & set(SETTINGS) == set()
    monkeypatch.setenv("CASPARIAN_SANDBOX__MODE", "auto")
    for command in (("config", "check"), ("config", "show", "sandbox")):
        answer = call(*command)
        assert (answer.code, told in answer.err) == (0, True), answer
    monkeypatch.setenv("CASPARIAN_SANDBOX__MODE", "basic")
    answer = call("config", "check")
    assert (answer.code, told in answer.err) == (1, True), answer


def test_running_without_a_sandbox_is_refused_as_an_option(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.py").write_text("")
    answer = Caller(tmp_path / "home", capfd)("run", str(tmp_path / "p.py"), str(tmp_path / "p.py"), "--no-sandbox")
    assert answer.code == 2
    assert "confined only with --sandbox" in answer.err


def test_batches_keep_the_limit_that_is_set(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.limits = {"batch_bytes": 1 << 20}
    desk.input.write_text("x")
    rows = "def parse(path):\n    for n in range(3_000): yield {'a': 'x' * 1_000, 'n': n}\n"
    desk.finished(rows)
    assert desk.table("data.rows.0.parquet").num_rows == 3_000
    assert desk.counters.batches >= 3

    other = Desk(tmp_path / "other")
    other.limits = desk.limits
    other.input.write_text("x")
    error = other.failed("def parse(path):\n    yield {'a': 'x' * (2 << 20), 'n': 1}\n").error
    assert error.code == "LIMIT_EXCEEDED"
    assert "at most 1,048,576 (limits.batch_bytes)" in error.message
