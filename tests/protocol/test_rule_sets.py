"""A set of rules, compiled for a million paths, against each rule asked alone; and what a rule may say."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from casparian_protocol.globs import BadGlob, compile_glob
from casparian_protocol.tagging import (
    MAX_TAG_CHARACTERS,
    BadTag,
    CataloguedFile,
    Hit,
    RuleSet,
    TagRule,
    check_rule,
    check_tag,
    merge_path_fields,
    try_rule,
)

PATTERNS = [
    "**",
    "*.csv",
    "**/*.csv",
    "*.fix",
    "logs/**",
    "logs/*.csv",
    "*a*",
    "{c}/*.csv",
    "{c}.fix",
    "*.{csv,fix}",
    "a*",
]
PATHS = ["a.csv", "logs/a.csv", "logs/x/b.fix", "b.fix", "a", "x/logs/a.csv", ".csv", "a.CSV", "logs/a.csv.gz"]
RULES = st.builds(
    TagRule,
    id=st.integers(0, 10**6).map(str),
    name=st.sampled_from("mno"),
    source_id=st.sampled_from([None, "s1", "s2"]),
    pattern=st.sampled_from(PATTERNS),
    tag=st.sampled_from(["fix", "csv", "other"]),
    priority=st.integers(-2, 2),
    enabled=st.booleans(),
    excludes=st.lists(st.sampled_from(["*.gz", "logs/**", "b*"]), max_size=2).map(tuple),
    extensions=st.lists(st.sampled_from([".csv", "FIX", ".gz"]), max_size=2).map(tuple),
    kinds=st.lists(st.sampled_from(["fix", "delimited"]), max_size=2).map(tuple),
    content_hashes=st.lists(st.sampled_from(["aa", "bb"]), max_size=1).map(tuple),
    size_min_bytes=st.none() | st.integers(0, 20),
    size_max_bytes=st.none() | st.integers(0, 20),
)


def alone(rule: TagRule, path: str, kind: str | None, size: int | None, digest: str | None) -> dict[str, str] | None:
    """The path fields of a rule that matches, asked in the plainest way."""
    fields = compile_glob(rule.pattern).match(path)
    holds = (
        fields is not None
        and not any(compile_glob(pattern).matches(path) for pattern in rule.excludes)
        and (not rule.extensions or any(path.lower().endswith(extension) for extension in rule.extensions))
        and (rule.size_min_bytes is None or (size is not None and size >= rule.size_min_bytes))
        and (rule.size_max_bytes is None or (size is not None and size <= rule.size_max_bytes))
        and (not rule.content_hashes or digest in rule.content_hashes)
        and (not rule.kinds or kind in rule.kinds)
    )
    return fields if holds else None


@settings(deadline=None)
@given(
    st.lists(RULES, max_size=9, unique_by=lambda rule: rule.id),
    st.sampled_from(PATHS),
    st.sampled_from([None, "fix", "delimited"]),
    st.none() | st.integers(0, 20),
    st.sampled_from([None, "aa"]),
    st.sampled_from([None, "s1"]),
)
def test_a_set_gives_what_its_rules_give_one_by_one(
    rules: list[TagRule], path: str, kind: str | None, size: int | None, digest: str | None, source: str | None
) -> None:
    ordered = sorted(
        (rule for rule in rules if rule.enabled and rule.source_id in (None, source)),
        key=lambda rule: (-rule.priority, rule.name, rule.id),
    )
    expected: list[Hit] = []
    for rule in ordered:
        fields = alone(rule, path, kind, size, digest)
        if fields is not None and rule.tag not in {hit.tag for hit in expected}:
            expected.append(Hit(rule.tag, rule.id, fields))
    found = RuleSet(rules, source)

    assert found.hits(path, kind, size, digest) == expected
    assert found.hits(path, lambda: kind, size, digest) == expected
    assert found.tags_for(path, kind, size, digest) == [(hit.tag, hit.rule_id) for hit in expected]
    assert list(found.rules) == ordered
    assert bool(found) == bool(ordered)


@settings(deadline=None)
@given(RULES, st.sampled_from(PATHS), st.sampled_from([None, "fix"]), st.none() | st.integers(0, 20))
def test_trying_a_rule_agrees_with_using_it(rule: TagRule, path: str, kind: str | None, size: int | None) -> None:
    (verdict,) = try_rule(rule, [CataloguedFile(path, kind, size, "aa")])
    fields = alone(rule, path, kind, size, "aa")

    assert (verdict.refusal == "") == (fields is not None)
    assert verdict.path_fields == (fields or {})


def test_a_kind_is_found_out_only_when_a_rule_asks_for_it_and_all_else_holds() -> None:
    asked: list[str] = []

    def kind() -> str:
        asked.append("kind")
        return "fix"

    rule = TagRule(id="1", name="r", pattern="*.csv", tag="t", kinds=("fix",), size_min_bytes=10)
    assert RuleSet([rule]).hits("a.fix", kind, 20) == []
    assert RuleSet([rule]).hits("a.csv", kind, 5) == []
    assert asked == []
    assert RuleSet([rule]).tags_for("a.csv", kind, 10) == [("t", "1")]
    assert asked == ["kind"]
    assert rule.asks_kind


@pytest.mark.parametrize(
    ("more", "candidate", "refusal"),
    [
        ({}, CataloguedFile("x/a.tsv"), "path does not match the pattern"),
        ({"excludes": ("x/**",)}, CataloguedFile("x/a.csv"), "path is excluded by x/**"),
        ({"extensions": ("tsv", ".txt")}, CataloguedFile("a.csv"), "extension is not .tsv or .txt"),
        ({"size_min_bytes": 5}, CataloguedFile("a.csv"), "size is below 5 bytes"),
        ({"size_max_bytes": 5}, CataloguedFile("a.csv", size_bytes=6), "size is above 5 bytes"),
        ({"content_hashes": ("aa",)}, CataloguedFile("a.csv"), "content hash is not one of the rule's"),
        ({"kinds": ("fix",)}, CataloguedFile("a.csv"), "kind is unknown, not fix"),
        ({"kinds": ("fix", "hl7")}, CataloguedFile("a.csv", "delimited"), "kind is delimited, not fix or hl7"),
        ({"enabled": False}, CataloguedFile("a.csv"), ""),  # tried all the same
    ],
)
def test_why_a_rule_does_not_match(more: dict[str, Any], candidate: CataloguedFile, refusal: str) -> None:
    rule = TagRule(id="1", name="r", pattern="*.csv", tag="t", **more)

    assert [verdict.refusal for verdict in try_rule(rule, [candidate])] == [refusal]


# --- what a rule may say


@pytest.mark.parametrize("tag", ["a", "fix logs", "ä", "x" * MAX_TAG_CHARACTERS, "a/b", "a:b"])
def test_a_tag_is_text_that_can_be_typed(tag: str) -> None:
    assert check_tag(tag) == tag


@pytest.mark.parametrize("tag", ["", " a", "a ", "a,b", "a\nb", "a\u202eb", "x" * (MAX_TAG_CHARACTERS + 1), "\t"])
def test_texts_that_are_not_tags(tag: str) -> None:
    with pytest.raises(BadTag) as refused:
        check_tag(tag)
    assert len(refused.value.problem) < 400
    with pytest.raises(BadTag):
        check_rule(TagRule(id="1", name="r", tag=tag))


@pytest.mark.parametrize("more", [{"pattern": "/a"}, {"excludes": ("[z-a]",)}, {"pattern": "{a"}])
def test_a_rule_whose_patterns_cannot_be_read_is_refused(more: dict[str, Any]) -> None:
    with pytest.raises(BadGlob):
        check_rule(TagRule(id="1", name="r", tag="t", **more))


@pytest.mark.parametrize(
    "more",
    [
        {"priority": 2**31},
        {"size_min_bytes": -1},
        {"id": "x" * 65},
        {"unknown": 1},
        {"params": {str(number): 1 for number in range(65)}},
        {"params": {"a": float("nan")}},
        {"pattern": "x" * 5000},
    ],
)
def test_a_rule_is_bounded(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        TagRule.model_validate({"id": "1", "name": "r", "tag": "t", **more})


def test_extensions_are_written_with_their_dot_in_lower_case() -> None:
    assert TagRule(id="1", name="r", tag="t", extensions=("CSV", ".Tsv")).extensions == (".csv", ".tsv")


def test_of_two_rules_that_name_a_field_the_higher_counts() -> None:
    hits = [Hit("a", "1", {"c": "x"}), Hit("b", "2", {"c": "y", "d": "z"})]

    assert merge_path_fields(hits) == {"c": "x", "d": "z"}
    assert merge_path_fields([]) == {}
