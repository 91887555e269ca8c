"""SQL of `casparian_protocol.queries.sources`."""

from __future__ import annotations

from casparian_protocol.queries import sources
from casparian_sentinel.projection.queries.statement import Answer, Select

_SOURCES_LISTED = """
select s.id, s.name, s.path, s.poll_interval_secs as poll_seconds,
    (select count(*) from scout_files f where f.source_id = s.id and f.status <> 'vanished')::bigint as files,
    s.on_change, s.params_json, (select max(finished_at) from cf_scans c where c.source_id = s.id) as last_scan
from scout_sources s order by s.name
"""
_SOURCES = """
select id, name, path, poll_interval_secs, enabled, on_change from scout_sources
where $named is null or name = $named or starts_with(id, $named) order by name
"""
_RULES = """
select r.id, r.name, r.pattern, r.tag, r.priority, s.name as source, r.rule_json,
    (select count(*) from scout_file_tags t where t.rule_id = r.id)::bigint as files
from scout_tagging_rules r left join scout_sources s on s.id = r.source_id order by r.priority desc, r.id
"""
_TAKEN_TAGS = """
select distinct t.topic as tag from cf_parser_topics t join cf_parsers p on p.id = t.parser_id
where ($with_retired or p.state <> 'RETIRED') and ($parser is null or p.name = $parser) order by 1
"""
_WITH_TAG = """
select count(*)::bigint as n from scout_file_tags t join scout_files f on f.id = t.file_id
where t.tag = $tag and f.status <> 'vanished'
"""
_WAITING = """
select t.tag, count(distinct f.id)::bigint as files
from scout_file_tags t join scout_files f on f.id = t.file_id
where f.status <> 'vanished' and f.content_hash is not null
    and f.content_hash not in (select content_hash from cf_processing_queue where content_hash is not null)
group by t.tag order by t.tag
"""


_NAMES = {
    "parser": "select name from cf_parsers",
    "source": "select name from scout_sources union select id from scout_sources",
    "rule": "select coalesce(name, id) as name from scout_tagging_rules union select id from scout_tagging_rules",
    "output": "select name from cf_outputs union select output from cf_schema_contracts union select output from cf_quarantine",
    "tag": """
        select topic as name from cf_parser_topics union select tag from scout_file_tags
        union select tag from scout_tagging_rules""",
    "contract": """
        select parser as name from cf_schema_contracts union select parser || '@' || version from cf_schema_contracts
        union select parser || '@' || version || '/' || output from cf_schema_contracts""",
}


def _names(query: sources.KnownNames) -> Select:
    return Select(f"select distinct name from ({_NAMES[query.kind]}) where name is not null order by name", {})


ANSWERS: dict[type, Answer] = {
    sources.SourcesListed: _SOURCES_LISTED,
    sources.Sources: _SOURCES,
    sources.SourceAddedEvents: "select data from cf_audit where type = 'SourceAdded' and subject = $source_id order by seq",
    sources.RulesListed: _RULES,
    sources.EnabledRules: "select rule_json, tag from scout_tagging_rules where enabled order by priority desc, id",
    sources.TakenTags: _TAKEN_TAGS,
    sources.FilesWithTag: _WITH_TAG,
    sources.KnownBelow: "select count(*)::bigint as n from scout_files where starts_with(path, $path)",
    sources.WaitingTags: _WAITING,
    sources.KnownNames: _names,
}
