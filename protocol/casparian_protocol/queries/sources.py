"""Questions about sources, tagging rules, tags, and the names that a command line may give."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from casparian_protocol.queries.jobs import CountRow
from casparian_protocol.queries.query import Query
from casparian_protocol.queries.selections import UnclaimedTag


class SourceListed(TypedDict):
    id: str
    name: str
    path: str
    poll_seconds: float | None
    files: int
    on_change: str | None
    params_json: str | None
    last_scan: int | None


@dataclass(frozen=True)
class SourcesListed(Query[SourceListed]):
    pass


class SourceRow(TypedDict):
    id: str
    name: str
    path: str
    poll_interval_secs: float | None
    enabled: bool
    on_change: str | None


@dataclass(frozen=True)
class Sources(Query[SourceRow]):
    """`named`: only those of this name, or whose id begins so."""

    named: str | None = None


class SourceOptions(TypedDict):
    """The event that added the source."""

    data: str


@dataclass(frozen=True)
class SourceAddedEvents(Query[SourceOptions]):
    source_id: str


class RuleListed(TypedDict):
    id: str
    name: str | None
    pattern: str | None
    tag: str | None
    priority: int | None
    source: str | None
    rule_json: str
    files: int


@dataclass(frozen=True)
class RulesListed(Query[RuleListed]):
    """In the order in which they are looked at."""


class RuleRow(TypedDict):
    rule_json: str
    tag: str | None


@dataclass(frozen=True)
class EnabledRules(Query[RuleRow]):
    pass


# --- tags


class TagRow(TypedDict):
    tag: str


@dataclass(frozen=True)
class TakenTags(Query[TagRow]):
    """Tags that a parser in use takes; `parser`: that one alone. `with_retired`: whoever takes them."""

    parser: str | None = None
    with_retired: bool = False


@dataclass(frozen=True)
class FilesWithTag(Query[CountRow]):
    tag: str


@dataclass(frozen=True)
class KnownBelow(Query[CountRow]):
    """Files that are known below a path, vanished ones too."""

    path: str


@dataclass(frozen=True)
class WaitingTags(Query[UnclaimedTag]):
    """Tagged files of which nothing became, counted by tag; `casparian_protocol.waiting` judges them."""


class Name(TypedDict):
    name: str


@dataclass(frozen=True)
class KnownNames(Query[Name]):
    """Every name of a kind: parser, source, rule, output, tag or contract."""

    kind: str
