"""Which files belong into a parser's bundle, what is left out and why, and which contracts they give."""

from __future__ import annotations

from pathlib import Path

import pytest

from casparian_protocol.contract import ContractInvalid
from casparian_protocol.parsers import (
    EntryNotFound,
    LeftOut,
    NotAParser,
    choose_entry,
    collect_parser,
    contracts_of,
    own_modules,
    read_contract_file,
    read_metadata,
)
from casparian_protocol.parsers.bundle import ENTRIES_MAX
from casparian_protocol.parsers.collect import BundleSourceRefused, IncludeMatchesNothing, collect_directory
from casparian_protocol.parsers.errors import ContractFileInvalid, ContractsContradict, MetadataMissing

HEAD = 'name, version = "fix", "1.0.0"\n'
PARSE = "def parse(path):\n    return None\n"
CONTRACT = '{"columns": [{"name": "id", "type": "int64"}]}'


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return root


# --- a directory


def test_a_directory_gives_source_and_small_formats_and_lists_what_it_left_out(tmp_path: Path) -> None:
    folder = tree(
        tmp_path / "fix",
        {
            "fix.py": HEAD + PARSE,
            "codes/venues.json": "{}",
            "codes/__init__.py": "",
            "settings.YAML": "a: 1",
            "uv.lock": "",
            "pyproject.toml": "",
            "orders.schema.json": CONTRACT,
            "README.md": "",
            "rates.csv": "1",
            "native.so": "",
            ".secret.py": "",
            "tests/test_fix.py": "",
            "__pycache__/fix.cpython-311.pyc": "",
            "venv/lib/x.py": "",
        },
    )
    found = collect_parser(folder)

    assert sorted(found.files) == [
        "codes/__init__.py",
        "codes/venues.json",
        "fix.py",
        "orders.schema.json",
        "pyproject.toml",
        "settings.YAML",
        "uv.lock",
    ]
    assert (found.entry, found.metadata.name) == ("fix.py", "fix")
    assert list(found.left_out) == [
        LeftOut(".secret.py", "hidden"),
        LeftOut("README.md", "no source, json or yaml; `include` can name it"),
        LeftOut("__pycache__/", "made by Python"),
        LeftOut("native.so", "compiled code"),
        LeftOut("rates.csv", "no source, json or yaml; `include` can name it"),
        LeftOut("tests/", "tests are not part of the bundle"),
        LeftOut("venv/", "made by tools"),
    ]


def test_what_include_names_comes_along(tmp_path: Path) -> None:
    folder = tree(
        tmp_path / "fix",
        {"fix.py": HEAD + 'include = ["rates/*.csv"]\n' + PARSE, "rates/a.csv": "1", "rates/b.txt": "2", "c.csv": "3"},
    )
    assert sorted(collect_parser(folder).files) == ["fix.py", "rates/a.csv"]


@pytest.mark.parametrize("pattern", ["rates/*.csv", ".hidden", "tests/*.py"])
def test_an_include_that_names_no_file_is_refused(tmp_path: Path, pattern: str) -> None:
    folder = tree(
        tmp_path / "fix", {"fix.py": HEAD + f'include = ["{pattern}"]\n' + PARSE, ".hidden": "", "tests/test_a.py": ""}
    )
    with pytest.raises(IncludeMatchesNothing) as refused:
        collect_parser(folder)

    assert refused.value.problem == (
        f"`include` of fix.py names '{pattern}', but no file in the parser's directory matches it."
    )


def test_compiled_code_is_not_bundled_even_when_it_is_asked_for(tmp_path: Path) -> None:
    folder = tree(tmp_path / "fix", {"fix.py": HEAD + 'include = ["*.so"]\n' + PARSE, "fast.so": ""})
    with pytest.raises(
        BundleSourceRefused, match=r"fast\.so cannot go into the bundle: compiled code is never bundled"
    ):
        collect_parser(folder)


def test_a_known_entry_is_not_searched_for(tmp_path: Path) -> None:
    folder = tree(tmp_path / "x", {"a.py": HEAD + PARSE, "b.py": HEAD.replace("fix", "other") + PARSE})

    with pytest.raises(EntryNotFound):
        collect_parser(folder)
    assert collect_parser(folder, "b.py").metadata.name == "other"


