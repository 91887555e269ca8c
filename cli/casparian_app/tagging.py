"""Labels on known files: tags put on by hand, tags given by rules, and the digests that tagged files must have."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from casparian_app.gateway import Gateway
from casparian_app.problems import UsageProblem
from casparian_protocol.queries.files import AllFiles, FileFilter, FileId, FileIds, FilesNamed
from casparian_protocol.queries.sources import EnabledRules
from casparian_protocol.tagging import RuleSet, TagRule, check_tag
from casparian_protocol.wire.operations import FILE_IDS_LIMIT
from casparian_worker import ChangeWriter, FileRow, InputChanged, as_catalogue, hash_file, path_os, retag


class NotInCatalogue(UsageProblem):
    """A file that is named was never scanned."""

    def __init__(self, name: str) -> None:
        remedy = f"`casparian scan {name}` takes it in."
        if not os.path.exists(name):
            remedy = "Nothing lies there either. Files come first, the tag last; `casparian files` lists what is known."
        super().__init__(f"{name} is not in the catalogue.", remedy=remedy)


def known_rules(gateway: Gateway) -> list[TagRule]:
    found = gateway.query(EnabledRules())
    return [TagRule.model_validate(json.loads(row["rule_json"])) for row in found]


def files_named(gateway: Gateway, named: Sequence[str]) -> list[FileId]:
    """The files that these paths, directories or beginnings of ids mean. Raises `NotInCatalogue` for one that means none."""
    found: dict[str, FileId] = {}
    for name in named:
        rows = gateway.query(FilesNamed(os.path.abspath(name), name))
        if not rows:
            raise NotInCatalogue(name)
        found |= {row["id"]: row for row in rows}
    return list(found.values())


@dataclass(frozen=True, slots=True)
class Hashed:
    """How many files were digested, and which could not be read, with the reason."""

    files: int
    unread: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Tagged:
    """How many files were meant, what the sentinel answered, and what was digested for it."""

    files: int
    answer: dict[str, object]
    hashed: Hashed


def change_tag(gateway: Gateway, tag: str, chosen: FileFilter | Sequence[str], *, remove: bool) -> Tagged:
    """Put a tag on files, or take it off: on those that a filter selects, or on those with these paths or ids."""
    check_tag(tag)
    rows = gateway.query(FileIds(chosen)) if isinstance(chosen, FileFilter) else files_named(gateway, chosen)
    ids = [row["id"] for row in rows]
    if len(ids) <= FILE_IDS_LIMIT:
        answer = gateway.request("tag", tag=tag, remove=remove, files=len(ids), file_ids=ids)
    else:
        answer = gateway.request("tag", tag=tag, remove=remove, files=len(ids), blob=_ids_blob(gateway, ids))
    return Tagged(len(ids), answer, Hashed(0, ()) if remove else hash_missing(gateway, tag))


def hash_missing(gateway: Gateway, tag: str) -> Hashed:
    """Digest catalogue files that carry the tag and lack a content hash: a tagged file must be known by content."""
    found = gateway.query_table(AllFiles(unhashed_tag=tag))
    writer = ChangeWriter()
    unread = []
    for values in as_catalogue(found).to_pylist():
        row = FileRow.from_map(values)
        try:
            writer.add("rehashed", replace(row, content_hash=hash_file(path_os(row.path)).content_hash))
        except (OSError, InputChanged) as error:
            unread.append((row.path, str(error)))
    hashed = writer.counts["rehashed"]
    if hashed:
        gateway.request("revise", blob=gateway.upload(writer.finish()))
    return Hashed(hashed, tuple(unread))


def retag_all(gateway: Gateway) -> int:
    """Apply the rules as they now are to every known file, in one event; returns how many files changed their tags."""
    blob, changed = retag(gateway.query_table(AllFiles()), RuleSet(known_rules(gateway)))
    if changed:
        gateway.request("revise", blob=gateway.upload(blob))
    return changed


def _ids_blob(gateway: Gateway, ids: Sequence[str]) -> str:
    """Many file ids as a durable blob (Arrow IPC file with the column `id`)."""
    sink = pa.BufferOutputStream()
    table = pa.table({"id": pa.array(ids, pa.string())})
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    return gateway.upload(sink.getvalue().to_pybytes())
