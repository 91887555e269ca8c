"""Source as a tree: how it is decoded, what Casparian calls in it, what it imports, and the place of each mistake."""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.parsers import (
    NotAParser,
    ParserSourceError,
    find_imports,
    foreign_imports,
    parse_source,
    read_metadata,
    source_text,
)
from casparian_protocol.parsers.errors import (
    MetadataInvalid,
    MetadataMissing,
    MetadataNotLiteral,
    MetadataTwice,
    SeveralParsers,
    SourceHasSyntaxError,
    SourceNotText,
    SourceTooLarge,
    UnusableParse,
)
from casparian_protocol.parsers.source import (
    SOURCE_CHARACTERS_MAX,
    EntryPoint,
    assigned_names,
    body_of,
    find_entry_point,
)

# --- text


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"x = 1\r\ny = 2\r", "x = 1\ny = 2\n"),
        ("x = 'é'".encode(), "x = 'é'"),
        ("\ufeffx = 'é'".encode(), "x = 'é'"),
        ("# -*- coding: latin-1 -*-\nx = 'é'".encode("latin-1"), "# -*- coding: latin-1 -*-\nx = 'é'"),
        ("#!/usr/bin/python\n# vim: set fileencoding=cp1252 :\nx = '€'".encode("cp1252"), None),
        (b"", ""),
    ],
)
def test_source_is_decoded_as_python_decodes_it(data: bytes, text: str | None) -> None:
    assert source_text(data, "fix.py") == (data.decode("cp1252") if text is None else text)


@pytest.mark.parametrize(
    "data",
    [
        b"x = '\xe9'",
        b"# coding: no-such-encoding\n",
        b"\xef\xbb\xbf# coding: latin-1\n",
        "x = 1".encode("utf-16"),
        b"# coding: ascii\nx = '\xc3\xa9'",
    ],
)
def test_bytes_that_are_no_source_are_refused_with_their_place(data: bytes) -> None:
    with pytest.raises(SourceNotText) as refused:
        source_text(data, "fix.py")

    assert refused.value.problem.startswith("fix.py:1: This is not readable as Python source: ")
    assert (refused.value.filename, refused.value.line) == ("fix.py", 1)


@pytest.mark.parametrize(
    ("source", "error", "line"),
    [
        ("x = 1\ny = (", SourceHasSyntaxError, 2),
        ("def f():\nreturn 1", SourceHasSyntaxError, 2),
        ("x = 1\0", SourceNotText, 1),
        ("(" * 5000 + ")" * 5000, ParserSourceError, 1),
        ("x = " + "-" * 100_000 + "1", ParserSourceError, 1),
        ("#" * (SOURCE_CHARACTERS_MAX + 1), SourceTooLarge, 1),
    ],
)
def test_source_that_python_refuses_is_an_error_with_a_place(
    source: str, error: type[ParserSourceError], line: int
) -> None:
    with pytest.raises(error) as refused:
        parse_source(source, "fix.py")

    assert refused.value.line == line
    assert refused.value.problem.startswith(f"fix.py:{line}: ")


def test_a_syntax_error_points_at_its_column() -> None:
    with pytest.raises(SourceHasSyntaxError) as refused:
        parse_source("value = 1 +* 2\n", "fix.py")

    _said, line, caret = refused.value.problem.splitlines()
    assert line.strip() == "value = 1 +* 2"
    assert line[len(caret) - 1] in "+*"


def test_odd_escapes_in_a_docstring_cause_no_warning() -> None:
    assert parse_source('"\\d"\n', "fix.py").body


def test_a_name_with_control_characters_reaches_no_terminal() -> None:
    with pytest.raises(SourceNotText) as refused:
        source_text(b"\xff", "a\x1b[31m.py")

    assert "\x1b" not in refused.value.problem
    assert refused.value.problem.startswith("a\\x1b[31m.py:1: ")


# --- entry points


def entry(source: str) -> EntryPoint:
    return find_entry_point(ast.parse(source), "fix.py")


