-- The tables computed from the event log (event-log.md, "Tables"). They are disposable: a change here changes the schema's
-- fingerprint, and the projection is rebuilt from the log. There are no keys, because the projector is the only writer. The indexes
-- at the end serve its look-ups in tables that grow with history. All times are UTC.

-- `applied_seq` is ahead of `seq` while a batch with a poison event is applied in parts.
create table cf_position (
    seq ubigint, batch_no ubigint, segment ubigint, byte_offset ubigint, sha256 varchar, schema_fingerprint varchar,
    boot_id varchar, is_clean boolean, applied_seq ubigint
);

-- Events that cannot be applied to the other tables. `blob`: the blob whose content was missing.
create table cf_poison_events (seq ubigint, ts timestamp, type varchar, error varchar, blob varchar);

create table scout_sources (
    id varchar, name varchar, source_type varchar, path varchar, poll_interval_secs double, enabled boolean,
    added_at timestamp, on_change varchar, params_json varchar
);

-- status: pending, tagged, queued, processing, processed, failed, cancelled or vanished.
create table scout_files (
    id varchar using compression uncompressed, source_id varchar using compression uncompressed, path varchar using compression uncompressed, rel_path varchar, size bigint, mtime bigint, device ubigint,
    inode ubigint, content_hash varchar using compression uncompressed, status varchar using compression uncompressed, tag varchar, tag_source varchar, rule_id varchar, kind varchar,
    path_fields varchar, first_seen timestamp, last_changed timestamp, last_scan_id varchar, content_seq ubigint
);

create table scout_file_tags (file_id varchar, tag varchar, tag_source varchar, rule_id varchar, tagged_at timestamp);

create table scout_tagging_rules (
    id varchar, name varchar, source_id varchar, pattern varchar, tag varchar, priority integer, enabled boolean,
    rule_json varchar
);

create table cf_scans (
    id varchar, source_id varchar, job_id varchar, roots varchar, started_at timestamp, finished_at timestamp,
    is_complete boolean, files bigint, bytes bigint, new bigint, changed bigint, vanished bigint, renamed bigint,
    unchanged bigint, unreadable bigint, seconds double
);

create table cf_parsers (
    id varchar, name varchar, version varchar, source_hash varchar, source_code varchar, registered_at timestamp,
    artifact_hash varchar, lock_hash varchar, signed_by varchar, state varchar, kind varchar, entry varchar,
    params_json varchar, outputs_json varchar, findings_json varchar, registered_by varchar,
    may_drop_records boolean, is_current boolean, waits_json varchar, may_be_chosen boolean, current_since timestamp, current_reason varchar,
    current_by varchar
);

create table cf_parser_params (parser_name varchar, name varchar, value_json varchar, set_at timestamp, set_by varchar);

create table cf_output_versions (
    output varchar, version integer, status varchar, parser varchar, contract_hash varchar, contracts_json varchar,
    created_at timestamp, live_since timestamp
);

create table cf_parser_topics (parser_id varchar, parser_name varchar, topic varchar);

create table cf_parser_runs (
    parser_name varchar, paused_at timestamp, pause_reason varchar, last_failure_reason varchar, total_executions bigint,
    successful_executions bigint, last_run_at timestamp
);

create table cf_breakers (
    parser_name varchar, parser_version varchar, state varchar, consecutive_failures bigint, opened_at timestamp,
    probe_at timestamp, reason varchar
);

create table cf_schema_contracts (
    contract_id varchar, scope_id varchar, parser varchar, version varchar, output varchar, state varchar,
    schema_json varchar, contract_hash varchar, logic_hash varchar, quarantine_config_json varchar, columns integer,
    proposed_at timestamp, approved_at timestamp, approved_by varchar, decided_at timestamp, decided_by varchar,
    reason varchar, carried_from varchar
);

create table cf_quarantine_policies (parser varchar, output varchar, policy_json varchar, set_at timestamp, set_by varchar);

-- Jobs are in two tables, so that writing a batch of events costs the same after a million ended jobs as after ten. Jobs that may
-- still change (open ones, and failures that are not closed) are few, and their rows are replaced; settled ones (completed,
-- cancelled, or failed and closed) are appended, and changed again only by a retry.
create table cf_unsettled_jobs (
    id varchar using compression uncompressed, job_type varchar using compression uncompressed, plugin_name varchar using compression uncompressed, parser_version varchar using compression uncompressed, file_version_id varchar using compression uncompressed,
    input_file varchar using compression uncompressed, status varchar using compression uncompressed, priority integer, retry_count integer, not_before timestamp, lease_epoch ubigint,
    worker_id varchar using compression uncompressed, queued_at timestamp, claim_time timestamp, end_time timestamp, progress_pct double,
    items_total bigint, items_processed bigint, items_failed bigint, quarantine_rows bigint, output_path varchar,
    output_size_bytes bigint, error_code varchar, error_message varchar using compression uncompressed, error_fingerprint varchar,
    pipeline_run_id varchar, logical_date timestamp, selection_snapshot_hash varchar, backtest_data varchar,
    updated_at timestamp,
    content_hash varchar using compression uncompressed, job_key varchar, artifact_hash varchar using compression uncompressed, topic varchar, attempt integer, losses integer,
    rows_valid bigint, rows_skipped bigint, rows_received bigint, rows_without_source_row bigint, seconds double,
    error_exception varchar, error_trace varchar, error_context varchar, sandbox varchar, source_hash varchar,
    accounting_json varchar, skipped_json varchar, damaged_json varchar, spec_json varchar using compression uncompressed, reason varchar using compression uncompressed,
    rerun_of varchar, sequence ubigint, queued_seq ubigint, replayed_at timestamp, closed_at timestamp,
    closed_by varchar, close_reason varchar, records_given bigint, records_unaccounted bigint, records_json varchar,
    started_at timestamp, data_bytes bigint
);

