"""`files`, `tag`, `untag`: the catalogue of files and the labels on them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import rich_click as click

from casparian.app import App, Command, ExitCode, pass_app
from casparian.options import POSITIVE
from casparian.render import as_json, table
from casparian_app.gateway import Gateway, Row
from casparian_app.names import need
from casparian_app.problems import UsageProblem
from casparian_app.wording import count, size

_COLUMNS = "id, path, rel_path, size, kind, status, status_text, rows, tags, content_hash, duplicate_of, source_id"

_UNCLAIMED = """id not in (
    select t.file_id from scout_file_tags t join cf_parser_topics p on p.topic = t.tag
    join cf_parsers v on v.id = p.parser_id where v.state <> 'RETIRED')"""


@click.command(
    cls=Command,
    examples="""casparian files --tag fix
casparian files --untagged --limit 20
casparian files --unclaimed
casparian files --like "%nyse%" --status failed --json""",
)
@click.option("--tag", help="Only files with this tag.")
@click.option("--untagged", is_flag=True, help="Only files without any tag.")
@click.option(
    "--unclaimed", is_flag=True, help="Only files that no parser takes: without a tag, or with tags nobody asks for."
)
@click.option(
    "--status",
    type=click.Choice(["pending", "tagged", "queued", "processing", "processed", "failed", "cancelled", "vanished"]),
    help="Only files that stand so (default: all that are not vanished).",
)
@click.option("--source", metavar="NAME", help="Only files of this source.")
@click.option("--like", metavar="PATTERN", help="SQL pattern over the path, such as %nyse%.")
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
    """List the files of the catalogue."""
    where, params = _where(tag=tag, untagged=untagged, unclaimed=unclaimed, status=status, source=source, like=like)
    with app.gateway() as gateway:
        app.doubt(gateway, "tag", tag)
        app.doubt(gateway, "source", source)
        found = gateway.rows(f"select {_COLUMNS} from cf_files where {where} order by path limit ?", [*params, limit])
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
        empty="No such files; `casparian scan PATH` finds some.",
        right=("size", "rows"),
    )
    if len(found) == limit:
        app.say(f"(the first {limit}; --limit shows more)")
    return ExitCode.OK


def _where(
    *,
    tag: str | None = None,
    untagged: bool = False,
    unclaimed: bool = False,
    status: str | None = None,
    source: str | None = None,
    like: str | None = None,
    under: str | None = None,
    root: str | None = None,
    contains: str | None = None,
    rule: str | None = None,
) -> tuple[str, list[str]]:
    """The condition over `cf_files` that these filters mean, with its parameters."""
    conditions, params = ["status = ?" if status else "status <> 'vanished'"], [status] if status else []
    if tag:
        conditions.append("id in (select file_id from scout_file_tags where tag = ?)")
        params.append(tag)
    if untagged:
        conditions.append("tags is null")
    if unclaimed:
        conditions.append(_UNCLAIMED)
    if source:
        conditions.append("source_id in (select id from scout_sources where name = ? or id = ?)")
        params += [source, source]
    if like:
        conditions.append("path like ?")
        params.append(like)
    if under:
        conditions.append("starts_with(path, ? || '/')")
        params.append(os.path.abspath(under).rstrip("/"))
    if root:
        conditions.append("source_id is null and left(path, length(path) - length(rel_path)) = ?")
        params.append(os.path.join(os.path.abspath(root), ""))
    if contains:
        conditions.append("contains(lower(rel_path), lower(?))")
        params.append(contains)
    if rule:
        conditions.append("id in (select file_id from scout_file_tags where rule_id = ?)")
        params.append(rule)
    return " and ".join(conditions), params


def _resolve(gateway: Gateway, named: Sequence[str]) -> list[Row]:
    """The files that these paths, directories, or id prefixes mean. Raises `UsageProblem` for one that means none."""
    found: dict[str, Row] = {}
    for name in named:
        path = os.path.abspath(name)
        rows = gateway.rows(
            "select id, path from scout_files where status <> 'vanished'"
            " and (path = ? or starts_with(path, ? || '/') or (length(?) >= 8 and starts_with(id, ?))) order by path",
            [path, path.rstrip("/"), name, name],
        )
        if not rows:
            remedy = f"`casparian scan {name}` takes it in."
            if not os.path.exists(path):
                remedy = (
                    "Nothing lies there either. Files come first, the tag last; `casparian files` lists what is known."
                )
            raise UsageProblem(f"{name} is not in the catalogue.", remedy=remedy)
        found |= {row["id"]: row for row in rows}
    return list(found.values())


def _change(
    app: App, named: Sequence[str], tag: str, *, remove: bool, filters: dict[str, Any] | None = None
) -> ExitCode:
    from casparian.commands.scan import say_unread
    from casparian_app.scanning import hash_missing, ids_blob
    from casparian_protocol.tagging import check_tag
    from casparian_protocol.wire.operations import FILE_IDS_LIMIT

    check_tag(tag)
    with app.gateway() as gateway:
        if filters:
            need(gateway, "tag", filters.get("tag"))
            need(gateway, "source", filters.get("source"))
            need(gateway, "rule", filters.get("rule"))
            where, params = _where(**filters)
            ids = [row["id"] for row in gateway.rows(f"select id from cf_files where {where}", params)]
        else:
            ids = [row["id"] for row in _resolve(gateway, named)]
        given: dict[str, Any] = {"file_ids": ids} if len(ids) <= FILE_IDS_LIMIT else {"blob": ids_blob(gateway, ids)}
        result = gateway.request("tag", tag=tag, remove=remove, files=len(ids), **given)
        if not remove:
            say_unread(app, hash_missing(gateway, tag))
    if app.is_json:
        as_json(app, result)
    else:
        app.say(f"{tag} {'off' if remove else 'on'} {count(len(ids), 'file')}")
    return ExitCode.OK


@click.command(
    "tag",
    cls=Command,
    examples="""casparian tag /data/fix_logs/a.log /data/fix_logs/b.log fix
