"""`files`, `tag`, `untag`, `rule …`: the file index, tags, and the rules that give tags."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from typing import Any

import rich_click as click

from casparian.app import COUNT, FILE_TEXT, INT32, POSITIVE, App, Command, ExitCode, Group, named_values, pass_app
from casparian.render import as_json, shown_values, table
from casparian_app.gateway import Gateway
from casparian_app.names import as_indexed, need
from casparian_app.texts import UsageProblem, count, size
from casparian_protocol.queries.files import FileCandidates, FileFilter, FilesListed
from casparian_protocol.queries.registry import RulesListed
from casparian_protocol.wire.operations.registry import ADD_RULE, REMOVE_RULE
from casparian_shim.safe import is_utf8


@click.command(
    cls=Command,
    examples="""casparian files --tag fix
casparian files --untagged --limit 20
casparian files --unclaimed
casparian files --like "%nyse%" --status failed --json""",
)
@click.option("--tag", metavar="TAG", help="Show only files with this tag.")
@click.option("--untagged", is_flag=True, help="Show only files without any tag.")
@click.option(
    "--unclaimed",
    is_flag=True,
    help="Show only files that no parser takes: without a tag, or with tags that no parser subscribes to.",
)
@click.option(
    "--status",
    type=click.Choice(["pending", "tagged", "queued", "processing", "processed", "failed", "cancelled", "vanished"]),
    help="Show only files with this status (default: all but vanished).",
)
@click.option("--source", metavar="NAME", help="Show only files of this source.")
@click.option(
    "--like",
    type=FILE_TEXT,
    metavar="PATTERN",
    help="Show only files whose path matches this SQL LIKE pattern, such as %nyse%.",
)
@click.option("--limit", type=POSITIVE, default=100, show_default=True, metavar="N", help="Show at most N files.")
@pass_app
def files(
    app: App,
    tag: str | None,
    untagged: bool,
    unclaimed: bool,
    status: str | None,
    source: str | None,
    like: str | None,
    limit: int,
) -> ExitCode:
    """List the files in the file index."""
    chosen = FileFilter(
        tag=tag,
        is_untagged=untagged,
        is_unclaimed=unclaimed,
        status=status,
        source=source,
        like=as_indexed(like) if like is not None else None,
    )
    with app.gateway() as gateway:
        app.doubt(gateway, "tag", tag)
        app.doubt(gateway, "source", source)
        found = gateway.query(FilesListed(chosen, limit))
    if app.is_json:
        as_json(app, found)
        return ExitCode.OK
    rows = [
        (
            one["rel_path"],
            size(one["size"]),
            one["kind"],
            one["tags"],
            f"{one['status_text']}{' (duplicate)' if one['duplicate_of'] else ''}",
            one["rows"] or "",
            one["path"].removesuffix(one["rel_path"]),
        )
        for one in found
    ]
    table(
        app,
        ("file", "size", "kind", "tags", "status", "rows", "in"),
        rows,
        empty="No such files." if chosen != FileFilter() else "No files yet; `casparian scan PATH` finds some.",
        right=("size", "rows"),
    )
    if len(found) == limit:
        app.say(f"(the first {limit}; --limit shows more)")
    return ExitCode.OK


def _change(app: App, tag: str, chosen: FileFilter | Sequence[str], *, remove: bool) -> ExitCode:
    from casparian.commands.scan import say_unread
    from casparian_app.files import change_tag

    if not is_utf8(tag):
        raise UsageProblem(
            f"{tag!r} is not a valid tag: it is not UTF-8.", remedy="`casparian files` shows the tags of files."
        )
    with app.gateway() as gateway:
        if isinstance(chosen, FileFilter):
            need(gateway, "tag", chosen.tag)
            need(gateway, "source", chosen.source)
            need(gateway, "rule", chosen.rule_id)
        done = change_tag(gateway, tag, chosen, remove=remove)
    say_unread(app, done.hashed)
    if app.is_json:
        as_json(app, done.answer)
    else:
        app.say(f"{tag} {'off' if remove else 'on'} {count(done.files, 'file')}")
    return ExitCode.OK


@click.command(
    "tag",
    cls=Command,
    examples="""casparian tag /data/fix_logs/a.log /data/fix_logs/b.log fix