@pytest.mark.parametrize(
    ("source", "kind", "name", "takes_context"),
    [
        ("def parse(path): ...", "function", "parse", False),
        ("def parse(path, ctx): ...", "function", "parse", True),
        ("def parse(path, ctx=None): ...", "function", "parse", True),
        ("def parse(path, /, ctx): ...", "function", "parse", True),
        ("def parse(*args): ...", "function", "parse", True),
        ("def parse(path, *, strict=True): ...", "function", "parse", False),
        ("def parse(path, ctx, more=1): ...", "function", "parse", True),
        ("class P:\n    def parse(self, ctx): ...", "class", "P", True),
        ("class P:\n    def parse(self, *args): ...", "class", "P", True),
        (
            "class A:\n    def parse(self, ctx): ...\nclass P:\n    name = 'p'\n    def parse(self, ctx): ...",
            "class",
            "P",
            True,
        ),
        ("def parse(path): ...\nclass P:\n    name = 'p'\n    def parse(self, ctx): ...", "class", "P", True),
        ("name = 'a'\ndef parse(path): ...\nclass P:\n    def parse(self, ctx): ...", "function", "parse", False),
        ("def parse(path): ...\nclass P:\n    def parse(self, ctx): ...", "function", "parse", False),
        ("def helper(): ...\ndef parse(path): ...", "function", "parse", False),
    ],
)
def test_the_one_parser_of_a_module_is_found(source: str, kind: str, name: str, takes_context: bool) -> None:
    found = entry(source)

    assert (found.kind, found.name, found.takes_context) == (kind, name, takes_context)
    assert bool(body_of(ast.parse(source), found)) == (kind == "class")


@pytest.mark.parametrize(
    ("source", "error", "words"),
    [
        ("", NotAParser, "no function `parse` and no class with a method `parse`"),
        ("def prase(path): ...", NotAParser, "This is not a parser"),
        ("if True:\n    def parse(path): ...", NotAParser, "This is not a parser"),
        ("parse = lambda path: None", NotAParser, "This is not a parser"),
        ("def parse(path): ...\ndef parse(path): ...", SeveralParsers, "parse (line 1), parse (line 2)"),
        (
            "class A:\n  def parse(self, c): ...\nclass B:\n  def parse(self, c): ...",
            SeveralParsers,
            "A (line 1), B (line 3)",
        ),
        (
            "name = 'x'\ndef parse(path): ...\nclass P:\n    name = 'p'\n    def parse(self, c): ...",
            SeveralParsers,
            "parse (line 2), P (line 3)",
        ),
        ("async def parse(path): ...", UnusableParse, "it is async"),
        ("def parse(): ...", UnusableParse, "it needs 0 and takes 0 positional arguments"),
        ("def parse(a, b, c): ...", UnusableParse, "it needs 3 and takes 3 positional arguments"),
        ("def parse(path, *, strict): ...", UnusableParse, "it has keyword arguments without defaults"),
        ("class P:\n    def parse(self): ...", UnusableParse, "it needs 1 and takes 1 positional arguments"),
        ("class P:\n    def parse(self, a, b): ...", UnusableParse, "it needs 3 and takes 3 positional arguments"),
    ],
)
def test_why_there_is_no_one_parser(source: str, error: type[ParserSourceError], words: str) -> None:
    with pytest.raises(error) as refused:
        entry(source)

    assert words in refused.value.problem
    assert refused.value.remedy


def test_names_bound_by_assignment_are_found_wherever_they_are() -> None:
    body = ast.parse("a = b = 1\nc, (d, *e) = x\nf: int = 1\ng: int\nh.i = 1\nj[0] = 1\n[k, l] = y\nm += 1\n").body

    assert assigned_names(body) == {"a", "b", "c", "f", "k", "l"}


# --- imports


def test_imports_are_found_at_any_depth_with_their_lines() -> None:
    source = """
import os, numpy as np
from . import sibling
from .deep.er import x
def f():
    import pandas.io
    try:
        import fast
    except (ImportError, ValueError):
        import slow
    else:
        import other
match x:
    case 1:
        import matched
if typing.TYPE_CHECKING:
    import typed
else:
    import untyped
try:
    import a
except ValueError:
    import b
with open(x) as f:
    from c.d import e
"""
    found = [(one.line, one.module, one.is_relative, one.is_optional) for one in find_imports(ast.parse(source))]

    assert found == [
        (2, "numpy", False, False),
        (2, "os", False, False),
        (3, "", True, False),
        (4, "deep.er", True, False),
        (6, "pandas.io", False, False),
        (8, "fast", False, True),
        (10, "slow", False, False),
        (12, "other", False, False),
        (15, "matched", False, False),
        (17, "typed", False, True),
        (19, "untyped", False, False),
        (21, "a", False, False),
        (23, "b", False, False),
        (25, "c.d", False, False),
    ]


