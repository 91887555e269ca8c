"""A change of rules, applied to what is already known: one blob of changes, no look at the disk.

Tags given by hand stay; tags of rules are decided anew. A rule that asks for a kind or digest which the catalogue does
not know finds it missing; the next scan finds it out.
"""

from dataclasses import replace

import pyarrow as pa

from casparian_protocol.tagging import RuleSet, merge_path_fields
from casparian_worker.discovery.catalogue import ChangeWriter, FileRow, as_catalogue

_CHUNK_ROWS = 8192


def retag(catalogue: pa.Table, rules: RuleSet) -> tuple[bytes, int]:
    """The blob of files whose tags differ under these rules, and how many they are."""
    writer = ChangeWriter()
    for batch in as_catalogue(catalogue).to_batches(max_chunksize=_CHUNK_ROWS):
        for values in batch.to_pylist():
            before = FileRow.from_map(values)
            after = under(before, rules)
            if after != before:
                writer.add("retagged", after)
    return writer.finish(), writer.counts["retagged"]


def under(file: FileRow, rules: RuleSet) -> FileRow:
    """The file with the tags and path fields that these rules give it."""
    pairs = zip(file.tags, file.tag_rule_ids, strict=True)
    tags: dict[str, str | None] = {tag: None for tag, rule_id in pairs if rule_id is None}
    hits = rules.hits(file.rel_path, file.kind, file.size, file.content_hash)
    for hit in hits:
        tags.setdefault(hit.tag, hit.rule_id)
    return replace(file, tags=tuple(tags), tag_rule_ids=tuple(tags.values()), path_fields=merge_path_fields(hits))
