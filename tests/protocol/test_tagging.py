"""Which tags a file gets, and which patterns are refused."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_protocol.globs import MAX_ALTERNATIVES, BadGlob, compile_glob
from casparian_protocol.tagging import BadTag, CataloguedFile, RuleSet, TagRule, check_rule, merge_path_fields, try_rule


def rule(pattern: str, tag: str = "t", rule_id: str = "", **more: object) -> TagRule:
    return TagRule.model_validate({"id": rule_id or pattern, "name": pattern, "pattern": pattern, "tag": tag, **more})


@pytest.mark.parametrize(
    ("pattern", "path", "matches"),
    [
        ("*.csv", "a.csv", True),
        ("*.csv", "deep/down/a.csv", True),
        ("*.csv", "a.CSV", False),
        ("*.csv", ".csv", True),
        ("./x", "x", False),
        ("in/*.csv", "in/a.csv", True),
        ("in/*.csv", "in/deep/a.csv", False),
        ("in/**/*.csv", "in/a.csv", True),
        ("in/**/*.csv", "in/b/c/a.csv", True),
        ("**/b/**/d/*.csv", "a/b/x/b/d/e/d/f.csv", True),
        ("**/b/**/d/*.csv", "a/b/x/b/d/e/f.csv", False),
        ("in/**", "in/x/y", True),
        ("in/**", "in", False),
        ("in/", "in/x/y", True),
        ("**", "x/y", True),
        ("a?c", "abc", True),
        ("a?c", "a/c", False),
        ("[a-c]*.log", "b1.log", True),
        ("[!a-c]*.log", "b1.log", False),
        ("[!a]b", "/b", False),
        ("[]]x", "]x", True),
        ("a[", "a[", True),
        ("*.{csv,tsv}", "x.tsv", True),
        ("{a,b{1,2}}/x", "b2/x", True),
        ("{a,b{1,2}}/x", "b3/x", False),
        ("{,x}a", "a", True),
        (r"\*.csv", "*.csv", True),
        (r"\*.csv", "a.csv", False),
        ("*a*a*b", "xaxaxb", True),
        ("*ab*ab", "abab", True),
        ("*ab*ab", "abaab", True),
        ("*ab*ab", "ab", False),
        ("a\nb", "a\nb", True),
        ("*.csv", "a.csv\n", False),
        ("a**b", "axxb", True),
        ("a**b", "a/b", False),
    ],
)
def test_a_pattern_means_what_its_reader_expects(pattern: str, path: str, matches: bool) -> None:
    glob = compile_glob(pattern)

    assert glob.matches(path) is matches
    assert (re.compile(glob.regex, re.DOTALL).match(path) is not None) is matches
    assert bool(RuleSet([rule(pattern)]).hits(path)) is matches


PARTS = st.text("ab*?", min_size=1, max_size=6) | st.just("**")


@given(st.lists(PARTS, min_size=1, max_size=4), st.lists(st.text("ab", min_size=1, max_size=5), min_size=1, max_size=5))
def test_committing_early_loses_no_match(pattern_parts: list[str], path_parts: list[str]) -> None:
    """Held against a slow matcher that tries everything."""
    pattern_parts = [part if part == "**" else re.sub(r"\*+", "*", part) for part in pattern_parts]

    def slow(pattern: list[str], path: list[str]) -> bool:
        if not pattern:
            return not path
        if pattern[0] == "**":
            least = 1 if len(pattern) == 1 else 0
            return any(slow(pattern[1:], path[skip:]) for skip in range(least, len(path) + 1))
        part = pattern[0].replace("*", ".*").replace("?", ".")
        return bool(path) and re.fullmatch(part, path[0]) is not None and slow(pattern[1:], path[1:])

    if len(pattern_parts) == 1:
        pattern_parts = ["**", *pattern_parts] if pattern_parts[0] != "**" else pattern_parts
    while pattern_parts[-2:] == ["**", "**"]:
        pattern_parts.pop()
    assert compile_glob("/".join(pattern_parts)).matches("/".join(path_parts)) is slow(pattern_parts, path_parts)


@pytest.mark.parametrize(
    "pattern",
    ["*a" * 400 + "b", "**/a/" * 150 + "b", "{" + "a," * 60 + "b}*" * 1, "*" * 1000, "?*" * 500, "[a-z]*" * 150 + "!"],
)
def test_a_hostile_pattern_stays_cheap(pattern: str) -> None:
    glob = compile_glob(pattern)
    started = time.perf_counter()
    for path in ("a" * 4000, "a/" * 2000 + "c"):
        glob.matches(path)

    assert time.perf_counter() - started < 2


@given(st.text(max_size=40), st.text(max_size=40))
def test_any_text_is_a_pattern_or_a_bad_one(pattern: str, path: str) -> None:
    try:
        glob = compile_glob(pattern)
    except BadGlob as error:
        assert error.remedy
    else:
        glob.matches(path)


@pytest.mark.parametrize(
    "pattern",
    ["", "/abs", "{a", "{a,{b}", "{1}", "{x:%y}", "{x:%m}", "{x}/{x}", "a\\", "[z-a]", "x" * 2000, "{a,b}" * 9],
)
def test_a_pattern_that_is_not_valid_is_refused(pattern: str) -> None:
    with pytest.raises(BadGlob):
        compile_glob(pattern)
    assert MAX_ALTERNATIVES < 2**9


def test_fields_are_taken_from_the_path() -> None:
    glob = compile_glob("{client}/{date:%Y-%m-%d}/**/{desk}_*.{fix,log}")

    assert glob.field_names == ("client", "date", "desk")
    assert glob.match("acme/2024-02-29/x/y/rates_1.log") == {"client": "acme", "date": "2024-02-29", "desk": "rates"}
    assert glob.match("acme/2023-02-29/x/y/rates_1.log") is None  # no such day
    assert glob.match("acme/2024-02-29/rates.log") is None


def test_a_date_with_a_time_keeps_it() -> None:
    assert compile_glob("{at:%Y%m%dT%H%M}.log").match("x/20240131T2359.log") == {"at": "2024-01-31T23:59:00"}


def test_a_file_gets_every_tag_that_fits_the_highest_priority_first() -> None:
    rules = RuleSet(
        [
            rule("**/*.csv", "csv", "r1"),
            rule("in/**", "incoming", "r2", priority=5),
            rule("*.csv", "csv", "r3", priority=1),
            rule("*.csv", "off", "r4", enabled=False),
            rule("*.csv", "elsewhere", "r5", source_id="s2"),
            rule("*.csv", "here", "r6", source_id="s1", priority=-1),
            rule("*.fix", "fix", "r7"),
            rule("x?", "x", "r8"),
        ],
        source_id="s1",
    )

    assert rules.tags_for("in/a.csv") == [("incoming", "r2"), ("csv", "r3"), ("here", "r6")]
    assert rules.tags_for("out/a.txt") == []
    assert rules.tags_for("in/x1") == [("incoming", "r2"), ("x", "r8")]


def test_many_rules_give_the_same_answer_as_each_alone() -> None:
    patterns = ["g0?/**/a*", "**/d0*/*.log", "g1/**", "{c}/x*", "*z", "a/{b,c}/*", "**/q/*.csv", "*.csv"]
    rules = [rule(pattern, f"t{index}", f"r{index}") for index, pattern in enumerate(patterns)]
    together = RuleSet(rules)
    for path in ("g01/x/a1", "g1/d01/x.log", "a/b/z", "q/x.csv", "nothing", "x/x1", "a/q/z.csv"):
        alone = {hit for each in rules for hit in RuleSet([each]).tags_for(path)}
        assert set(together.tags_for(path)) == alone


def test_predicates_must_all_hold_and_kind_is_asked_last() -> None:
    asked: list[str] = []

    def kind() -> str:
        asked.append("kind")
        return "hl7"

    rules = RuleSet([rule("**", "big", extensions=["HL7"], kinds=["hl7"], size_min_bytes=10, size_max_bytes=99)])

    assert rules.tags_for("a.hl7", kind, 5) == []
    assert rules.tags_for("a.txt", kind, 50) == []
    assert rules.tags_for("a.hl7", kind) == []  # a size that is not known does not hold
    assert asked == []
    assert rules.tags_for("A.Hl7", kind, 50) == [("big", "**")]
    assert asked == ["kind"]


def test_trying_a_rule_says_why_not() -> None:
    tried = rule("{client}/**", "x", enabled=False, kinds=["fix"])

    verdicts = try_rule(tried, [CataloguedFile("a/b", "fix"), CataloguedFile("a/c", "text"), CataloguedFile("d")])

    assert [verdict.refusal for verdict in verdicts] == [
        "",
        "kind is text, not fix",
        "path does not match the pattern",
    ]
    assert verdicts[0].path_fields == {"client": "a"}


def test_a_tag_is_a_word_that_can_be_typed_back() -> None:
    for tag in ("", " x", "a,b", "a\nb", "a\x1b[31m", "x" * 200):
        with pytest.raises(BadTag):
            check_rule(rule("*", tag))
    assert check_rule(rule("*", "schöne daten"))


def test_fields_of_the_higher_priority_win() -> None:
    rules = RuleSet([rule("{who}/*", "a", priority=1), rule("*/{who}", "b"), rule("*/{file}", "c")])

    assert merge_path_fields(rules.hits("x/y")) == {"who": "x", "file": "y"}
