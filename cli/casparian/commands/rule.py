"""`rule add/list/remove/test`: rules that tag files by their path, kind or size."""

from __future__ import annotations

import json
import secrets
from typing import Any

import rich_click as click

from casparian.app import App, ExitCode, Group, pass_app
from casparian.options import COUNT, INT32, POSITIVE, named_values
from casparian.render import as_json, shown_values, table
from casparian_app.gateway import Gateway
from casparian_app.names import need
from casparian_app.wording import count
from casparian_protocol.queries.files import FileCandidates
from casparian_protocol.queries.sources import RulesListed

_OPTIONS = (
    click.option("--exclude", "excludes", multiple=True, metavar="GLOB", help="Leave files out that match this."),
    click.option("--kind", "kinds", multiple=True, help="Only files of this kind, such as fix or delimited."),
    click.option("--ext", "extensions", multiple=True, help="Only files with this extension, such as .log."),
    click.option(
        "--min-size", "size_min_bytes", type=COUNT, metavar="BYTES", help="Only files of at least so many bytes."
    ),
    click.option(
        "--max-size", "size_max_bytes", type=COUNT, metavar="BYTES", help="Only files of at most so many bytes."
    ),
)


def _predicates(command: Any) -> Any:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group(cls=Group)
def rule() -> None:
    """Rules that tag files."""


@rule.command(
    "add",
    examples="""casparian rule add "**/fix/*.log" fix
casparian rule add "{client}/{date:%Y-%m-%d}/*.hl7" hl7 --name by-client --priority 10""",
)
@click.argument("pattern")
@click.argument("tag")
@click.option("--name", help="Default: the pattern and the tag.")
@click.option("--source", metavar="NAME", help="Only files of this source.")
@click.option(
    "--priority",
    type=INT32,
    default=0,
    show_default=True,
    help="A whole number; rules with a higher one are looked at first.",
)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="Give files of this rule's tag to their parser with this parameter; overrides `source add --param` and `parser set`.",
)
@_predicates
@pass_app
def add(
    app: App,
    pattern: str,
    tag: str,
    name: str | None,
    source: str | None,
    priority: int,
    params: tuple[str, ...],
    **predicates: Any,
) -> ExitCode:
    """Tag files whose relative path matches PATTERN, now and in later scans."""
    from casparian.commands.scan import say_unread
    from casparian_app.tagging import hash_missing, retag_all
    from casparian_protocol.tagging import TagRule, check_rule

    given = named_values(params)
    with app.gateway(creates_home=True) as gateway:
        source_id = _source_id(gateway, source) if source else None
        made = check_rule(
            TagRule(
                id=secrets.token_hex(8),
                name=name or f"{pattern} → {tag}",
                source_id=source_id,
                pattern=pattern,
                tag=tag,
                priority=priority,
                params=given,
                **predicates,
            )
        )
        result = gateway.request("add_rule", rule=made.model_dump(mode="json"))
        tagged = retag_all(gateway)
        say_unread(app, hash_missing(gateway, tag))
    if app.is_json:
        as_json(app, {**result, "files": tagged})
    else:
        app.say(f"rule {result['rule_id'][:8]}: {count(tagged, 'known file')} tagged {tag}")
        if given:
            app.say("New jobs of these files get the parameters; processed files stay as they are.")
    return ExitCode.OK


def _source_id(gateway: Gateway, source: str) -> str:
    from casparian_app.scanning import find_source

    return find_source(gateway, source)["id"]


@rule.command("list", examples="casparian rule list")
@pass_app
def list_rules(app: App) -> ExitCode:
    """List the rules, in the order in which they are looked at."""
    with app.gateway() as gateway:
        found = gateway.query(RulesListed())
    rules: list[dict[str, Any]] = [
        {
            **{name: value for name, value in one.items() if name != "rule_json"},
            "params": json.loads(one["rule_json"]).get("params") or {},
        }
        for one in found
    ]
    if app.is_json:
        as_json(app, rules)
    else:
        rows = [
            (r["id"][:8], r["pattern"], r["tag"], r["priority"], r["source"], shown_values(r["params"]), r["files"])
            for r in rules
        ]
        columns = ("rule", "pattern", "tag", "priority", "source", "parameters", "files")
        table(app, columns, rows, empty="No rules.", right=("priority", "files"))
    return ExitCode.OK


@rule.command("remove", examples="casparian rule remove 3f2a91c0")
@click.argument("named", metavar="ID|NAME")
@pass_app
def remove(app: App, named: str) -> ExitCode:
    """Forget a rule; the tags it gave go with it."""
    from casparian_app.tagging import retag_all

    with app.gateway() as gateway:
        need(gateway, "rule", named)
        result = gateway.request("remove_rule", rule=named)
        untagged = retag_all(gateway)
    if app.is_json:
        as_json(app, {**result, "files": untagged})
    else:
        app.say(f"rule {result['rule_id'][:8]} removed: {count(untagged, 'file')} changed")
    return ExitCode.OK


@rule.command("test", examples='casparian rule test "**/fix/*.log"')
@click.argument("pattern")
@click.option("--limit", type=POSITIVE, help="Matches to show (default: 20, with --json all).")
@click.option("--source", metavar="NAME", help="Only files of this source.")
@_predicates
@pass_app
def test(app: App, pattern: str, limit: int | None, source: str | None, **predicates: Any) -> ExitCode:
    """Show which known files a rule would tag, without saving it."""
    from casparian_protocol.tagging import Candidate, TagRule, test_rule

    tried = TagRule(id="0" * 16, name="test", pattern=pattern, tag="test", **predicates)
    with app.gateway() as gateway:
        known = gateway.query(FileCandidates(_source_id(gateway, source) if source else None))
    verdicts = test_rule(tried, [Candidate(k["rel_path"], k["kind"], k["size"], k["content_hash"]) for k in known])
    hits = [verdict for verdict in verdicts if not verdict.refusal]
    if app.is_json:
        as_json(
            app,
            {
                "files": len(verdicts),
                "matched": len(hits),
                "matches": [{"path": h.rel_path, "fields": h.path_fields} for h in hits[:limit]],
            },
        )
        return ExitCode.OK
    table(app, ("path", "fields"), [(h.rel_path, h.path_fields or "") for h in hits[: limit or 20]], empty="")
    app.say(f"{len(hits):,} of {count(len(verdicts), 'known file')} would be tagged")
    return ExitCode.OK


COMMANDS: dict[str, click.Command] = {"rule": rule}
