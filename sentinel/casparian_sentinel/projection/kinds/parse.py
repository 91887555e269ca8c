"""PARSE: the file, its content and the artifact that reads it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from casparian_protocol.jobs import ParseWork
from casparian_sentinel.projection.kinds.rows import JobRows

if TYPE_CHECKING:
    from casparian_sentinel.projection.rows import Row


class ParseRows(JobRows[ParseWork]):
    publishes_contents = True

    def columns(self, work: ParseWork) -> Row:
        return {
            "file_version_id": work.input.file_id or None,
            "content_hash": work.input.content_hash or None,
            "artifact_hash": work.artifact or None,
        }
