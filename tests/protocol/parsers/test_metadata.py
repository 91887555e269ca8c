"""A parser's metadata are read, never run, and every mistake is named with its line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.parsers import (
    EntryNotFound,
    NotAParser,
    ParserMetadata,
    ParserParam,
    ParserSourceError,
    choose_entry,
    contracts_of,
    foreign_imports,
    read_metadata,
    source_text,
)
from casparian_protocol.parsers.errors import (
    ContractFileInvalid,
    ContractsContradict,
    MetadataInvalid,
    MetadataMissing,
    MetadataNotLiteral,
    MetadataTwice,
    SeveralParsers,
    SourceHasSyntaxError,
    SourceNotText,
    UnusableParse,
)

HEAD = 'name, version, topics = "advice", "1.2.0", ["advice"]\n'
PARSE = "def parse(path):\n    return None\n"


def read(source: str) -> ParserMetadata:
    return read_metadata(source, "advice.py")


def test_a_function_with_a_tuple_of_literals_is_a_parser() -> None:
    metadata = read(HEAD + 'outputs = {"advices": {"columns": ({"name": "id", "type": "string"},)}}\n' + PARSE)

    assert (metadata.name, metadata.version, metadata.topics) == ("advice", "1.2.0", ("advice",))
    assert metadata.outputs == {"advices": {"columns": [{"name": "id", "type": "string"}]}}
    assert (metadata.entry.kind, metadata.entry.name, metadata.entry.takes_context) == ("function", "parse", False)
    assert metadata.dependencies is None


def test_a_class_carries_its_metadata_in_its_body() -> None:
    metadata = read(
        "class Advice:\n    name: str = 'advice'\n    version = '2.0'\n"
        "    params = {'tz': 'UTC', 'map': {'type': 'file'}}\n"
        "    dependencies = ['polars>=1']\n    def parse(self, ctx):\n        yield {}\n"
    )

    assert (metadata.entry.kind, metadata.entry.name) == ("class", "Advice")
    assert metadata.params == {"tz": ParserParam(default="UTC"), "map": ParserParam(kind="file")}
    assert metadata.dependencies == ("polars>=1",)


def test_a_class_may_have_its_metadata_at_the_top_level() -> None:
    assert read(HEAD + "class P:\n    def parse(self, ctx):\n        yield {}\n").entry.kind == "class"


def test_reading_never_runs_anything() -> None:
    read("raise SystemExit\n" + HEAD + "import os\nos.abort()\n" + PARSE)


@pytest.mark.parametrize(
    ("source", "error", "line"),
    [
        ("name = 'x'\n", NotAParser, 1),
        ("def parse(path:\n", SourceHasSyntaxError, 1),
        ("x = 1\0", SourceNotText, 1),
        ("-" * 100_000 + "1", SourceNotText, 1),
        (PARSE, MetadataMissing, 1),
        ("name = 'advice'\n" + PARSE, MetadataMissing, 2),
        ("name = 'advice'\nversion = str(1)\n" + PARSE, MetadataNotLiteral, 2),
        ("name, version = load()\n" + PARSE, MetadataNotLiteral, 1),
        ("name = 'a'\nversion = '1'\nversion += '2'\n" + PARSE, MetadataTwice, 3),
        ("name = 'a'\nname = 'b'\nversion = '1'\n" + PARSE, MetadataTwice, 2),
        ("name = 'Advice'\nversion = '1'\n" + PARSE, MetadataInvalid, 1),
        ("name = 'a\\n'\nversion = '1'\n" + PARSE, MetadataInvalid, 1),
        ("name = 'advice'\nversion = 'newest'\n" + PARSE, MetadataInvalid, 2),
        ("name = 'advice'\nversion = 1.0\n" + PARSE, MetadataInvalid, 2),
        (HEAD + "outputs = {\n  'a': {},\n  'a': {},\n}\n" + PARSE, MetadataTwice, 4),
        (HEAD + "outputs = {\n  'a': {\n    'columns': make(),\n  },\n}\n" + PARSE, MetadataNotLiteral, 4),
        (HEAD + "outputs = ['a']\n" + PARSE, MetadataInvalid, 2),
        (HEAD + "outputs = {'../a': {}}\n" + PARSE, MetadataInvalid, 2),
        (HEAD + "outputs = {'a': {'columns': b'x'}}\n" + PARSE, MetadataInvalid, 2),
        (HEAD + "outputs = {'a': {'max': 1e999}}\n" + PARSE, MetadataInvalid, 2),
        (HEAD + "outputs = {[]: 1}\n" + PARSE, MetadataNotLiteral, 2),
        (HEAD + "params = {'a': {'type': 'int'}}\n" + PARSE, MetadataInvalid, 2),
        (HEAD + "dependencies = ['not a requirement!']\n" + PARSE, MetadataInvalid, 2),
        ("name, version, topics = 'a', '1', 'fix'\n" + PARSE, MetadataInvalid, 1),
        (HEAD + "async def parse(path):\n    pass\n", UnusableParse, 2),
        (HEAD + "def parse(a, b, c):\n    pass\n", UnusableParse, 2),
        (HEAD + "def parse():\n    pass\n", UnusableParse, 2),
        (HEAD + PARSE + "class A:\n    name = 'b'\n    def parse(self, ctx): pass\n", SeveralParsers, 4),
    ],
    ids=range(28),
)
def test_a_mistake_is_named_with_its_line(source: str, error: type[ParserSourceError], line: int) -> None:
    with pytest.raises(error) as caught:
        read(source)

    assert caught.value.line == line
    assert caught.value.problem.startswith(f"advice.py:{line}: ")
    assert caught.value.remedy


def test_a_syntax_error_shows_the_line_and_points_at_it_without_control_characters() -> None:
    with pytest.raises(SourceHasSyntaxError) as caught:
        read("x = (1\n\x1b[31m = 2\n")

    assert "^" in caught.value.problem
    assert "\x1b" not in caught.value.problem


def test_source_is_decoded_as_python_decodes_it() -> None:
    assert source_text("# -*- coding: latin-1 -*-\r\nx = 'é'\r\n".encode("latin-1"), "a.py").endswith("x = 'é'\n")
    with pytest.raises(SourceNotText):
        source_text(b"x = '\xe9'", "a.py")


def test_imports_are_found_wherever_they_stand() -> None:
    metadata = read(
        HEAD
        + "import os.path, numpy as np\nfrom . import helper\nfrom typing import TYPE_CHECKING\n"
        + "try:\n    import orjson\nexcept ImportError:\n    import json\n"
        + "if TYPE_CHECKING:\n    import pandas\n"
        + "def parse(path):\n    from polars.io import x\n    import own\n    import pyarrow.csv\n"
    )

    foreign = foreign_imports(metadata.imports, {"own"})
    assert [(one.module, one.line) for one in foreign] == [("numpy", 2), ("polars.io", 12)]


@given(st.text(max_size=200))
def test_no_text_does_anything_but_a_clear_error(text: str) -> None:
    try:
        read(text)
    except ParserSourceError as error:
        assert error.remedy


def test_the_only_module_with_metadata_is_the_parser() -> None:
    sources = {"helper.py": "def parse(x): pass\n", "main.py": HEAD + PARSE, "deep/other.py": HEAD + PARSE}
    assert choose_entry(sources, "advice") == "main.py"


def test_of_several_candidates_the_one_named_like_the_directory_is_the_parser() -> None:
    sources = {"a.py": HEAD + PARSE, "advice.py": HEAD + PARSE}
    assert choose_entry(sources, "advice") == "advice.py"
    with pytest.raises(EntryNotFound, match=r"a\.py, advice\.py"):
        choose_entry(sources, "other")


def test_a_contract_may_stand_beside_the_parser_but_not_contradict_it() -> None:
    literal = HEAD + "outputs = {'a': {'columns': [{'name': 'n', 'type': 'int'}]}}\n" + PARSE
    same = '{"columns": [{"type": "int64", "name": "n"}]}'
    other = '{"columns": [{"type": "string", "name": "n"}]}'

    contracts = contracts_of(read(literal), {"a.schema.json": same, "b.schema.json": other}, "advice.py")

    assert sorted(contracts) == ["a", "b"]
    with pytest.raises(ContractsContradict, match=r"advice\.py:2.*a\.schema\.json"):
        contracts_of(read(literal), {"a.schema.json": other}, "advice.py")


@pytest.mark.parametrize("text", ["", "[]", '{"a": 1, "a": 2}', '{"a": NaN}', "[" * 100_000], ids=range(5))
def test_a_contract_file_that_json_readers_would_disagree_on_is_refused(text: str) -> None:
    with pytest.raises(ContractFileInvalid):
        contracts_of(read(HEAD + PARSE), {"a.schema.json": text}, "advice.py")
