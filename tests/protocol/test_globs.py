"""Globs against a model that tries every way, and against pathspec where both speak one language."""

from __future__ import annotations

import datetime as dt
import re
import time
from functools import cache

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from pathspec import GitIgnoreSpec

from casparian_protocol.globs import (
    MAX_ALTERNATIVES,
    MAX_PATTERN_CHARACTERS,
    BadGlob,
    compile_glob,
)

PARTS = st.text("ab.", min_size=1, max_size=4).filter(lambda part: part not in (".", ".."))
PATHS = st.lists(PARTS, min_size=1, max_size=4).map("/".join)
PATTERN_PARTS = st.lists(st.sampled_from(["a", "b", ".", "*", "?", "[ab]", "[!a]"]), min_size=1, max_size=4).map(
    "".join
)
PATTERNS = st.lists(PATTERN_PARTS | st.just("**"), min_size=1, max_size=4).map("/".join)


def model(pattern: str, path: str) -> bool:
    """Whether a pattern of `*`, `?`, classes and `**` parts matches: every choice is tried."""
    parts = pattern.split("/")
    if "/" not in pattern:
        parts = ["**", *parts]
    names = path.split("/")

    @cache
    def match(at: int, name: int) -> bool:
        if at == len(parts):
            return name == len(names)
        if parts[at] == "**":
            if at == len(parts) - 1:
                return name < len(names)  # everything below, at least one part
            return any(match(at + 1, later) for later in range(name, len(names) + 1))
        return name < len(names) and one_part(parts[at], names[name]) and match(at + 1, name + 1)

    return match(0, 0)


def one_part(pattern: str, name: str) -> bool:
    regex = re.sub(r"\*+", "[^/]*", pattern.replace(".", r"\.").replace("?", ".").replace("[!", "[^"))
    return re.fullmatch(regex, name) is not None


@given(PATTERNS, PATHS)
def test_a_pattern_matches_what_trying_every_way_finds(pattern: str, path: str) -> None:
    assert compile_glob(pattern).matches(path) == model(pattern, path)


@given(PATTERNS, PATHS)
def test_the_combined_form_gives_the_same_answer(pattern: str, path: str) -> None:
    glob = compile_glob(pattern)

    assert (re.compile(glob.regex, re.DOTALL).match(path) is not None) == glob.matches(path)


@given(PATTERNS, PATHS)
def test_what_must_end_a_path_ends_every_matching_path(pattern: str, path: str) -> None:
    glob = compile_glob(pattern)
    if glob.matches(path):
        assert path.endswith(glob.suffix)
    if glob.suffix_is_all:
        assert glob.matches(path) == path.rpartition("/")[2].endswith(glob.suffix)


@pytest.mark.parametrize(
    ("pattern", "suffix", "is_all"),
    [
        ("*.csv", ".csv", True),
        ("**/*.csv", ".csv", True),
        ("*x.csv", ".csv", False),
        ("**/*x.csv", ".csv", False),
        ("logs/*.csv", ".csv", False),
        ("*.tar.gz", ".gz", False),
        ("a.csv", "", False),
        ("*", "", False),
        ("*.{csv,tsv}", "", False),
        ("*.c?v", "", False),
        (r"\*.csv", "", False),
    ],
)
def test_when_the_extension_alone_decides(pattern: str, suffix: str, is_all: bool) -> None:
    glob = compile_glob(pattern)

    assert (glob.suffix, glob.suffix_is_all) == (suffix, is_all)


@pytest.mark.parametrize("path", ["ab", "bab", "xaxb", "aab", "axbxb", "ba", "b", "abx"])
def test_several_wildcards_of_one_part_find_their_places(path: str) -> None:
    assert compile_glob("*a*b").matches(path) == model("*a*b", path)
    assert compile_glob("?*a*").matches(path) == model("?*a*", path)


