"""What `casparian run` and `casparian job show` print about one input.

`run`: outputs with first rows, schema and violations, then the accounting, drawn from what an `Observer` remembers; for `--json`
the same as plain values. `job show`: what is recorded about a job. Nothing is asked or decided here.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from casparian.app import App
from casparian.render import cell, cut, draw_grid, fields, screen_width, section
from casparian_app.devrun.rows import ColumnSeen, Example, InputRun, Observer
from casparian_app.inferring import DraftedContract, contract_document, sentences
from casparian_app.jobs import JobDetails
from casparian_app.texts import count, size, when
from casparian_protocol import wording
from casparian_protocol.contract import ViolationCode
from casparian_protocol.jobs import SUCCEEDED, JobState
from casparian_protocol.queries.jobs import JobCommit, JobRow

_VIOLATIONS_SHOWN = 20
_SKIPS_SHOWN = 10


def accounting(run: InputRun) -> str:
    """`1,000 rows: 990 valid, 10 with violations; 3 records skipped (comment 2, blank line 1)`."""
    received = sum(output.received_count for output in run.outputs.values())
    bad = sum(output.bad_count for output in run.outputs.values())
    text = f"{count(received, 'row')}: {received - bad:,} valid, {bad:,} with violations, {sum(run.skips.values()):,} skipped"
    if run.skips:
        most = sorted(run.skips.items(), key=lambda each: -each[1])
        reasons = ", ".join(f"{cell(reason)} {number:,}" for reason, number in most[:_SKIPS_SHOWN])
        text += f" ({reasons}{', …' if len(most) > _SKIPS_SHOWN else ''})"
    return text


def print_run(app: App, run: InputRun, label: str) -> None:
    """Print the whole report of one input to stdout."""
    print(f"{cell(run.path)} → {cell(label)}", file=app.out)
    for name in sorted(run.outputs):
        print(file=app.out)
        _print_output(app, run.outputs[name])
    print(file=app.out)
    cut = ", stopped at the limit" if run.is_cut else ""
    print(f"{accounting(run)} in {run.seconds:.2f} s{cut}", file=app.out)
    if run.records is not None:
        for line in run.records.lines():
            print(line, file=app.out)


def error_lines(run: InputRun, *, is_verbose: bool) -> list[str]:
    """What failed, where in the parser's code, and what to do; the parser has already printed its traceback."""
    error = run.error
    assert error is not None
    lines = [f"casparian: {cell(run.path)}: {error.code}: {cell(error.message)}"]
    file, line, function = (error.context.get(key) for key in ("file", "line", "function"))
    if file and line:
        lines.append(f"  Raised at {cell(file)}:{cell(line)} in {cell(function)}, fingerprint ERR-{error.fingerprint}.")
        lines.append(
            "  Install it in this run's environment, or name another environment with --venv."
            if error.exception in ("ModuleNotFoundError", "ImportError")
            else "  Its traceback is above; put breakpoint() before that line to stop there."
        )
    if is_verbose:
        lines += [f"  {cell(each)}" for each in error.trace.splitlines()]
    return lines


def print_contracts(app: App, drafts: Sequence[DraftedContract]) -> None:
    """Drafted contracts: JSON to stdout, in the form of a file next to the parser; the evidence to stderr."""
    if not drafts:
        app.say("No rows, so there is nothing to draft a contract from.")
        return
    print(json.dumps(contract_document(drafts), indent=2, ensure_ascii=False), file=app.out)
    for draft in drafts:
        for line in sentences(draft):
            app.say(cell(line))
        app.say(f"Save it as {draft.output}.schema.json next to the parser, or put it into `outputs` of its source.")


def document(run: InputRun) -> dict[str, object]:
    """The same report as a document."""
    return {
        "input": run.path,
        "status": run.status,
        "source_hash": run.source_hash,
        "seconds": round(run.seconds, 3),
        "outputs": {name: _output_document(output) for name, output in sorted(run.outputs.items())},
        "skipped": dict(run.skips),
        "records": run.records.model_dump() if run.records is not None else None,
        "stopped_at_limit": run.is_cut,
        "sandbox": run.sandbox,
        "error": run.error.model_dump() if run.error else None,
    }