def test_only_what_a_lock_file_must_supply_is_foreign() -> None:
    source = "import os, pyarrow.csv, casparian_shim, numpy, helper.x\nfrom . import y\n"
    source += "try:\n    import z\nexcept ImportError:\n    z = 0"
    imports = find_imports(ast.parse(source))

    assert [one.module for one in foreign_imports(imports, {"helper"})] == ["numpy"]
    assert [one.top_level for one in foreign_imports(imports, set())] == ["helper", "numpy"]


@given(st.text(max_size=60) | st.text("def parse(ph):\n 'nameversion=,*[]{}1", max_size=60))
def test_any_text_is_read_or_refused_with_a_place(source: str) -> None:
    try:
        metadata = read_metadata(source, "fix.py")
    except ParserSourceError as refused:
        assert refused.problem.startswith(f"fix.py:{refused.line}: ")
        assert refused.line >= 1
        assert refused.remedy
    else:
        assert metadata.name


# --- metadata, each mistake with its line and what is expected

LINES = {"name": 'name = "fix"', "version": 'version = "1"'}
PARSE = "def parse(path):\n    return None\n"


def with_field(field: str, value: str) -> str:
    lines = {**LINES, field: f"{field} = {value}"}
    return "# first\n" + "\n".join(lines.values()) + "\n" + PARSE


@pytest.mark.parametrize(
    ("field", "value", "words", "expected"),
    [
        ("name", '"Fix"', "it is 'Fix'", "text that starts with a-z"),
        ("name", '""', "it is ''", "text that starts with a-z"),
        ("name", "7", "it is 7", "text that starts with a-z"),
        ("name", '"' + "a" * 64 + '"', "it is 'aaa", "at most 63 characters"),
        ("version", '"one"', "'one' is not a version", '"1.2.0" (PEP 440)'),
        ("version", '" 1"', "it is ' 1'", '"1.2.0" (PEP 440)'),
        ("version", "1.0", "it is 1.0", '"1.2.0" (PEP 440)'),
        ("version", '"1.' + "0" * 63 + '"', "it is '1.0000", "at most 64 characters"),
        ("topics", '"fix"', "it is 'fix'", "a list of tags"),
        ("topics", '["fix", "fix"]', "'fix' is not a valid tag, or appears twice", "a list of tags"),
        ("topics", '[" fix"]', "' fix' is not a valid tag", "a list of tags"),
        ("topics", '[""]', "'' is not a valid tag", "a list of tags"),
        ("topics", "[7]", "7 is not a valid tag", "a list of tags"),
        ("topics", '["a\\nb"]', "is not a valid tag", "a list of tags"),
        ("outputs", "[]", "it is []", "a dict of output name to contract"),
        ("outputs", '{"Orders": {}}', "'Orders' cannot name an output", "text that starts with a-z"),
        ("outputs", "{7: {}}", "7 cannot name an output", "text that starts with a-z"),
        ("outputs", '{"orders": []}', "the contract of orders is []", "a dict of output name to contract"),
        ("outputs", '{"orders": {"a": {1, 2}}}', "it contains a set that JSON cannot express", "text, finite numbers"),
        ("outputs", '{"orders": {"a": 1e999}}', "it contains a float that JSON cannot express", "text, finite numbers"),
        ("outputs", '{"orders": {1: 2}}', "it contains a dict that JSON cannot express", "text, finite numbers"),
        ("params", "[]", "it is []", "a dict of name to default"),
        ("params", '{"a b": 1}', "'a b' cannot name a parameter", "a dict of name to default"),
        ("params", '{"a": {"type": "int"}}', "the only type that is declared is file", "a dict of name to default"),
        ("params", '{"a": b"x"}', "it contains a bytes that JSON cannot express", "text, finite numbers"),
        ("dependencies", '"polars"', "it is 'polars'", "a list of requirements"),
        ("dependencies", '["polars >> 1"]', "'polars >> 1' is not a requirement", "a list of requirements"),
        ("dependencies", "[7]", "7 is not a requirement", "a list of requirements"),
        ("include", '"*.csv"', "it is '*.csv'", "a list of patterns below the parser's directory"),
        ("include", '["../x"]', "'../x' is not a pattern of relative names", "a list of patterns"),
        ("include", '["/x"]', "'/x' is not a pattern of relative names", "a list of patterns"),
        ("include", '["[z-a]"]', "'[z-a]' is not a pattern of relative names", "a list of patterns"),
        ("include", '["' + "a" * 241 + '"]', "is not a pattern of relative names", "a list of patterns"),
        ("include", str(["a"] * 65), "it is ['a', 'a'", "at most 64"),
        ("may_drop_records", "1", "it is 1", "True or False"),
    ],
)
def test_a_field_that_is_not_valid_names_its_line_and_what_is_expected(
    field: str, value: str, words: str, expected: str
) -> None:
    with pytest.raises(MetadataInvalid) as refused:
        read_metadata(with_field(field, value), "fix.py")

    line = {"name": 2, "version": 3}.get(field, 4)
    assert refused.value.problem.startswith(f"fix.py:{line}: `{field}")
    assert words in refused.value.problem
    assert expected in refused.value.remedy
    assert len(refused.value.problem) < 250