def test_a_directory_of_links_is_refused(tmp_path: Path) -> None:
    folder = tree(tmp_path / "fix", {"fix.py": HEAD + PARSE})
    (folder / "codes").symlink_to(tmp_path)
    with pytest.raises(BundleSourceRefused, match="codes cannot go into the bundle: it is a link"):
        collect_parser(folder)


def test_more_files_than_a_bundle_holds_are_refused(tmp_path: Path) -> None:
    folder = tree(tmp_path / "fix", {f"m{number}.py": "" for number in range(ENTRIES_MAX + 1)})
    with pytest.raises(BundleSourceRefused, match=f"there are more than {ENTRIES_MAX:,} files"):
        collect_directory(folder)


def test_more_bytes_than_a_bundle_holds_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian_protocol.parsers.collect.TOTAL_BYTES_MAX", 10)
    with pytest.raises(BundleSourceRefused, match=r"the files have more than 10 bytes"):
        collect_directory(tree(tmp_path / "fix", {"a.py": "#" * 6, "b.py": "#" * 6}))
    assert len(collect_directory(tree(tmp_path / "small", {"a.py": "#" * 6, "b.py": "#" * 4})).files) == 2


# --- a single file


def test_a_file_gives_itself_what_it_imports_and_its_contracts(tmp_path: Path) -> None:
    folder = tree(
        tmp_path,
        {
            "fix.py": "import json\nimport helper\nfrom package import part\n"
            + HEAD
            + 'outputs = {"orders": {"columns": [{"name": "id", "type": "int64"}]}}\n'
            + PARSE,
            "helper.py": "import deeper\n",
            "deeper.py": "import fix\n",
            "package/__init__.py": "",
            "package/part.py": "",
            "orders.schema.json": CONTRACT,
            "trades.schema.json": CONTRACT,
            "neighbour.py": "",
            "data.json": "{}",
        },
    )
    found = collect_parser(folder / "fix.py")

    assert sorted(found.files) == [
        "deeper.py",
        "fix.py",
        "helper.py",
        "orders.schema.json",
        "package/__init__.py",
        "package/part.py",
    ]
    assert (found.entry, found.left_out) == ("fix.py", ())


def test_a_file_that_declares_no_outputs_owns_every_contract_beside_it(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"fix.py": HEAD + PARSE, "a.schema.json": CONTRACT, "b.schema.json": CONTRACT})

    assert sorted(collect_parser(folder / "fix.py").files) == ["a.schema.json", "b.schema.json", "fix.py"]


def test_a_file_may_include_others(tmp_path: Path) -> None:
    folder = tree(tmp_path, {"fix.py": HEAD + 'include = ["codes/*.txt"]\n' + PARSE, "codes/a.txt": "", "b.txt": ""})

    assert sorted(collect_parser(folder / "fix.py").files) == ["codes/a.txt", "fix.py"]
    (folder / "codes" / "a.txt").unlink()
    with pytest.raises(IncludeMatchesNothing):
        collect_parser(folder / "fix.py")


