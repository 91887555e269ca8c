"""SQL of `casparian_protocol.queries.parsers`."""

from __future__ import annotations

from casparian_protocol.queries import parsers
from casparian_sentinel.projection.queries.statement import Answer

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

ANSWERS: dict[type, Answer] = {
    parsers.ParserVersions: _VERSIONS,
    parsers.ArtifactOf: _ARTIFACT,
    parsers.ContractsListed: _CONTRACTS,
    parsers.ContractOfOutput: _OF_OUTPUT,
    parsers.ContractBefore: _BEFORE,
    parsers.StoredParameters: _PARAMETERS,
    parsers.JoinedWorkers: """
select worker_id as id, pid, host, slots, sandbox from cf_workers where state = 'joined' order by worker_id
""",
    parsers.PausedParsers: """
select parser_name as name, pause_reason as reason from cf_parser_health where paused_at is not null order by name
""",
    parsers.LastEventSeq: "select max(seq) as seq from cf_audit",
    parsers.PoisonCount: "select count(*)::bigint as n from cf_poison_events",
    parsers.StateTables: """
select table_name from information_schema.tables where table_schema = 'main' order by 1
""",
}
