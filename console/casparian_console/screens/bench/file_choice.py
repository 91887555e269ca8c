"""On which file a parser is tested: those that failed last first, then those that broke their contract, then the rest."""

from __future__ import annotations

from collections.abc import Callable

from casparian_console.canvas import Glyphs, Line
from casparian_console.effects import Effects, Query, Tag
from casparian_console.facts.registry import Parser
from casparian_console.messages import Answer
from casparian_console.overlays import Choose
from casparian_console.text import clean, size

#: Chosen to name a path instead.
OTHER = ""
_LIMIT = 300

#: Each input of the parser as its last job left it, then files with one of its topics that it has not seen.
_OF_PARSER = """
with tried as (
    select input_file as path, max_by(status, sequence) as status, max_by(quarantine_rows, sequence) as bad,
        max(sequence) as seen
    from cf_processing_queue where job_type = 'PARSE' and plugin_name = ? and input_file is not null group by input_file
), topical as (
    select f.path, f.size from scout_files f
    where f.status <> 'vanished' and f.path not in (select path from tried) and f.id in (
        select t.file_id from scout_file_tags t where list_contains(string_split(?, chr(10)), t.tag))
    order by f.path limit 300
)
select path, standing, size from (
    select t.path, t.seen, case when t.status in ('FAILED', 'DEAD_LETTER') then 'failed'
        when t.bad > 0 then 'bad rows'
        when t.status in ('COMPLETED', 'PARTIAL_SUCCESS') then 'passed' else 'open' end as standing,
        (select max(f.size) from scout_files f where f.path = t.path) as size
    from tried t
    union all select path, 0, 'new', size from topical
) order by case standing when 'failed' then 0 when 'bad rows' then 1 when 'open' then 2 when 'new' then 3 else 4 end,
    seen desc, path limit ?
"""
_OF_CATALOGUE = """
select path, 'known' as standing, size from scout_files where status <> 'vanished' order by last_changed desc, path limit ?
"""


def file_query(tag: Tag, parser: Parser | None) -> Query:
    if parser is None:
        return Query(tag, _OF_CATALOGUE, (_LIMIT,), _LIMIT)
    return Query(tag, _OF_PARSER, (parser.name, "\n".join(parser.topics), _LIMIT), _LIMIT)


class FileChoice(Choose):
    """The files, once the projection has named them; what is typed before that stays, and Enter waits."""

    def __init__(self, title: str, then: Callable[[str], Effects]) -> None:
        super().__init__(title, [], then)
        self.wish = (110, 24)

    def fill(self, answer: Answer) -> None:
        self.options = [
            *(
                (str(path), f"{standing:<9}{size(length or 0):>10}  {clean(path)}")
                for path, standing, length in answer.rows
            ),
            (OTHER, "another file: type its path"),
        ]

    def fail(self) -> None:
        """Nobody can say which files there are: a path can still be typed."""
        self.options = [(OTHER, "another file: type its path")]

    def body(self, width: int, height: int, glyphs: Glyphs) -> list[Line]:
        lines = super().body(width, height, glyphs)
        return lines if self.options else [*lines[:2], [("dim", f"asking which files there are{glyphs.ellipsis}")]]