create table cf_settled_jobs as select * from cf_unsettled_jobs where false;

create view cf_processing_queue as from cf_unsettled_jobs union all from cf_settled_jobs;


create table cf_job_progress (
    job_id varchar, worker_id varchar, lease_epoch ubigint, unit varchar, done bigint, total bigint, throughput double,
    eta_seconds bigint, payload_json varchar, updated_at timestamp
);

create table cf_processing_history (
    input_hash varchar, parser_name varchar, parser_version varchar, artifact_hash varchar, contract_hash varchar,
    params_hash varchar, generation integer, job_id varchar, processed_at timestamp
);

create table cf_output_parts (
    output varchar, version integer, kind varchar, path varchar, job_id varchar, rows bigint, bytes bigint,
    digest varchar, contract_hash varchar, has_raw_encoding boolean, parser varchar, parser_version varchar,
    committed_at timestamp, is_damaged boolean, sequence ubigint
);

-- Which rows are live (docs/explanation/which-rows-are-live.md): one row for each commit of a PARSE job, and the contents with
-- which each file was last processed.
create table cf_commits (
    job_id varchar using compression uncompressed, parser varchar using compression uncompressed, parser_version varchar, file_id varchar, input_file varchar, content_hash varchar using compression uncompressed,
    generation integer, rows bigint, quarantined bigint, committed_at timestamp, sequence ubigint, is_live boolean,
    live_since timestamp, live_since_seq ubigint, superseded_by varchar using compression uncompressed, superseded_at timestamp, superseded_seq ubigint
);

create table cf_processed_contents (
    parser varchar using compression uncompressed, file_id varchar using compression uncompressed, content_hash varchar using compression uncompressed, job_id varchar using compression uncompressed, as_of_seq ubigint, since_seq ubigint
);

create table cf_quarantine_counts (
    job_id varchar, output varchar, version integer, code varchar, column_name varchar, rows bigint, files varchar,
    parser varchar, parser_version varchar, input_file varchar, is_committed boolean, resolved_by varchar,
    recorded_at timestamp
);

create table cf_dead_letter (
    original_job_id varchar, plugin_name varchar, error_message varchar, retry_count integer, moved_at timestamp,
    reason varchar, replayed_at timestamp
);

create table cf_failures (
    fingerprint varchar, job_id varchar, parser varchar, parser_version varchar, file varchar, code varchar,
    exception varchar, message varchar, trace varchar, "at" timestamp, context varchar, attempt integer
);

create table cf_workers (
    worker_id varchar, host varchar, pid bigint, slots integer, labels varchar, version varchar, sandbox varchar,
    state varchar, joined_at timestamp, left_at timestamp, reason varchar
);

create table cf_audit (
    seq ubigint, ts timestamp, type varchar, actor varchar, subject varchar, cause_seq ubigint, request varchar, data varchar
);

create index unsettled_jobs_by_id on cf_unsettled_jobs (id);
create index settled_jobs_by_id on cf_settled_jobs (id);
create index files_by_id on scout_files (id);
create index files_by_content on scout_files (content_hash);
create index commits_by_content on cf_commits (content_hash);
create index processed_by_file on cf_processed_contents (file_id);
create index processed_by_content on cf_processed_contents (content_hash);

create view cf_output_files as
    select p.*, coalesce(c.is_live, true) as is_live, c.live_since, c.live_since_seq, c.superseded_by, c.superseded_at,
        c.superseded_seq
    from cf_output_parts p left join cf_commits c on c.job_id = p.job_id;

-- The version of each output that queries see. Logs older than OutputVersionCreated have only version 1.
create view cf_live_outputs as
    select output, version, contract_hash from cf_output_versions where status = 'live'
    union all
    select f.output, 1 as version, any_value(f.contract_hash) as contract_hash from cf_output_parts f
    where f.output not in (select output from cf_output_versions) group by f.output;