def _output_document(output: Observer) -> dict[str, object]:
    return {
        "has_contract": output.contract is not None,
        "received": output.received_count,
        "valid": output.valid_count,
        "violating": output.bad_count,
        "columns": [asdict(column) for column in output.columns()],
        "rows": output.first_rows,
        "violations": [
            {
                "code": code,
                "column": column,
                "count": number,
                "examples": [asdict(each) for each in output.examples[key]],
            }
            for key, number in output.violations.most_common()
            for code, column in [key]
        ],
        "notes": output.notes,
    }


def _print_output(app: App, output: Observer) -> None:
    contract = "" if output.contract else ", no contract"
    print(f"Output {cell(output.output)} ({count(output.received_count, 'row')}{contract})", file=app.out)
    columns = output.columns()
    if output.first_rows:
        names = list(output.first_rows[0])
        rows = output.first_cells
        left_out = draw_grid(app.out, names, rows, width=screen_width(app.out))
        more = output.valid_count - len(rows)
        notes = [count(more, "more row")] if more > 0 else []
        notes += [f"no room for {count(len(left_out), 'column')}"] if left_out else []
        if notes:
            print(f"… {', '.join(notes)}", file=app.out)
    if columns:
        print(file=app.out)
        _print_columns(app, columns)
    rejected = [key for key in output.violations if key[0] == ViolationCode.PARSER_REJECTED]
    if len(output.violations) > len(rejected):
        print(file=app.out)
        _print_violations(app, output)
    for key in rejected:
        print(file=app.out)
        _print_rejected(app, output.violations[key], output.examples[key])
    for note in output.notes:
        app.say(cell(note))


def _print_columns(app: App, columns: Sequence[ColumnSeen]) -> None:
    heads = ["column", "declared", "observed", "nulls", "violations"]
    rows = [
        (each.name, each.declared or "–", " | ".join(each.observed) or "–", each.null_count, each.violation_count)
        for each in columns
    ]
    draw_grid(app.out, heads, rows, width=screen_width(app.out))


def _print_violations(app: App, output: Observer) -> None:
    """Print the values that broke the contract."""
    heads = ["violation", "column", "count", "row", "expected", "got"]
    kinds = [each for each in output.violations.most_common() if each[0][0] != ViolationCode.PARSER_REJECTED]
    rows: list[tuple[Any, ...]] = []
    for key, number in kinds[:_VIOLATIONS_SHOWN]:
        for at, example in enumerate(output.examples[key]):
            place = f"#{example.row_index}" if example.source_row is None else f"{example.source_row}"
            begin = (*key, number) if at == 0 else ("", "", "")
            rows.append((*begin, place, example.expected, example.got))
    draw_grid(app.out, heads, rows, width=screen_width(app.out))
    more = len(kinds) - _VIOLATIONS_SHOWN
    if more > 0:
        print(f"… {more} more kinds of violations", file=app.out)


def _print_rejected(app: App, number: int, examples: Sequence[Example]) -> None:
    """Print the first rejected records: where, why, and their text."""
    width = screen_width(app.out)
    print(count(number, "rejected row"), file=app.out)
    for each in examples:
        place = f"output row {each.row_index}" if each.source_row is None else f"source row {each.source_row:,}"
        if each.offset is not None:
            place += f", byte {each.offset:,}"
        reason = f"{place}: {cell(each.got or '')}"
        print(textwrap.fill(reason, width, initial_indent="  ", subsequent_indent="  "), file=app.out)
        if each.raw is not None:
            print(cut(f"    {cell(each.raw.rstrip())}", width), file=app.out)
    if number > len(examples):
        print(f"… {number - len(examples):,} more", file=app.out)


# --- one job of the home ---


