"""Decisions about sources, scans, tags and rules. The state holds only facts about them; the files are in the projection."""

from __future__ import annotations

from collections.abc import Mapping

from casparian_protocol.bounds import Json, Scalar
from casparian_protocol.events import (
    ContentsRecognised,
    Event,
    FileContent,
    FilesObserved,
    FilesRevised,
    FilesTagged,
    ScanFinished,
    ScanStarted,
    SourceAdded,
    SourceRemoved,
    TagRuleAdded,
    TagRuleRemoved,
)
from casparian_protocol.events.base import as_map
from casparian_protocol.packing import pack
from casparian_protocol.tagging import TagRule
from casparian_protocol.wording import command_line
from casparian_sentinel.core.answers import RuleNamed, SourceNamed
from casparian_sentinel.core.commands import (
    AddRule,
    AddSource,
    BeginScan,
    EndScan,
    ObserveFiles,
    RecogniseContents,
    RemoveRule,
    RemoveSource,
    ReviseFiles,
    TagFiles,
)
from casparian_sentinel.core.decision import DecisionBuilder, PlanFiles, PublishOutputViews
from casparian_sentinel.core.registry.parameters import refusal_of
from casparian_sentinel.core.state import Source, State

#: All rules are sent with every SCAN assignment, in one message.
_RULES_BYTES = 32 * 1024
_FACT_BYTES = 14 * 1024
_TAGGED_BY_ID = 200
_PREFIX_DIGITS = 4


def _fits(decision: DecisionBuilder, event: Event, what: str) -> bool:
    if len(pack(event.to_data())) <= _FACT_BYTES:
        return True
    decision.reject(f"{what} is larger than 16 KiB.", "Make it shorter.", code="TOO_LARGE")
    return False


def _may_give(decision: DecisionBuilder, tag: str, params: Mapping[str, Json]) -> bool:
    """Whether the registered parsers accept these parameters; rejects the command if not."""
    refused = refusal_of(decision.state, tag, params)
    if refused is not None:
        decision.reject(refused.problem, refused.remedy or "", code="INVALID_PARAMETER")
    return refused is None


# --- sources ---


def find_source(state: State, selector: str) -> Source | None:
    """Find a source by id, name, path, or an unambiguous prefix of its id."""
    for source in state.sources.values():
        if selector in (source.source_id, source.name, source.path):
            return source
    if len(selector) < _PREFIX_DIGITS:
        return None
    found = [source for key, source in state.sources.items() if key.startswith(selector)]
    return found[0] if len(found) == 1 else None


def on_change(options: Mapping[str, Scalar | list[str]]) -> str:
    """What happens to a file's earlier rows when it changes: `replace` or `append`."""
    return str(options.get("on_change") or "replace")


def add_source(decision: DecisionBuilder, command: AddSource) -> None:
    for source in decision.state.sources.values():
        if source.path == command.path:
            if on_change(source.options) != on_change(command.options):
                decision.reject(
                    f"{command.path} is the source {source.name!r} already, with --on-change {on_change(source.options)}.",
                    f"Remove it with `{command_line('source', 'remove', source.name)}`, then add it again; its files stay known.",
                    code="OTHER_OPTIONS",
                )
                return
            if source.params != dict(command.params):
                decision.reject(
                    f"{command.path} is the source {source.name!r} already, with other parameters.",
                    f"Remove it with `{command_line('source', 'remove', source.name)}`, then add it again; its files stay known.",
                    code="OTHER_OPTIONS",
                )
                return
            decision.answer(SourceNamed(source.source_id, source.name, source.path, already=True))
            return
        if source.name == command.name:
            decision.reject(
                f"The source {source.name!r} is {source.path}.", "Choose another name with --name.", code="NAME_TAKEN"
            )
            return
    added = SourceAdded(
        source_id=command.source_id,
        name=command.name,
        path=command.path,
        poll_seconds=command.poll_seconds,
        options=dict(command.options),
        params=dict(command.params),
    )
    if _may_give(decision, "", command.params) and _fits(decision, added, "The source"):
        decision.record(added)
        decision.answer(SourceNamed(command.source_id, command.name, command.path))


def remove_source(decision: DecisionBuilder, command: RemoveSource) -> None:
    source = find_source(decision.state, command.selector)
    if source is None:
        decision.reject(
            f"There is no source {command.selector!r}.", "`casparian source list` shows them.", code="NOT_FOUND"
        )
        return
    decision.record(SourceRemoved(source_id=source.source_id))
    decision.answer(SourceNamed(source.source_id, source.name, source.path))


# --- rules and tags ---