create view cf_outputs as
    select f.output as name, max(f.parser) as owner_parser, any_value(v.version) as live_version,
        least(coalesce(sum(rows) filter (kind = 'data' and is_live), 0), 9223372036854775807)::bigint as rows,
        least(coalesce(sum(bytes) filter (kind = 'data' and is_live), 0), 9223372036854775807)::bigint as bytes,
        count(*) filter (kind = 'data' and is_live) as files,
        least(coalesce(sum(rows) filter (kind = 'quarantine' and is_live), 0), 9223372036854775807)::bigint as quarantined_rows,
        least(coalesce(sum(rows) filter (kind = 'data' and not is_live), 0), 9223372036854775807)::bigint as superseded_rows,
        count(*) filter (kind = 'data' and not is_live) as superseded_files,
        min(committed_at) as first_commit, max(committed_at) as last_commit
    from cf_output_files f join cf_live_outputs v on v.output = f.output and v.version = f.version group by f.output;

create view cf_quarantine as
    select q.*, q.is_committed and coalesce(not c.is_live, false) as is_superseded
    from cf_quarantine_counts q left join cf_commits c on c.job_id = q.job_id;

create view cf_parser_health as
    select r.parser_name, coalesce(max(b.consecutive_failures), 0)::bigint as consecutive_failures,
        coalesce(any_value(r.paused_at), min(b.opened_at) filter (b.state <> 'closed')) as paused_at,
        coalesce(any_value(r.pause_reason), min(b.reason) filter (b.state <> 'closed')) as pause_reason,
        any_value(r.last_failure_reason) as last_failure_reason, any_value(r.total_executions) as total_executions,
        any_value(r.successful_executions) as successful_executions, any_value(r.last_run_at) as last_run_at,
        coalesce(bool_or(b.state = 'half_open'), false) as half_open
    from cf_parser_runs r left join cf_breakers b on b.parser_name = r.parser_name group by r.parser_name;

-- A failure is open until its job succeeds or is cancelled, or until the failure is closed.
create view cf_error_occurrences as
    select f.*,
        case when q.status in ('COMPLETED', 'PARTIAL_SUCCESS', 'CANCELLED', 'COMMITTED') then coalesce(q.end_time, q.updated_at)
             when q.status in ('FAILED', 'DEAD_LETTER') then q.closed_at end as closed_at,
        case when q.status in ('COMPLETED', 'PARTIAL_SUCCESS', 'CANCELLED', 'COMMITTED') then q.id
             when q.status in ('FAILED', 'DEAD_LETTER') then q.closed_by end as closed_by
    from cf_failures f left join cf_processing_queue q on q.id = f.job_id;

create view cf_errors as
    select fingerprint, any_value(code) as code, any_value(exception) as exception, any_value(trace) as trace,
        any_value(message) as message, min("at") as first_seen, max("at") as last_seen, count(*) as count,
        count(distinct file) as files, count(*) filter (closed_at is null) as open_count,
        case when count(*) = count(closed_at) then max(closed_at) end as closed_at
    from cf_error_occurrences group by fingerprint;

-- rows: the current rows of the file's last processed contents. status_text: the same status in words.
create view cf_files as
    select f.*, least(coalesce(p.rows, 0), 9223372036854775807)::bigint as rows,
        least(coalesce(p.quarantined, 0), 9223372036854775807)::bigint as quarantined,
        case when f.status = 'vanished' and p.file_id is not null then 'vanished, rows kept'
             when f.status not in ('processed', 'vanished') and p.file_id is not null
                  and not p.has_present then 'changed, ' || f.status
             else f.status end as status_text,
        (select string_agg(t.tag, ', ' order by t.tag) from scout_file_tags t where t.file_id = f.id) as tags,
        case when f.content_hash is not null and f.status <> 'vanished' then
            (select min(o.path) from scout_files o
             where o.content_hash = f.content_hash and o.path < f.path and o.status <> 'vanished') end as duplicate_of
    from scout_files f left join (
        select p.file_id, sum(c.rows) as rows, sum(c.quarantined) as quarantined,
            coalesce(bool_or(p.content_hash = g.content_hash), false) as has_present
        from cf_processed_contents p join scout_files g on g.id = p.file_id
            join cf_commits c on c.parser = p.parser and c.content_hash = p.content_hash and c.is_live
        group by p.file_id) p on p.file_id = f.id;

-- Every content that a file has or had, if it still exists there or a job has read it; `id` names the pair of file and content.
create view cf_file_version as
    select file_id || ':' || content_hash as id, file_id, max(path) as path, content_hash, max(size) as size,
        bool_or(is_present) as is_present, count(job_id) as jobs, max(sequence) as last_sequence
    from (
        select f.id as file_id, f.path, f.content_hash, f.size, f.status <> 'vanished' as is_present, null as job_id,
            f.content_seq as sequence
        from scout_files f where f.content_hash is not null
        union all
        select q.file_version_id, q.input_file, q.content_hash, null, false, q.id, q.queued_seq
        from cf_processing_queue q where q.file_version_id is not null and q.content_hash is not null
    ) group by file_id, content_hash;

create view cf_jobs as
    select id, job_type as type, status, plugin_name as parser, parser_version, input_file as input, rows_valid as rows,
        quarantine_rows as quarantined, rows_skipped as skipped, attempt, retry_count, error_code,
        error_fingerprint as fingerprint, error_message, queued_at, started_at, end_time as ended_at,
        seconds, topic, worker_id, closed_at, closed_by, close_reason
    from cf_processing_queue;
