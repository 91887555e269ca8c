"""Tagging rules: which tags a file gets.

A rule checks the facts of a scan about a file (relative path, kind, size, content hash), never its content. `RuleSet` compiles
the rules of one source, to be fast for a million paths. Patterns are `globs`. The worker walks directories and detects kinds;
the sentinel stores tags.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from pydantic import BaseModel, ConfigDict, Field, field_validator

from casparian_protocol.bounds import Count, HashText, IdText, Int32, Json, LongText, ShortText
from casparian_protocol.errors import CasparianError
from casparian_protocol.globs import Glob, compile_glob

MAX_TAG_CHARACTERS = 128
#: Up to this many candidates are tried one by one; more are first tried as one expression.
_FEW = 3

#: A kind, or a function that returns it and is called only if a rule needs it.
Kind = str | Callable[[], str | None] | None


class BadTag(CasparianError):
    """The text is not a valid tag: it could not be typed, or would break a line of output."""

    def __init__(self, tag: str) -> None:
        super().__init__(
            f"{tag[:80]!r} is not a valid tag.",
            remedy=f"A tag has 1 to {MAX_TAG_CHARACTERS} printable characters, no commas, and no spaces at its ends.",
        )


def check_tag(tag: str) -> str:
    """The tag itself. Raises `BadTag`."""
    if not tag or len(tag) > MAX_TAG_CHARACTERS or tag != tag.strip() or "," in tag or not tag.isprintable():
        raise BadTag(tag)
    return tag


class TagRule(BaseModel):
    """A row of `scout_tagging_rules`. A file must meet all of its conditions; a condition that is left out is not checked."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: IdText
    name: ShortText
    #: None: every source.
    source_id: IdText | None = None
    #: A glob over the relative path, case-sensitive; its fields (`{client}`) become path fields.
    pattern: LongText = "**"
    tag: str
    #: Higher priorities are tried first; the first matching rule gives a file its leading tag.
    priority: Int32 = 0
    enabled: bool = True
    #: Globs over the relative path; files that match one of them are left out.
    excludes: tuple[LongText, ...] = ()
    #: Extensions such as `.hl7`, in any letter case; empty: any.
    extensions: tuple[ShortText, ...] = ()
    #: Kinds as `sniff` names them (`fix`, `delimited`, …); empty: any.
    kinds: tuple[ShortText, ...] = ()
    content_hashes: tuple[HashText, ...] = ()
    #: Parameters for the parser that takes files by this rule's tag; they override those of the parser and of the source.
    params: dict[ShortText, Json] = Field(default_factory=dict, max_length=64)
    size_min_bytes: Count | None = None
    size_max_bytes: Count | None = None

    @field_validator("extensions")
    @classmethod
    def _with_dot(cls, extensions: tuple[str, ...]) -> tuple[str, ...]:
        return tuple("." + extension.lower().removeprefix(".") for extension in extensions)

    @property
    def asks_kind(self) -> bool:
        return bool(self.kinds)


@dataclass(frozen=True, slots=True)
class Hit:
    """A rule that matched a file."""

    tag: str
    rule_id: str
    path_fields: dict[str, str]


class _Compiled:
    """A rule with its compiled glob."""

    __slots__ = ("excluded", "glob", "has_predicates", "hit", "needs_match", "quick", "rule")

    def __init__(self, rule: TagRule, glob: Glob) -> None:
        self.rule = rule
        self.glob = glob
        #: Whether the path must still be matched, because the extension alone does not decide (`**/*.csv`).
        self.needs_match = not glob.suffix_is_all
        #: The cached result of a rule without fields.
        self.hit = Hit(rule.tag, rule.id, {})
        self.quick = None if glob.field_names else re.compile(glob.regex, re.DOTALL).match
        self.excluded = [(pattern, compile_glob(pattern)) for pattern in rule.excludes]
        self.has_predicates = bool(
            rule.excludes
            or rule.extensions
            or rule.kinds
            or rule.content_hashes
            or rule.size_min_bytes is not None
            or rule.size_max_bytes is not None
        )

    def ask_path(self, rel_path: str) -> Hit | None:
        """The rule's result as far as it depends on the path."""
        if not self.needs_match:
            return self.hit
        if self.quick is not None:
            return None if self.quick(rel_path) is None else self.hit
        fields = self.glob.match(rel_path)
        return None if fields is None else Hit(self.rule.tag, self.rule.id, fields)

    def refusal(self, rel_path: str, kind: Kind, size_bytes: int | None, content_hash: str | None) -> str:
        """Why the file does not meet the conditions; empty if it does. A condition on an unknown value is not met."""
        rule = self.rule
        for pattern, glob in self.excluded:
            if glob.matches(rel_path):
                return f"path is excluded by {pattern}"
        if rule.extensions and not rel_path.lower().endswith(rule.extensions):
            return f"extension is not {' or '.join(rule.extensions)}"
        if rule.size_min_bytes is not None and (size_bytes is None or size_bytes < rule.size_min_bytes):
            return f"size is below {rule.size_min_bytes} bytes"
        if rule.size_max_bytes is not None and (size_bytes is None or size_bytes > rule.size_max_bytes):
            return f"size is above {rule.size_max_bytes} bytes"
        if rule.content_hashes and content_hash not in rule.content_hashes:
            return "content hash is not one of the rule's"
        if rule.kinds:  # last, because it may require reading the file
            known = kind() if callable(kind) else kind
            if known not in rule.kinds:
                return f"kind is {known or 'unknown'}, not {' or '.join(rule.kinds)}"
        return ""


