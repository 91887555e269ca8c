"""`outputs list/show/history`: the published tables, where they lie, what they hold and what was superseded in them."""

from __future__ import annotations

import json
import os

import rich_click as click

from casparian.app import App, ExitCode, Group, pass_app
from casparian.options import POSITIVE, as_of_option
from casparian.render import as_json, fields, table
from casparian_app.gateway import Row
from casparian_app.names import unknown
from casparian_app.wording import count, size, when

_LIST = """
select o.name, o.owner_parser as parser, o.live_version as version, o.rows, o.quarantined_rows as quarantined, o.bytes,
    o.files, o.superseded_rows, o.superseded_files, o.last_commit from cf_outputs o order by o.name
"""


@click.group(cls=Group)
def outputs() -> None:
    """The published tables."""


@outputs.command("list", examples="casparian outputs list")
@pass_app
def list_outputs(app: App) -> ExitCode:
    """List the outputs with their rows and sizes."""
    with app.gateway() as gateway:
        found = gateway.rows(_LIST)
    if app.is_json:
        as_json(app, found)
        return ExitCode.OK
    rows = [
        (
            o["name"],
            o["parser"],
            f"v{o['version']}",
            o["rows"],
            o["quarantined"],
            size(o["bytes"]),
            o["files"],
            when(o["last_commit"]),
        )
        for o in found
    ]
    columns = ("output", "parser", "version", "rows", "bad", "size", "files", "last commit")
    table(
        app,
        columns,
        rows,
        empty="Nothing is published yet; `casparian process` runs what is pending.",
        right=("rows", "bad", "size", "files"),
    )
    return ExitCode.OK


@outputs.command("show", examples="casparian outputs show fix_orders")
@click.argument("name")
@pass_app
def show(app: App, name: str) -> ExitCode:
    """Show one output: where it lies, its columns, its files."""
    with app.gateway() as gateway:
        found = gateway.rows(_LIST.replace("order by", "where o.name = ? order by"), [name])
        if not found:
            raise unknown(gateway, "output", name)
        contracts = gateway.rows(
            "select version, schema_json, contract_hash from cf_schema_contracts where output = ? and state = 'APPROVED'"
            " order by approved_at desc limit 1",
            [name],
        )
        files = gateway.rows(
            "select kind, version, path, rows, bytes, job_id, digest, is_damaged, is_live, live_since, superseded_by,"
            " superseded_at, superseded_seq from cf_output_files where output = ? order by kind, sequence, path",
            [name],
        )
        current = gateway.home.outputs / name / "current"
    contract = json.loads(contracts[0]["schema_json"]) if contracts else None
    if app.is_json:
        as_json(app, {**found[0], "path": str(current), "contract": contract, "files": files})
        return ExitCode.OK
    output = found[0]
    fields(
        app,
        [
            ("output", name),
            ("parser", output["parser"]),
            ("version", f"v{output['version']}"),
            ("rows", f"{output['rows'] or 0:,}"),
            ("quarantined", f"{output['quarantined'] or 0:,}"),
            ("superseded", _superseded(output)),
            ("size", size(output["bytes"])),
            ("path", current),
            ("in SQL", f'{name}, quarantine.{name}, "{name}@v{output["version"]}"'),
        ],
    )
    if contract:
        columns = [
            (c["name"], c["type"], c.get("nullable", True), c.get("description", "")) for c in contract["columns"]
        ]
        table(app, ("column", "type", "nullable", "description"), columns, empty="")
    damaged = [file["path"] for file in files if file["is_damaged"]]
    if damaged:
        app.say(f"DAMAGED: {', '.join(damaged)} (neither staged nor in place after a crash)")
    live = sum(file["is_live"] for file in files)
    app.say(f"{count(live, 'live file')} of {count(len(files), 'file')}; --json lists them with their digests")
    return ExitCode.OK


def _superseded(output: Row) -> str:
    if not output["superseded_files"]:
        return "0"
    return (
        f"{output['superseded_rows']:,} rows in {count(output['superseded_files'], 'file')}, kept on disk"
        f" (`casparian outputs history {output['name']}`)"
    )


_HISTORY = """
select f.job_id, c.sequence as seq, f.committed_at, any_value(f.parser_version) as parser_version,
    any_value(c.input_file) as input, any_value(c.content_hash) as content_hash, any_value(f.version) as version,
    least(coalesce(sum(f.rows) filter (f.kind = 'data'), 0), 9223372036854775807)::bigint as rows,
    least(coalesce(sum(f.rows) filter (f.kind = 'quarantine'), 0), 9223372036854775807)::bigint as quarantined,
    bool_and(f.is_live) as is_live, any_value(f.live_since) as live_since,
    any_value(f.live_since_seq) as live_since_seq, any_value(f.superseded_by) as superseded_by,
    any_value(f.superseded_at) as superseded_at, any_value(f.superseded_seq) as superseded_seq
from cf_output_files f join cf_commits c on c.job_id = f.job_id
where f.output = ? and (? is null or starts_with(c.input_file, ?) or ends_with(c.input_file, '/' || ?))
group by f.job_id, c.sequence, f.committed_at order by c.sequence desc limit ?
"""


@outputs.command(
    "history",
    examples="casparian outputs history fix_orders\ncasparian outputs history fix_orders --input day.log --json",
)
@click.argument("name")
@click.option("--input", "input_file", metavar="FILE", help="Only commits of this file: its path, or its name.")
@click.option("--limit", type=POSITIVE, default=100, show_default=True, metavar="N", help="Show at most N commits.")
@as_of_option
@pass_app
def history(app: App, name: str, input_file: str | None, limit: int) -> ExitCode:
    """List the commits to an output, the latest first: live or superseded, by which job, since which event.

    Superseded files stay on disk; `casparian sql --as-of SEQ` reads them.
    """
    with app.gateway() as gateway:
        if not gateway.rows("select 1 as n from cf_outputs where name = ?", [name]):
            raise unknown(gateway, "output", name)
        path = None if input_file is None else os.path.abspath(input_file) if "/" in input_file else input_file
        found = gateway.rows(_HISTORY, [name, path, path, path, limit])
    if app.is_json:
        as_json(app, found)
        return ExitCode.OK
    rows = [
        (
            one["seq"],
            when(one["committed_at"]),
            one["job_id"][:8],
            os.path.basename(one["input"] or ""),
            one["parser_version"],
            one["rows"],
            one["quarantined"],
            "live" if one["is_live"] else f"superseded by {one['superseded_by'][:8]} at {one['superseded_seq']:,}",
        )
        for one in found
    ]
    columns = ("seq", "committed", "job", "input", "parser", "rows", "bad", "state")
    table(app, columns, rows, empty="No commits.", right=("seq", "rows", "bad"))
    if len(found) == limit:
        app.say(f"(the latest {limit}; --limit shows more)")
    return ExitCode.OK


COMMANDS: dict[str, click.Command] = {"outputs": outputs}