casparian tag --source fix_archive --like "%nyse%" fix""",
)
@click.argument("arguments", nargs=-1, required=True, metavar="[FILES…] TAG")
@click.option("--source", metavar="NAME", help="Instead of FILES: all files of this source.")
@click.option("--like", metavar="PATTERN", help="Instead of FILES: all whose path matches this SQL pattern.")
@click.option("--under", metavar="DIR", help="Instead of FILES: all below this directory.")
@click.option("--root", metavar="DIR", help="Instead of FILES: what a scan of this directory found, and no source.")
@click.option("--contains", metavar="TEXT", help="Instead of FILES: all with this in their relative path, in any case.")
@click.option("--rule", metavar="ID", help="Instead of FILES: all that this rule tagged.")
@click.option("--tagged", metavar="TAG", help="Instead of FILES: all with this tag.")
@click.option("--untagged", is_flag=True, help="Instead of FILES: all without any tag.")
@pass_app
def tag(app: App, arguments: tuple[str, ...], tagged: str | None, **filters: Any) -> ExitCode:
    """Put TAG on FILES (paths, directories or ids), or on all that the options select together."""
    filters["tag"] = tagged
    if not any(filters.values()):
        return _change(app, *_split(arguments), remove=False)
    if len(arguments) != 1:
        raise UsageProblem("Give either files or options that select them.", remedy="With options only TAG is named.")
    return _change(app, (), arguments[0], remove=False, filters=filters)


@click.command("untag", cls=Command, examples="casparian untag /data/fix_logs/a.log fix")
@click.argument("arguments", nargs=-1, required=True, metavar="FILES… TAG")
@pass_app
def untag(app: App, arguments: tuple[str, ...]) -> ExitCode:
    """Take TAG off FILES (paths, directories or ids)."""
    return _change(app, *_split(arguments), remove=True)


def _split(arguments: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    if len(arguments) < 2:
        raise UsageProblem("Files and a tag are needed.", remedy="For example: casparian tag a.log b.log fix")
    return arguments[:-1], arguments[-1]


COMMANDS: dict[str, click.Command] = {"files": files, "tag": tag, "untag": untag}