@given(st.lists(PATTERN_PARTS, min_size=2, max_size=3), PATHS)
def test_without_double_stars_pathspec_agrees(parts: list[str], path: str) -> None:
    """git's language takes directories too, so that only whole files at the pattern's depth are compared."""
    pattern = "/".join(part.replace("**", "*") for part in parts)
    path = "/".join((path.split("/") * 3)[: len(parts)])

    assert compile_glob(pattern).matches(path) == GitIgnoreSpec.from_lines(["/" + pattern]).match_file(path)


@given(PATTERN_PARTS, st.sampled_from(["a.b", "b/a", "x/y/ab", ".b"]))
def test_a_pattern_without_a_slash_is_matched_against_the_name(pattern: str, path: str) -> None:
    assume("**" not in pattern)
    assert compile_glob(pattern).matches(path) == one_part(pattern, path.rpartition("/")[2])


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("*.csv", ["a.csv", "x/y/.csv", "a b.csv"], ["a.CSV", "a.csv.gz", "csv"]),
        ("logs/*.fix", ["logs/a.fix"], ["a.fix", "x/logs/a.fix", "logs/x/a.fix"]),
        ("**/logs/*.fix", ["logs/a.fix", "x/y/logs/a.fix"], ["logs/x/a.fix"]),
        ("logs/**", ["logs/a", "logs/a/b"], ["logs", "xlogs/a"]),
        ("logs/", ["logs/a", "logs/a/b"], ["logs", "x/logs/a"]),
        ("logs/**/a", ["logs/a", "logs/x/y/a"], ["logs/xa"]),
        ("**", ["a", "a/b"], []),
        ("**/**/a", ["a", "x/a"], ["ax"]),
        ("a**b", ["ab", "axxb", "x/aab"], ["a/b"]),
        ("a//b", ["a/b"], ["a/x/b"]),
        ("{a,b}.csv", ["a.csv", "x/b.csv"], ["{a,b}.csv", "ab.csv"]),
        ("{a,b{c,d}}/x", ["a/x", "bc/x", "bd/x"], ["b/x"]),
        ("{a,}.csv", ["a.csv", ".csv"], ["b.csv"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "-x"]),
        ("[!a-c]x", ["dx"], ["ax", "/x"]),
        ("[^a]x", ["bx"], ["ax"]),
        ("[]]x", ["]x"], ["x"]),
        ("[!]]x", ["ax"], ["]x"]),
        ("[a-]x", ["ax", "-x"], ["bx"]),
        ("[+-9]x", [",x", "5x"], ["/x", "a/x2"]),
        ("[x", ["[x"], ["x"]),
        (r"\*.csv", ["*.csv"], ["a.csv"]),
        (r"a\{b,c\}", ["a{b,c}"], ["ab"]),
        (r"\[a\]", ["[a]"], ["a"]),
        ("a?c", ["abc", "a.c"], ["ac", "a/c"]),
        ("é*", ["été"[:1] + "x"], ["e"]),
        ("a b", ["a b"], ["ab"]),
        ("a\nb", ["a\nb"], ["ab"]),
    ],
)
def test_what_each_part_of_the_language_means(pattern: str, matching: list[str], other: list[str]) -> None:
    glob = compile_glob(pattern)

    assert [path for path in matching if not glob.matches(path)] == []
    assert [path for path in other if glob.matches(path)] == []


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("", f"it must have between 1 and {MAX_PATTERN_CHARACTERS} characters"),
        ("a" * (MAX_PATTERN_CHARACTERS + 1), f"it must have between 1 and {MAX_PATTERN_CHARACTERS} characters"),
        ("/a", "it is matched against paths relative to the source, so it cannot begin with `/`"),
        ("a\0b", "it cannot begin with `/`"),
        ("a\\", "it ends with a lone backslash"),
        ("{a", "a brace is never closed"),
        ("{a,{b}", "a brace is never closed"),
        ("{}", "braces hold choices (`{a,b}`) or name a field (`{client}`)"),
        ("{1a}", "braces hold choices (`{a,b}`) or name a field (`{client}`)"),
        ("{a,b}" * 8, f"its braces expand to more than {MAX_ALTERNATIVES} patterns"),
        ("[z-a]", "the range 'z-a' runs backwards"),
        ("[a/b]", "a class cannot contain `/`"),
        ("{a}/{a}", "the field 'a' appears twice"),
        ("{{d:%Y},x{d:%Y%m}}", "the field 'd' has two formats"),
        ("{d:%m-%d}", "a date format must contain %Y, and each directive only once"),
        ("{d:%Y%Y}", "a date format must contain %Y, and each directive only once"),
        ("{d:%Q}", "%Q is not one of"),
        ("{d:%Y/%m}", "cannot contain `/`"),
        ("{d:%Y%}", "% is not one of"),
    ],
)
def test_a_pattern_that_is_not_valid_is_refused_with_the_reason(pattern: str, words: str) -> None:
    with pytest.raises(BadGlob) as refused:
        compile_glob(pattern)

    assert words in refused.value.problem
    assert len(refused.value.problem) < 300
    assert "{client}" in refused.value.remedy