@pytest.mark.parametrize("field", ["name", "version", "topics", "outputs", "params", "dependencies", "include"])
@pytest.mark.parametrize("value", ["compute()", "OTHER", "[x for x in y]", "f'{x}'", "{**a}", "[*a]", "1 if x else 2"])
def test_a_field_that_would_have_to_be_run_is_refused(field: str, value: str) -> None:
    with pytest.raises(MetadataNotLiteral) as refused:
        read_metadata(with_field(field, value), "fix.py")

    line = {"name": 2, "version": 3}.get(field, 4)
    assert refused.value.problem.startswith(f"fix.py:{line}: `{field}` is not a literal")


def test_the_line_of_a_computed_part_is_named_not_that_of_its_field() -> None:
    source = (
        'outputs = {\n    "a": {\n        "columns": columns(),\n    },\n}\n' + "\n".join(LINES.values()) + "\n" + PARSE
    )
    with pytest.raises(MetadataNotLiteral) as refused:
        read_metadata(source, "fix.py")

    assert refused.value.line == 3


@pytest.mark.parametrize(
    ("source", "line", "words"),
    [
        ('name = "a"\nname = "b"\n', 2, "`name` is given twice (first in line 1)."),
        ('name = "a"\nname += "b"\n', 2, "`name` is given twice"),
        ('name = version = "1"\nversion: str = "2"\n', 2, "`version` is given twice (first in line 1)."),
        ('params = {"a": 1,\n "a": 2}\n', 2, "`params['a']` is given twice (first in line 1)."),
        ('outputs = {"x": {"columns": [], "columns": []}}\n', 1, "`outputs['columns']` is given twice"),
    ],
)
def test_a_field_that_is_given_twice_is_refused_with_both_lines(source: str, line: int, words: str) -> None:
    with pytest.raises(MetadataTwice) as refused:
        read_metadata(source + PARSE, "fix.py")

    assert refused.value.line == line
    assert words in refused.value.problem


@pytest.mark.parametrize(
    ("source", "field", "example"),
    [
        (PARSE, "name", 'name = "fix_parser"'),
        ('name = "fix"\n' + PARSE, "version", 'version = "1.0.0"'),
        ("class P:\n    name = 'fix'\n    def parse(self, ctx): ...\n", "version", 'version = "1.0.0"'),
    ],
)
def test_a_field_that_every_parser_has_is_asked_for_by_example(source: str, field: str, example: str) -> None:
    with pytest.raises(MetadataMissing) as refused:
        read_metadata(source, "fix.py")

    assert f"The parser has no `{field}`." in refused.value.problem
    assert example in refused.value.remedy
