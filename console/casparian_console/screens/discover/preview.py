"""What is known of the chosen file: a look into it, its place in the catalogue, its jobs. Pure.

A look is a process of its own (`casparian preview`), so only one runs at a time: while it does, the cursor may go on, and
then the file is looked at on which it came to rest. The last looks are kept.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from typing import Any, Literal

from casparian_console.effects import Effects, Query, RunCommand
from casparian_console.messages import Answer, Ended, Failed, Output
from casparian_console.screens.discover.window import File

View = Literal["records", "text", "hex", "about"]
VIEWS: tuple[View, ...] = ("records", "text", "hex", "about")
_KEPT = 50
_ROWS = 100

_ABOUT = """
select f.path, f.size, f.kind,
    (select c.status_text from cf_files c where c.id = f.id) as status, f.content_hash, epoch_us(f.first_seen) as first_seen,
    epoch_us(f.last_changed) as last_changed, f.mtime, f.path_fields,
    (select string_agg(t.tag || case when t.rule_id is null then ' (by hand)'
        else ' (' || coalesce((select r.pattern from scout_tagging_rules r where r.id = t.rule_id), 'a removed rule') || ')' end,
        chr(10) order by t.tag) from scout_file_tags t where t.file_id = f.id) as tags,
    case when f.content_hash is not null then (select min(o.path) from scout_files o
        where o.content_hash = f.content_hash and o.path < f.path and o.status <> 'vanished') end as duplicate_of
from scout_files f where f.id = ?
"""
_JOBS = """
select id, job_type, status, plugin_name, parser_version, epoch_us(coalesce(end_time, claim_time, queued_at)) as since_us,
    rows_valid, quarantine_rows, error_code, error_message
from cf_processing_queue where input_file = ? order by sequence desc limit 30
"""
#: (file, time of modification): another content is another look.
Key = tuple[str, int]


class Preview:
    """See the module."""

    def __init__(self) -> None:
        self.view: View = "records"
        self.top = 0
        self.file: File | None = None
        self._looks: OrderedDict[Key, dict[str, Any]] = OrderedDict()
        self._looking: Key | None = None
        self._chunks: list[str] = []
        self.about: dict[str, Any] = {}
        self.jobs: list[dict[str, Any]] = []
        #: Raised with every change of what is shown.
        self.revision = 0
        #: Whose catalogue entry is on its way.
        self._asked = ""

    @property
    def look(self) -> dict[str, Any]:
        """The document of `casparian preview` for the chosen file; `problem` in it when there is none; empty while waiting."""
        return self._looks.get(_key(self.file), {}) if self.file is not None else {}

    def choose(self, file: File | None) -> Effects:
        """The cursor stands on `file`."""
        self.revision += file != self.file
        if file is None:
            self.file, self.about, self.jobs = None, {}, []
            return []
        if self.file is None or self.file.file_id != file.file_id:
            self.top, self.about, self.jobs = 0, {}, []
        self.file = file
        return [*self._look(file), *self._facts(file)]

    def refresh(self) -> Effects:
        """What the catalogue knows may be another thing now."""
        self._asked = ""
        return self._facts(self.file, is_again=True) if self.file is not None else []

    def _look(self, file: File) -> Effects:
        key = _key(file)
        if key in self._looks or self._looking is not None:
            return []
        self._looking, self._chunks = key, []
        args = ("preview", file.path, "--json", "--hex", "-n", str(_ROWS))
        return [RunCommand(("discover", "look", file.file_id), args, is_logged=False)]

    def _facts(self, file: File, *, is_again: bool = False) -> Effects:
        if self._asked or (self.about and not is_again):
            return []
        self._asked = file.file_id
        return [
            Query(("discover", "about", file.file_id), _ABOUT, (file.file_id,)),
            Query(("discover", "jobs", file.file_id), _JOBS, (file.path,), 30),
        ]

    def took(self, message: Answer | Output | Ended | Failed) -> Effects:
        what, file_id = message.tag[1], message.tag[2]
        self.revision += 1
        if what == "look":
            return self._took_look(message)
        is_mine = self.file is not None and self.file.file_id == file_id
        if what == "jobs":
            self._asked = ""
        if isinstance(message, Answer) and is_mine:
            if what == "about":
                self.about = message.maps()[0] if message.rows else {}
            else:
                self.jobs = message.maps()
        return self.choose(self.file) if what == "jobs" and not is_mine else []

    def _took_look(self, message: Answer | Output | Ended | Failed) -> Effects:
        if isinstance(message, Output):
            self._chunks.append(message.text)
            return []
        if self._looking is not None:
            self._looks[self._looking] = _document("".join(self._chunks), message)
            if len(self._looks) > _KEPT:
                self._looks.popitem(last=False)
        self._looking, self._chunks = None, []
        return self._look(self.file) if self.file is not None else []

    def views(self) -> list[View]:
        """Those that there is something to see in."""
        look = self.look
        if not look:
            return [self.view]
        there: list[View] = ["records"] if look.get("records") else []
        there += ["text"] if look.get("lines") else []
        there += ["hex"] if look.get("hex") else []
        return [*there, "about"]

    @property
    def shown(self) -> View:
        """The wished view, or the nearest that this file has."""
        views = self.views()
        return self.view if self.view in views else views[0]

    def next_view(self) -> None:
        views = self.views()
        self.view = views[(views.index(self.shown) + 1) % len(views)]
        self.top = 0


def _key(file: File) -> Key:
    return (file.file_id, file.mtime_ns)


def _document(text: str, message: Answer | Ended | Failed) -> dict[str, Any]:
    if isinstance(message, Failed):
        return {"problem": f"{message.problem} {message.remedy}".strip()}
    try:
        found = json.loads(text)
    except ValueError:
        said = message.stderr if isinstance(message, Ended) else ""
        lines = [line.strip().removeprefix("casparian: ") for line in said.splitlines() if line.strip()]
        return {"problem": " ".join(lines) or "It cannot be looked at."}
    return found if isinstance(found, dict) else {"problem": "It cannot be looked at."}