@pytest.mark.parametrize(("source", "error"), [("x = 1\n", NotAParser), (PARSE, MetadataMissing), (HEAD, NotAParser)])
def test_a_file_that_is_not_a_parser_is_refused_as_such(tmp_path: Path, source: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        collect_parser(tree(tmp_path, {"fix.py": source}) / "fix.py")


def test_a_path_that_is_not_there_is_the_systems_error(tmp_path: Path) -> None:
    with pytest.raises((OSError, BundleSourceRefused)):
        collect_parser(tmp_path / "absent.py")


def test_the_modules_of_a_bundle_are_those_at_its_top() -> None:
    assert own_modules(["fix.py", "package/__init__.py", "package/part.py", "codes.json"]) == {"fix", "package"}


# --- which module is the parser


@pytest.mark.parametrize(
    ("sources", "entry"),
    [
        ({"a.py": HEAD + PARSE}, "a.py"),
        ({"a.py": HEAD + PARSE, "b.py": "x = 1", "c.json": "{}"}, "a.py"),
        ({"a.py": HEAD + PARSE, "lib.py": PARSE}, "a.py"),  # a function parse without metadata is a helper
        ({"a.py": HEAD + PARSE, "fix.py": HEAD + PARSE}, "fix.py"),
        ({"fix.py": PARSE, "b.py": "x = 1"}, "fix.py"),  # its own error is told later
        ({"fix.py": "def (", "b.py": "x = 1"}, "fix.py"),
        ({"a.py": HEAD + PARSE, "deep/fix.py": HEAD + PARSE}, "a.py"),
        ({"a.py": "class A:\n    name = 'a'\n    version = '1'\n    def parse(self, ctx): ...\n"}, "a.py"),
    ],
)
def test_the_module_that_is_the_parser(sources: dict[str, str], entry: str) -> None:
    assert choose_entry(sources, "fix") == entry


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        ({}, "no module with `name`, `version` and `parse`"),
        ({"a.py": "x = 1"}, "no module with `name`, `version` and `parse`"),
        ({"a.py": HEAD + PARSE, "b.py": HEAD + PARSE}, "a.py, b.py"),
        ({f"m{n:02}.py": HEAD + PARSE for n in range(20)}, "m09.py"),
    ],
)
def test_a_directory_that_does_not_say_it_is_refused(sources: dict[str, str], found: str) -> None:
    with pytest.raises(EntryNotFound) as refused:
        choose_entry(sources, "fix")

    assert refused.value.problem.endswith(f"{found}.")
    assert "m10.py" not in refused.value.problem


# --- contracts


def metadata_of(outputs: str) -> str:
    return HEAD + f"outputs = {outputs}\n" + PARSE


def test_the_same_contract_may_stand_in_both_places_in_other_words() -> None:
    metadata = read_metadata(metadata_of('{"a": {"columns": [{"type": "int", "name": "id"}]}}'), "fix.py")

    assert set(contracts_of(metadata, {"a.schema.json": CONTRACT, "b.schema.json": CONTRACT}, "fix.py")) == {"a", "b"}


@pytest.mark.parametrize(
    ("files", "error", "words"),
    [
        ({"a.schema.json": CONTRACT.replace("int64", "string")}, ContractsContradict, "fix.py:2: the contract of `a`"),
        ({"A.schema.json": CONTRACT}, ContractFileInvalid, "A.schema.json: 'A' cannot name an output"),
        ({".schema.json": CONTRACT}, ContractFileInvalid, "'' cannot name an output"),
        ({"b.schema.json": "{"}, ContractFileInvalid, "b.schema.json: line 1: "),
        ({"b.schema.json": "[]"}, ContractFileInvalid, "it is not a JSON object"),
        ({"b.schema.json": '{"columns": [], "columns": []}'}, ContractFileInvalid, "a key appears twice"),
        ({"b.schema.json": '{"columns": NaN}'}, ContractFileInvalid, "NaN is not JSON"),
        ({"b.schema.json": '{"a": -Infinity}'}, ContractFileInvalid, "-Infinity is not JSON"),
        ({"b.schema.json": "[" * 100_000}, ContractFileInvalid, "b.schema.json: "),
        ({"b.schema.json": '{"columns": []}'}, ContractInvalid, "The b.schema.json is not valid: columns"),
        ({"b.schema.json": " " * 2_000_001}, ContractFileInvalid, "it has more than 2,000,000 characters"),
    ],
)
def test_a_contract_file_that_cannot_be_used_is_refused(
    files: dict[str, str], error: type[Exception], words: str
) -> None:
    metadata = read_metadata(metadata_of('{"a": {"columns": [{"type": "int", "name": "id"}]}}'), "fix.py")
    with pytest.raises(error) as refused:
        contracts_of(metadata, files, "fix.py")

    assert words in str(refused.value)


def test_a_contract_in_the_source_is_refused_with_its_line() -> None:
    metadata = read_metadata(metadata_of('{"a": {"columns": [{"type": "in", "name": "id"}]}}'), "fix.py")
    with pytest.raises(ContractInvalid, match=r"^The contract of a \(fix\.py:2\) is not valid: "):
        contracts_of(metadata, {}, "fix.py")


def test_a_contract_file_is_one_object() -> None:
    assert read_contract_file(CONTRACT, "a.schema.json") == {"columns": [{"name": "id", "type": "int64"}]}
