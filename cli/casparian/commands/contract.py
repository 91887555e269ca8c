"""`contract list/show/diff/approve/reject`: the contracts that rows must satisfy, and the decisions on them."""

from __future__ import annotations

import json
import re

import rich_click as click

from casparian.app import App, ExitCode, Group, as_of_option, pass_app
from casparian.commands.parser import print_verdicts
from casparian.render import as_json, cell, fields, table
from casparian_app.gateway import Gateway
from casparian_app.names import known, unknown
from casparian_app.texts import when
from casparian_protocol.queries.registry import ContractListed, ContractsListed
from casparian_protocol.wire.operations.registry import DECIDE_CONTRACT

_ID = re.compile(r"[0-9a-f]{4,64}\Z")


@click.group(cls=Group)
def contract() -> None:
    """List, show, compare, approve and reject contracts."""


@contract.command("list", examples="casparian contract list --state proposed")
@click.option(
    "--state",
    type=click.Choice(["proposed", "approved", "rejected"], case_sensitive=False),
    help="Show only contracts in this state.",
)
@click.option("--parser", metavar="NAME", help="Show only contracts of this parser.")
@as_of_option
@pass_app
def list_contracts(app: App, state: str | None, parser: str | None) -> ExitCode:
    """List the contracts and their states."""
    with app.gateway() as gateway:
        listed = gateway.query(ContractsListed(state.upper() if state else None, parser))
    found = sorted(listed, key=lambda one: one["parser"])
    if app.is_json:
        as_json(app, [_without_schema(one) for one in found])
        return ExitCode.OK
    rows = [
        (
            one["contract_id"][:8],
            f"{one['parser']}@{one['version']}/{one['output']}",
            one["state"],
            one["columns"],
            one["decided_by"],
            when(one["decided_at"] or one["proposed_at"]),
        )
        for one in found
    ]
    table(app, ("contract", "of", "state", "columns", "by", "when"), rows, empty="No contracts.", right=("columns",))
    return ExitCode.OK


def _find(gateway: Gateway, selector: str) -> list[ContractListed]:
    """The contracts named by `advice`, `advice@1.2.0`, `advice@1.2.0/output` or an id prefix; without a version, the latest."""
    found = gateway.query(ContractsListed())
    name, _, rest = selector.partition("@")
    version, _, output = rest.partition("/")
    named = [one for one in found if one["parser"] == name and output in ("", one["output"])]
    if named and not version:
        latest = named[-1]["version"]
        named = [one for one in named if one["version"] == latest]
    elif version:
        named = [one for one in named if one["version"] == version]
    if not named and _ID.match(selector):
        named = [one for one in found if one["contract_id"].startswith(selector)]
    if not named:
        raise unknown(gateway, "contract", selector)
    return named


def _without_schema(found: ContractListed) -> dict[str, object]:
    left_out = {"schema_json", "approved_by", "carried_from"}
    return {name: value for name, value in found.items() if name not in left_out}


@contract.command("show", examples="casparian contract show advice@1.2.0/advices")
@click.argument("selector")
@pass_app
def show(app: App, selector: str) -> ExitCode:
    """Show the columns, types and checks of a contract."""
    with app.gateway() as gateway:
        found = _find(gateway, selector)
    if app.is_json:
        as_json(app, [{**_without_schema(one), "contract": json.loads(one["schema_json"])} for one in found])
        return ExitCode.OK
    for one in found:
        schema = json.loads(one["schema_json"])
        fields(
            app,
            [
                ("contract", one["contract_id"]),
                ("of", f"{one['parser']}@{one['version']}/{one['output']}"),
                ("state", one["state"]),
                ("decided by", f"{one['decided_by']} {when(one['decided_at'])}" if one["decided_by"] else ""),
                ("mode", schema.get("mode", "strict")),
            ],
        )
        rows = [(c["name"], _type(c["type"]), c.get("nullable", True), _checks(c)) for c in schema["columns"]]
        table(app, ("column", "type", "nullable", "checks"), rows, empty="")
        print(file=app.out)
    return ExitCode.OK


def _type(kind: object) -> str:
    if isinstance(kind, dict):
        inside = ", ".join(f"{value}" for name, value in kind.items() if name != "kind")
        return f"{kind['kind']}({inside})"
    return str(kind)


def _checks(column: dict[str, object]) -> str:
    return ", ".join(
        f"{name} {json.dumps(column[name], ensure_ascii=False)}"
        for name in ("format", "pattern", "values", "min", "max", "unique", "null_values")
        if column.get(name) not in (None, [], False)
    )