# --- fields

DATES = st.dates(dt.date(1000, 1, 1), dt.date(9999, 12, 31))


@given(DATES, st.sampled_from(["%Y-%m-%d", "%Y%m%d", "%Y.%j", "%d_%m_%Y"]), st.text("ab-", min_size=1, max_size=5))
def test_a_date_in_a_path_comes_back_in_iso_form(day: dt.date, date_format: str, client: str) -> None:
    glob = compile_glob("{client}/{date:" + date_format + "}.csv")

    assert glob.match(f"{client}/{day.strftime(date_format)}.csv") == {"client": client, "date": day.isoformat()}
    assert glob.field_names == ("client", "date")
    assert glob.date_formats == {"date": date_format}


@pytest.mark.parametrize(
    ("pattern", "path", "fields"),
    [
        ("{c}.csv", "x/acme.csv", {"c": "acme"}),
        ("{c}.csv", ".csv", None),  # a field has at least one character
        ("{c}-{n}.csv", "a-b-c.csv", {"c": "a", "n": "b-c"}),
        ("{c}/{d:%Y}/x", "a/2024/x", {"c": "a", "d": "2024-01-01"}),
        ("{d:%Y%m%d}.csv", "20240230.csv", None),  # 30 February
        ("{d:%Y%m%d}.csv", "20241301.csv", None),
        ("{d:%Y-%m-%dT%H%M}.csv", "2024-02-29T2359.csv", {"d": "2024-02-29T23:59:00"}),
        ("{d:%Y%%}.csv", "2024%.csv", {"d": "2024-01-01"}),
        ("{{a}.csv,{b}.tsv}", "x.tsv", {"b": "x"}),
        ("{c}", "x", {"c": "x"}),
        ("a/{c}/**", "a/x/y/z", {"c": "x"}),
        ("**/{c}/*.csv", "p/q/r/f.csv", {"c": "r"}),
    ],
)
def test_fields_are_taken_from_the_path(pattern: str, path: str, fields: dict[str, str] | None) -> None:
    assert compile_glob(pattern).match(path) == fields


# --- cost


@pytest.mark.parametrize("wild", ["*", "**/*", "?*", "[a]*", "{f}*x", "*a"])
def test_a_pattern_of_many_wildcards_costs_steps_and_not_their_powers(wild: str) -> None:
    pattern = (wild * 12 if "{" not in wild else "*a" * 20 + "{f}") + "b"
    glob = compile_glob(pattern[:MAX_PATTERN_CHARACTERS])
    began = time.process_time()

    glob.matches("a" * 4000)
    glob.matches("/".join(["a" * 40] * 90))
    assert time.process_time() - began < 2.0


@given(st.text("ab*?[]{}!^-,\\/%Yd:", max_size=24), st.text("ab/.", max_size=12))
def test_any_text_is_a_pattern_or_a_bad_one(pattern: str, path: str) -> None:
    try:
        glob = compile_glob(pattern)
    except BadGlob:
        return
    assert isinstance(glob.matches(path), bool)
