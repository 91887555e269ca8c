"""The parameters that a file's job gets: declared default < `parser set` < source < rule, and where each came from.

A rule counts for a file when it is the first that matches among those that give the tag the file is planned for, whether
the tag was put on by the rule, by hand or by a scan. A source counts for what lies in it; the innermost counts last.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from casparian_protocol.tagging import RuleSet
from casparian_sentinel.core.registry.parameters import effective
from casparian_sentinel.core.state import ParserLine, ParserVersion, State


class FileParameters:
    """Answers for files of one plan; what many files share is worked out once."""

    def __init__(self, state: State, line: ParserLine, version: ParserVersion) -> None:
        self._declared = version.params
        self._stored = line.params
        self._sources = sorted((each for each in state.sources.values() if each.params), key=lambda each: each.path)
        self._rules = state.rules if any(rule.params for rule in state.rules.values()) else {}
        self._rule_sets: dict[tuple[str, str], RuleSet] = {}
        self._known: dict[tuple[str, ...], tuple[dict[str, Any], dict[str, str]]] = {}

    def of(self, file: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
        """Values by name, and where those came from that are no defaults. Raises `ParameterRefused`.

        `file` has path, tag, and from the catalogue rel_path, source_id, kind, size, content_hash.
        """
        path, source_id = file["path"], file.get("source_id") or ""
        sources = [each for each in self._sources if source_id == each.source_id or path.startswith(each.path + "/")]
        rule_id = self._rule_of(file, source_id)
        place = (rule_id, *(each.source_id for each in sources))
        known = self._known.get(place)
        if known is None:
            layers: list[tuple[str, Mapping[str, Any]]] = [("set", self._stored)]
            layers += [(f"source {each.name}", each.params) for each in sources]
            if rule_id:
                rule = self._rules[rule_id]
                layers.append((f"rule {rule.name or rule_id}", rule.params))
            known = self._known[place] = effective(self._declared, layers)
        return known

    def _rule_of(self, file: Mapping[str, Any], source_id: str) -> str:
        """The id of the rule whose parameters count; empty when none does."""
        tag, rel_path = file.get("tag") or "", file.get("rel_path")
        if not self._rules or not tag or not rel_path:
            return ""
        rules = self._rule_sets.get((source_id, tag))
        if rules is None:
            of_tag = [rule for rule in self._rules.values() if rule.tag == tag]
            rules = self._rule_sets[source_id, tag] = RuleSet(of_tag, source_id or None)
        hits = rules.hits(rel_path, file.get("kind"), file.get("size"), file.get("content_hash"))
        return next((hit.rule_id for hit in hits if self._rules[hit.rule_id].params), "")
