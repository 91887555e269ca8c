"""`outputs list/show`: the published tables, where they lie and what they hold."""

from __future__ import annotations

import json

import rich_click as click

from casparian.app import App, Group, pass_app
from casparian.exits import ExitCode
from casparian.gateway import open_gateway
from casparian.nouns import unknown
from casparian.render import as_json, count, fields, size, table, when

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
    """Every output with its rows and size."""
    with open_gateway(app) as gateway:
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
    """One output: where it lies, its columns, its files."""
    with open_gateway(app) as gateway:
        found = gateway.rows(_LIST.replace("order by", "where o.name = ? order by"), [name])
        if not found:
            raise unknown(gateway, "output", name)
        contracts = gateway.rows(
            "select version, schema_json, contract_hash from cf_schema_contracts where output = ? and state = 'APPROVED'"
            " order by approved_at desc limit 1",
            [name],
        )
        files = gateway.rows(
            "select kind, version, path, rows, bytes, job_id, digest, is_damaged from cf_output_files where output = ?"
            " order by kind, sequence, path",
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
    app.say(f"{count(len(files), 'file')}; --json lists them with their digests")
    return ExitCode.OK


COMMANDS: dict[str, click.Command] = {"outputs": outputs}