def find_rule(state: State, selector: str) -> TagRule | None:
    """Find a rule by id, name, or an unambiguous prefix of its id."""
    for rule in state.rules.values():
        if selector in (rule.id, rule.name):
            return rule
    if len(selector) < _PREFIX_DIGITS:
        return None
    found = [rule for key, rule in state.rules.items() if key.startswith(selector)]
    return found[0] if len(found) == 1 else None


def add_rule(decision: DecisionBuilder, command: AddRule) -> None:
    rule, name = command.rule, command.rule.name
    if any(known.name == name for known in decision.state.rules.values()):
        decision.reject(f"There is a rule {name!r} already.", "Remove it, or choose another name.", code="NAME_TAKEN")
        return
    if len(pack([as_map(each) for each in (*decision.state.rules.values(), rule)])) > _RULES_BYTES:
        decision.reject("All rules together exceed 32 KiB.", "Remove rules that are not needed.", code="TOO_LARGE")
        return
    added = TagRuleAdded(rule=rule)
    if _may_give(decision, rule.tag, rule.params) and _fits(decision, added, "The rule"):
        decision.record(added)
        decision.answer(RuleNamed(rule.id, name))


def remove_rule(decision: DecisionBuilder, command: RemoveRule) -> None:
    rule = find_rule(decision.state, command.selector)
    if rule is None:
        decision.reject(
            f"There is no rule {command.selector!r}.", "`casparian rule list` shows them.", code="NOT_FOUND"
        )
        return
    decision.record(TagRuleRemoved(rule_id=rule.id))
    decision.answer(RuleNamed(rule.id, rule.name))
    decision.do(PlanFiles())


def tag(decision: DecisionBuilder, command: TagFiles) -> None:
    if not command.blob and len(command.file_ids) > _TAGGED_BY_ID:
        decision.reject(f"{len(command.file_ids)} files need a blob.", "Name at most 200 by id.", code="TOO_LARGE")
        return
    tagged = FilesTagged(
        tag=command.tag,
        is_removed=command.is_removed,
        tag_source=command.tag_source,
        rule_id=command.rule_id,
        file_ids=() if command.blob else tuple(command.file_ids),
        blob=command.blob,
        files=command.files,
    )
    if _fits(decision, tagged, "The list of files") and command.files:
        decision.record(tagged)
        decision.do(PlanFiles())


def recognise(decision: DecisionBuilder, command: RecogniseContents) -> None:
    """These contents need no job. Which rows are live follows from the event (`projection.liveness`)."""
    recognised = ContentsRecognised(
        parser=command.parser,
        on_change=command.on_change,
        as_of_seq=command.position,
        contents=() if command.blob else tuple(FileContent(*pair) for pair in command.contents),
        blob=command.blob,
        files=command.files,
    )
    if command.parser not in decision.state.parsers:
        decision.reject(
            f"Parser {command.parser} is not registered.", "`casparian parser list` shows them.", "NOT_FOUND"
        )
    elif _fits(decision, recognised, "The list of files"):
        decision.record(recognised)
        decision.do(PublishOutputViews())


def revise(decision: DecisionBuilder, command: ReviseFiles) -> None:
    if command.retagged or command.rehashed:
        decision.record(FilesRevised(blob=command.blob, retagged=command.retagged, rehashed=command.rehashed))
        decision.do(PlanFiles())


# --- scans ---


def begin_scan(decision: DecisionBuilder, command: BeginScan) -> None:
    started = ScanStarted(scan_id=command.scan_id, roots=tuple(command.roots), source_id=command.source_id)
    if _fits(decision, started, "The list of roots"):
        decision.record(started)


def _is_under_way(decision: DecisionBuilder, scan_id: str) -> bool:
    if scan_id in decision.state.scans:
        return True
    decision.reject(f"No scan {scan_id} is under way here.", "Scan again; nothing was taken as vanished.", "NO_SCAN")
    return False


def observe(decision: DecisionBuilder, command: ObserveFiles) -> None:
    if not _is_under_way(decision, command.scan_id):
        return
    counts = {name: command.counts.get(name, 0) for name in ("new", "changed", "vanished", "renamed", "tagged")}
    began = decision.state.scans[command.scan_id]
    decision.record(FilesObserved(scan_id=command.scan_id, blob=command.blob, **counts), cause=began)
    decision.do(PlanFiles())


def end_scan(decision: DecisionBuilder, command: EndScan) -> None:
    if not _is_under_way(decision, command.scan_id):
        return
    facts = {name: command.facts.get(name, 0) for name in ("files", "bytes", "unchanged", "unreadable")}
    finished = ScanFinished(scan_id=command.scan_id, complete=command.complete, seconds=command.seconds, **facts)
    decision.record(finished, cause=decision.state.scans[command.scan_id])
    decision.do(PlanFiles())