casparian tag --source fix_archive --like "%nyse%" fix""",
)
@click.argument("arguments", type=FILE_TEXT, nargs=-1, required=True, metavar="[FILES…] TAG")
@click.option("--source", metavar="NAME", help="Instead of FILES: select all files of this source.")
@click.option(
    "--like",
    type=FILE_TEXT,
    metavar="PATTERN",
    help="Instead of FILES: select files whose path matches this SQL LIKE pattern.",
)
@click.option("--under", type=FILE_TEXT, metavar="DIR", help="Instead of FILES: select files below this directory.")
@click.option(
    "--root",
    type=FILE_TEXT,
    metavar="DIR",
    help="Instead of FILES: select files found by a one-time scan of this directory, without a source.",
)
@click.option(
    "--contains",
    type=FILE_TEXT,
    metavar="TEXT",
    help="Instead of FILES: select files whose relative path contains this text, ignoring case.",
)
@click.option("--rule", metavar="ID", help="Instead of FILES: select files that this rule tagged.")
@click.option("--tagged", metavar="TAG", help="Instead of FILES: select files with this tag.")
@click.option("--untagged", is_flag=True, help="Instead of FILES: select files without any tag.")
@pass_app
def tag(
    app: App,
    arguments: tuple[str, ...],
    source: str | None,
    like: str | None,
    under: str | None,
    root: str | None,
    contains: str | None,
    rule: str | None,
    tagged: str | None,
    untagged: bool,
) -> ExitCode:
    """Put TAG on FILES (paths, directories or ids), or on all files that match every given option."""
    chosen = FileFilter(
        tag=tagged,
        is_untagged=untagged,
        source=source,
        like=as_indexed(like) if like is not None else None,
        under=as_indexed(os.path.abspath(under)) if under else None,
        root=os.path.join(as_indexed(os.path.abspath(root)), "") if root else None,
        contains=as_indexed(contains) if contains is not None else None,
        rule_id=rule,
    )
    if chosen == FileFilter():
        files, named = _split(arguments)
        return _change(app, named, files, remove=False)
    if len(arguments) != 1:
        raise UsageProblem(
            "Files and options that select files cannot be combined.",
            remedy="Name files and TAG, or options and TAG: `casparian tag --source NAME TAG`.",
        )
    return _change(app, arguments[0], chosen, remove=False)


@click.command("untag", cls=Command, examples="casparian untag /data/fix_logs/a.log fix")
@click.argument("arguments", type=FILE_TEXT, nargs=-1, required=True, metavar="FILES… TAG")
@pass_app
def untag(app: App, arguments: tuple[str, ...]) -> ExitCode:
    """Remove TAG from FILES (paths, directories or ids)."""
    files, named = _split(arguments)
    return _change(app, named, files, remove=True)


def _split(arguments: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    if len(arguments) < 2:
        raise UsageProblem("A file or the tag is missing.", remedy="For example: `casparian tag a.log b.log fix`")
    return arguments[:-1], arguments[-1]


_OPTIONS = (
    click.option(
        "--exclude",
        "excludes",
        multiple=True,
        metavar="GLOB",
        help="Skip files that match this pattern. Repeatable.",
    ),
    click.option(
        "--kind",
        "kinds",
        multiple=True,
        metavar="KIND",
        help="Tag only files of this kind, such as fix or delimited. Repeatable.",
    ),
    click.option(
        "--ext",
        "extensions",
        multiple=True,
        metavar="EXT",
        help="Tag only files with this extension, such as .log. Repeatable.",
    ),
    click.option(
        "--min-size", "size_min_bytes", type=COUNT, metavar="BYTES", help="Tag only files of at least BYTES bytes."
    ),
    click.option(
        "--max-size", "size_max_bytes", type=COUNT, metavar="BYTES", help="Tag only files of at most BYTES bytes."
    ),
)


def _predicates(command: Any) -> Any:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


@click.group(cls=Group)
def rule() -> None:
    """Manage the rules that tag files by their path."""


@rule.command(
    "add",
    examples="""casparian rule add "**/fix/*.log" fix