def print_job(app: App, found: JobDetails) -> None:
    """Print everything about a job to stdout."""
    row = found.row
    fields(app, _job_fields(row))
    for line in wording.say_parked([found.parked] if found.parked else []):
        print(f"trouble: {cell(line)}", file=app.out)
    _print_job_accounting(app, found)
    for commit in found.commits:
        print(f"rows: {_life_of(commit)}", file=app.out)
    _print_job_params(app, found)
    root = str(app.home.root)
    files = [
        (f["output"], f["kind"], f["rows"], size(f["bytes"]), f["path"].removeprefix(root).lstrip("/"))
        for f in found.files
    ]
    section(app, ("output", "kind", "rows", "size", "path in the home"), files, right=("rows", "size"))
    violations = [(v["output"], v["code"], v["column"], v["rows"]) for v in found.violations]
    section(app, ("output", "violation", "column", "rows"), violations, right=("rows",))
    events = [(e["seq"], when(e["ts"]), e["type"], e["actor"]) for e in found.history]
    section(app, ("seq", "when", "event", "by"), events, right=("seq",))
    if row["error_code"]:
        earlier = "An earlier attempt failed: " if JobState(row["status"]) in SUCCEEDED else ""
        print(f"\n{earlier}{cell(row['error_code'])}: {cell(row['error_message'])}", file=app.out)
        for line in (row["error_trace"] or "").splitlines():
            print(f"  {cell(line)}", file=app.out)


def _print_job_accounting(app: App, found: JobDetails) -> None:
    if found.accounting:
        print(file=app.out)
    for output, numbers in found.accounting.items():
        received = count(numbers["received"], "row")
        line = f"{output}: {received} = {numbers['valid']:,} valid + {numbers['quarantined']:,} quarantined"
        if numbers.get("rows_without_source_row"):
            line += f" ({numbers['rows_without_source_row']:,} without a source row)"
        print(line, file=app.out)
    if found.skips:
        listed = ", ".join(f"{number:,} {reason}" for reason, number in sorted(found.skips.items()))
        print(f"declared skips: {cell(listed)}", file=app.out)
    if found.records is not None:
        for line in found.records.lines():
            print(line, file=app.out)


def _life_of(commit: JobCommit) -> str:
    """Whether a job's rows are live, superseded or not committed."""
    if commit["is_live"]:
        return "live"
    by = (commit["superseded_by"] or "")[:8]
    return f"superseded by job {by} at event {commit['superseded_seq'] or 0:,}, {when(commit['superseded_at'])}"


def _print_job_params(app: App, found: JobDetails) -> None:
    """The parameters that the job was queued with, and where each came from."""
    if found.spec is None:
        return
    work = found.spec.work
    rows = [
        (name, json.dumps(value, ensure_ascii=False), work.param_origins.get(name, "default"))
        for name, value in work.params.items()
    ]
    section(app, ("parameter", "value", "from"), rows)


def _job_fields(found: JobRow) -> list[tuple[str, Any]]:
    parser = f"{found['plugin_name']} {found['parser_version']}" if found["plugin_name"] else None
    has_succeeded = JobState(found["status"]) in SUCCEEDED
    pairs = [
        ("job", found["id"]),
        ("status", found["status"]),
        ("type", found["job_type"]),
        ("parser", parser),
        ("input", found["input_file"]),
        ("content", found["content_hash"]),
        ("artifact", found["artifact_hash"]),
        ("tag", found["topic"]),
        (
            "attempt",
            f"{found['attempt']} ({count(found['retry_count'] or 0, 'retry', 'retries')}, {found['losses']} lost)",
        ),
        ("worker", found["worker_id"]),
        ("sandbox", found["sandbox"]),
        ("queued", when(found["queued_at"])),
        ("started", when(found["started_at"])),
        ("ended", when(found["end_time"])),
        ("seconds", None if found["seconds"] is None else f"{found['seconds']:.3f}"),
        ("earlier error" if has_succeeded else "error", found["error_code"]),
        ("fingerprint", found["error_fingerprint"] and f"ERR-{found['error_fingerprint']}"),
        ("reason", found["reason"]),
        ("closed", found["closed_at"] and f"{when(found['closed_at'])} by {found['closed_by']}"),
        ("because", found["close_reason"]),
    ]
    return [(name, value) for name, value in pairs if value not in (None, "")]