@contract.command(
    "diff", examples="casparian contract diff advice@1.1.0/advices advice@1.2.0/advices\ncasparian contract diff advice"
)
@click.argument("old")
@click.argument("new", required=False)
@pass_app
def diff(app: App, old: str, new: str | None) -> ExitCode:
    """Compare two contracts; with one name, compare its newest contracts with the last approved ones."""
    from casparian_protocol.contract import Contract, misfits
    from casparian_protocol.contract import diff as compare

    with app.gateway() as gateway:
        pairs = _pairs(gateway, old, new)
    documents: list[dict[str, object]] = []
    for before, after in pairs:
        title = f"{after['parser']}@{after['version']}/{after['output']}"
        if before is None:
            documents.append({"of": title, "against": None, "changes": [], "is_compatible": True})
            app.say(f"{title}: this output's first contract, nothing to compare it with")
            continue
        earlier, later = (Contract.from_literal(json.loads(each["schema_json"])) for each in (before, after))
        found, in_the_way = compare(earlier, later), misfits(earlier, later)
        documents.append(
            {
                "of": title,
                "against": before["contract_id"],
                "changes": [str(c) for c in found.changes],
                "is_compatible": found.is_compatible,
                "fits": not in_the_way,
                "misfits": [{"column": each.column, "what": each.what} for each in in_the_way],
            }
        )
        if not app.is_json:
            print(f"{title} against {before['parser']}@{before['version']}", file=app.out)
            for line in found.render().splitlines():
                print(f"  {cell(line)}", file=app.out)
            reasons = "; ".join(f"{each.column}: {each.what}" if each.column else each.what for each in in_the_way)
            verdict = f"waits: {reasons}" if reasons else "becomes current when approved"
            app.say(f"  next to rows of {before['version']}, version {after['version']} {cell(verdict)}")
    if app.is_json:
        as_json(app, documents)
    return ExitCode.OK


def _pairs(gateway: Gateway, old: str, new: str | None) -> list[tuple[ContractListed | None, ContractListed]]:
    if new is not None:
        before, after = _find(gateway, old), _find(gateway, new)
        by_output = {one["output"]: one for one in before}
        return [(by_output.get(one["output"], before[0] if len(before) == 1 else None), one) for one in after]
    pairs: list[tuple[ContractListed | None, ContractListed]] = []
    everything = gateway.query(ContractsListed())
    for one in _find(gateway, old):
        earlier = [
            other
            for other in everything
            if (other["parser"], other["output"]) == (one["parser"], one["output"])
            and other["state"] == "APPROVED"
            and other["proposed_at"] < one["proposed_at"]
        ]
        pairs.append((earlier[-1] if earlier else None, one))
    return pairs


def _decide(app: App, selector: str, reason: str, *, approve: bool) -> ExitCode:
    with app.gateway() as gateway:
        name = selector.partition("@")[0].partition("/")[0]
        if not _ID.match(selector) and name not in {*known(gateway, "contract"), *known(gateway, "output")}:
            raise unknown(gateway, "contract", selector)
        result = gateway.perform(DECIDE_CONTRACT(selector=selector, approve=approve, reason=reason))
    if app.is_json:
        as_json(app, result)
        return ExitCode.OK
    for one in result.decided:
        named = f"{one.parser}@{one.version}/{one.output}"
        print(f"{one.state.lower()}: {named} ({one.contract_id[:8]})", file=app.out)
    print_verdicts(app, result.versions)
    return ExitCode.OK


@contract.command(
    "approve", examples="casparian contract approve advice\ncasparian contract approve advice@1.2.0/advices"
)
@click.argument("selector")
@click.option("--reason", default="", help="Say why; kept in the log.")
@pass_app
def approve(app: App, selector: str, reason: str) -> ExitCode:
    """Approve the proposed contracts that SELECTOR names, so that the parser may run."""
    return _decide(app, selector, reason, approve=True)


@contract.command("reject", examples='casparian contract reject advice@1.2.0/advices --reason "price must be decimal"')
@click.argument("selector")
@click.option("--reason", default="", help="Say why; kept in the log.")
@pass_app
def reject(app: App, selector: str, reason: str) -> ExitCode:
    """Reject the proposed contracts that SELECTOR names; the parser does not run with them."""
    return _decide(app, selector, reason, approve=False)


COMMANDS: dict[str, click.Command] = {"contract": contract}