casparian rule add "{client}/{date:%Y-%m-%d}/*.hl7" hl7 --name by-client --priority 10""",
)
@click.argument("pattern")
@click.argument("tag")
@click.option("--name", metavar="NAME", help="Name the rule (default: its pattern and tag).")
@click.option("--source", metavar="NAME", help="Tag only files of this source (default: all files).")
@click.option(
    "--priority",
    type=INT32,
    default=0,
    show_default=True,
    metavar="N",
    help="Try the rule before rules with a priority below N.",
)
@click.option(
    "--param",
    "params",
    multiple=True,
    metavar="NAME=VALUE",
    help="Pass this parameter to the parser with the rule's files; overrides `source add --param` and `parser set`. Repeatable.",
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
    from casparian_app.files import hash_missing, retag_all
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
        result = gateway.perform(ADD_RULE(rule=made.model_dump(mode="json")))
        tagged = retag_all(gateway)
        say_unread(app, hash_missing(gateway, tag))
    if app.is_json:
        as_json(app, {**result.model_dump(), "files": tagged})
    else:
        app.say(f"rule {result.rule_id[:8]}: {count(tagged, 'known file')} tagged {tag}")
        if given:
            app.say("New jobs of these files get the parameters; processed files stay as they are.")
    return ExitCode.OK


def _source_id(gateway: Gateway, source: str) -> str:
    from casparian_app.files import find_source

    return find_source(gateway, source)["id"]


@rule.command("list", examples="casparian rule list")
@pass_app
def list_rules(app: App) -> ExitCode:
    """List the rules in the order in which they are tried."""
    with app.gateway() as gateway:
        found = gateway.query(RulesListed())
    params = [json.loads(one["rule_json"]).get("params") or {} for one in found]
    if app.is_json:
        documents = [{name: value for name, value in one.items() if name != "rule_json"} for one in found]
        as_json(app, [{**one, "params": values} for one, values in zip(documents, params, strict=True)])
    else:
        rows = [
            (
                one["id"][:8],
                one["pattern"],
                one["tag"],
                one["priority"],
                one["source"],
                shown_values(values),
                one["files"],
            )
            for one, values in zip(found, params, strict=True)
        ]
        columns = ("rule", "pattern", "tag", "priority", "source", "parameters", "files")
        table(app, columns, rows, empty="No rules.", right=("priority", "files"))
    return ExitCode.OK


@rule.command("remove", examples="casparian rule remove 3f2a91c0")
@click.argument("named", metavar="ID|NAME")
@pass_app
def remove(app: App, named: str) -> ExitCode:
    """Remove a rule, and the tags that it gave."""
    from casparian_app.files import retag_all

    with app.gateway() as gateway:
        need(gateway, "rule", named)
        result = gateway.perform(REMOVE_RULE(rule=named))
        untagged = retag_all(gateway)
    if app.is_json:
        as_json(app, {**result.model_dump(), "files": untagged})
    else:
        app.say(f"rule {result.rule_id[:8]} removed: {count(untagged, 'file')} changed")
    return ExitCode.OK


@rule.command("test", examples='casparian rule test "**/fix/*.log"')
@click.argument("pattern")
@click.option("--limit", type=POSITIVE, metavar="N", help="Show at most N matches (default: 20; with --json, all).")
@click.option("--source", metavar="NAME", help="Tag only files of this source (default: all files).")
@_predicates
@pass_app
def test(app: App, pattern: str, limit: int | None, source: str | None, **predicates: Any) -> ExitCode:
    """Show which known files a rule would tag, without saving it."""
    from casparian_protocol.tagging import CataloguedFile, TagRule, try_rule

    tried = TagRule(id="0" * 16, name="test", pattern=pattern, tag="test", **predicates)
    with app.gateway() as gateway:
        known = gateway.query(FileCandidates(_source_id(gateway, source) if source else None))
    verdicts = try_rule(tried, [CataloguedFile(k["rel_path"], k["kind"], k["size"], k["content_hash"]) for k in known])
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


COMMANDS: dict[str, click.Command] = {"files": files, "tag": tag, "untag": untag, "rule": rule}