class _Candidates:
    """Rules with the same extension (or without one), in order of priority."""

    def __init__(self, rules: list[_Compiled]) -> None:
        self.rules = rules
        self.ask_together = len(rules) > _FEW and all(rule.needs_match for rule in rules)

    @cached_property
    def together(self) -> Callable[[str], object]:
        """One regex for all rules, which decides in one step that a file matches none, the most frequent case."""
        return re.compile("|".join(f"(?:{rule.glob.regex})" for rule in self.rules), re.DOTALL).match


class RuleSet:
    """Enabled rules of one source, compiled once: `hits` for a million paths."""

    def __init__(self, rules: Iterable[TagRule], source_id: str | None = None) -> None:
        chosen = [rule for rule in rules if rule.enabled and rule.source_id in (None, source_id)]
        chosen.sort(key=lambda rule: (-rule.priority, rule.name, rule.id))
        self.rules: tuple[TagRule, ...] = tuple(chosen)
        compiled = [_Compiled(rule, compile_glob(rule.pattern)) for rule in chosen]
        suffixes = {rule.glob.suffix for rule in compiled} - {""}
        self._by_suffix = {
            suffix: _Candidates([rule for rule in compiled if rule.glob.suffix in ("", suffix)]) for suffix in suffixes
        }
        self._general = _Candidates([rule for rule in compiled if not rule.glob.suffix])

    def __bool__(self) -> bool:
        return bool(self.rules)

    def hits(
        self,
        rel_path: str,
        kind: Kind = None,
        size_bytes: int | None = None,
        content_hash: str | None = None,
    ) -> list[Hit]:
        """The rules that match, one for each tag, highest priority first."""
        candidates = self._by_suffix.get(rel_path[rel_path.rfind(".") :], self._general)
        if not candidates.rules or (candidates.ask_together and candidates.together(rel_path) is None):
            return []
        found: list[Hit] = []
        for compiled in candidates.rules:
            hit = compiled.ask_path(rel_path)
            if hit is None or (compiled.has_predicates and compiled.refusal(rel_path, kind, size_bytes, content_hash)):
                continue
            if not found or all(hit.tag != other.tag for other in found):
                found.append(hit)
        return found

    def tags_for(
        self,
        rel_path: str,
        kind: Kind = None,
        size_bytes: int | None = None,
        content_hash: str | None = None,
    ) -> list[tuple[str, str]]:
        """(tag, rule id), highest priority first; the first is the file's leading tag."""
        return [(hit.tag, hit.rule_id) for hit in self.hits(rel_path, kind, size_bytes, content_hash)]


def merge_path_fields(hits: Sequence[Hit]) -> dict[str, str]:
    """The fields of all matching rules; for a field in two rules, the higher priority wins."""
    merged: dict[str, str] = {}
    for hit in hits:
        for name, value in hit.path_fields.items():
            merged.setdefault(name, value)
    return merged


@dataclass(frozen=True, slots=True)
class CataloguedFile:
    """A file of the file index, for trying a rule before it is saved."""

    rel_path: str
    kind: str | None = None
    size_bytes: int | None = None
    content_hash: str | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of a rule for one file; `refusal` is empty when it matches."""

    rel_path: str
    refusal: str
    path_fields: dict[str, str]


def check_rule(rule: TagRule) -> TagRule:
    """The rule itself. Raises `BadGlob` or `BadTag`."""
    check_tag(rule.tag)
    for pattern in (rule.pattern, *rule.excludes):
        compile_glob(pattern)
    return rule


def try_rule(rule: TagRule, files: Iterable[CataloguedFile]) -> list[Verdict]:
    """Each file with the rule's result and, if it does not match, the reason. Disabled rules are tried too."""
    compiled = _Compiled(check_rule(rule), compile_glob(rule.pattern))
    verdicts: list[Verdict] = []
    for file in files:
        fields = compiled.glob.match(file.rel_path)
        if fields is None:
            verdicts.append(Verdict(file.rel_path, "path does not match the pattern", {}))
            continue
        refusal = compiled.refusal(file.rel_path, file.kind, file.size_bytes, file.content_hash)
        verdicts.append(Verdict(file.rel_path, refusal, {} if refusal else fields))
    return verdicts
