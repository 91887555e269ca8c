"""SQL of `casparian_protocol.queries.registry`."""

from __future__ import annotations

from casparian_protocol.queries import registry
from casparian_sentinel.projection.queries.statement import Answer, Select

_VERSIONS = """
select p.name, p.version, p.state, p.registered_at, p.artifact_hash as artifact, p.kind, p.entry, p.params_json,
    p.outputs_json, p.may_drop_records,
    (select list(topic order by topic) from cf_parser_topics t where t.parser_id = p.id) as topics,
    coalesce(p.is_current, false) as is_current, p.waits_json, coalesce(p.may_be_chosen, false) as may_be_chosen,
    p.current_since, p.current_by, p.current_reason, r.paused_at, r.pause_reason, r.total_executions,
    r.successful_executions, r.last_failure_reason, r.last_run_at, b.state as breaker, b.reason as breaker_reason,
    b.consecutive_failures, b.opened_at, b.probe_at
from cf_parsers p left join cf_parser_runs r on r.parser_name = p.name
    left join cf_breakers b on b.parser_name = p.name and b.parser_version = p.version
where $name is null or p.name = $name order by p.registered_at, p.name, p.version
"""
_ARTIFACT = """
select name, version, artifact_hash, entry from cf_parsers
where case when $artifact_hash is not null then artifact_hash = $artifact_hash
    else name = $name and (version = $version or ($version = '' and state <> 'RETIRED')) end
order by registered_at desc limit 1
"""
_CONTRACTS = """
select contract_id, parser, version, output, state, contract_hash, columns, proposed_at, decided_at, decided_by, approved_by,
    carried_from, reason, schema_json
from cf_schema_contracts where ($state is null or state = $state) and ($parser is null or parser = $parser)
order by proposed_at, output
"""
_OF_OUTPUT = """
select version, schema_json, contract_hash from cf_schema_contracts where output = $output and state = 'APPROVED'
order by approved_at desc limit 1
"""
_BEFORE = """
with wanted as (select * from cf_schema_contracts where contract_id = $contract_id)
select w.schema_json as proposed, w.parser, w.version, w.output, (
    select max_by({'version': c.version, 'schema': c.schema_json}, c.proposed_at) from cf_schema_contracts c
    where c.parser = w.parser and c.output = w.output and c.state = 'APPROVED' and c.proposed_at < w.proposed_at
)::json::varchar as approved
from wanted w
"""
_PARAMETERS = """
select parser_name, name, value_json, set_at, set_by from cf_parser_params
where $parser is null or parser_name = $parser order by name
"""


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


def _names(query: registry.KnownNames) -> Select:
    return Select(f"select distinct name from ({_NAMES[query.kind]}) where name is not null order by name", {})


ANSWERS: dict[type, Answer] = {
    registry.ParserVersions: _VERSIONS,
    registry.ArtifactOf: _ARTIFACT,
    registry.ContractsListed: _CONTRACTS,
    registry.ContractOfOutput: _OF_OUTPUT,
    registry.ContractBefore: _BEFORE,
    registry.StoredParameters: _PARAMETERS,
    registry.JoinedWorkers: """
select worker_id as id, pid, host, slots, sandbox from cf_workers where state = 'joined' order by worker_id
""",
    registry.PausedParsers: """
select parser_name as name, pause_reason as reason from cf_parser_health where paused_at is not null order by name
""",
    registry.LastEventSeq: "select max(seq) as seq from cf_audit",
    registry.PoisonCount: "select count(*)::bigint as n from cf_poison_events",
    registry.SourcesListed: _SOURCES_LISTED,
    registry.Sources: _SOURCES,
    registry.SourceAddedEvents: "select data from cf_audit where type = 'SourceAdded' and subject = $source_id order by seq",
    registry.RulesListed: _RULES,
    registry.EnabledRules: "select rule_json, tag from scout_tagging_rules where enabled order by priority desc, id",
    registry.TakenTags: _TAKEN_TAGS,
    registry.FilesWithTag: _WITH_TAG,
    registry.KnownBelow: "select count(*)::bigint as n from scout_files where starts_with(path, $path)",
    registry.WaitingTags: _WAITING,
    registry.KnownNames: _names,
}
