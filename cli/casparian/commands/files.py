"""`files`, `tag`, `untag`: the catalogue of files and the labels on them."""

from __future__ import annotations

import os
from collections.abc import Sequence

import rich_click as click

from casparian.app import App, Command, ExitCode, pass_app
from casparian.options import POSITIVE
from casparian.render import as_json, table
from casparian_app.names import need
from casparian_app.problems import UsageProblem
from casparian_app.wording import count, size
from casparian_protocol.queries.files import FileFilter, FilesListed


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
    chosen = FileFilter(tag=tag, is_untagged=untagged, is_unclaimed=unclaimed, status=status, source=source, like=like)
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
        empty="No such files; `casparian scan PATH` finds some.",
        right=("size", "rows"),
    )
    if len(found) == limit:
        app.say(f"(the first {limit}; --limit shows more)")
    return ExitCode.OK


def _change(app: App, tag: str, chosen: FileFilter | Sequence[str], *, remove: bool) -> ExitCode:
    from casparian.commands.scan import say_unread
    from casparian_app.tagging import change_tag

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
    """Put TAG on FILES (paths, directories or ids), or on all that the options select together."""
    chosen = FileFilter(
        tag=tagged,
        is_untagged=untagged,
        source=source,
        like=like,
        under=os.path.abspath(under) if under else None,
        root=os.path.join(os.path.abspath(root), "") if root else None,
        contains=contains,
        rule_id=rule,
    )
    if chosen == FileFilter():
        files, named = _split(arguments)
        return _change(app, named, files, remove=False)
    if len(arguments) != 1:
        raise UsageProblem("Give either files or options that select them.", remedy="With options only TAG is named.")
    return _change(app, arguments[0], chosen, remove=False)


@click.command("untag", cls=Command, examples="casparian untag /data/fix_logs/a.log fix")
@click.argument("arguments", nargs=-1, required=True, metavar="FILES… TAG")
@pass_app
def untag(app: App, arguments: tuple[str, ...]) -> ExitCode:
    """Take TAG off FILES (paths, directories or ids)."""
    files, named = _split(arguments)
    return _change(app, named, files, remove=True)


def _split(arguments: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    if len(arguments) < 2:
        raise UsageProblem("Files and a tag are needed.", remedy="For example: casparian tag a.log b.log fix")
    return arguments[:-1], arguments[-1]


COMMANDS: dict[str, click.Command] = {"files": files, "tag": tag, "untag": untag}
