"""What planning needs to know about files and their jobs, in the sentinel's memory, for homes of moderate size.

`FileMemory` is loaded once from the tables (`remembering`) and then follows the durable events, so that a plan for a few files is
made without asking the tables. It answers a question exactly as the tables would, or not at all: then the tables are asked. It
forgets everything, and is loaded again, after an event whose effect on the tables it does not follow, and when it would get too
large. Nothing depends on it but the time that a plan takes.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from casparian_protocol.errors import CasparianError
from casparian_protocol.events import Event
from casparian_sentinel.blobs import BlobStore
from casparian_sentinel.core import Source, on_change
from casparian_sentinel.operations.known_files import (
    Change,
    KnownFile,
    KnownFiles,
    NotFollowed,
    ReadChanges,
    Standing,
    follow,
)
from casparian_sentinel.projection.queries.planning import AskedFiles, PlannedFile

FILES_MAX = 20_000
#: Contents with jobs, of each parser, including contents that no file has any more.
CONTENTS_MAX = 40_000
#: Roughly the bytes of all files: paths may be long, and tags many.
_WEIGHT_MAX = 50 * 1024**2
#: Files that are noted as in doubt or settled, of all parsers.
_NOTES_MAX = 100_000
#: The largest blob that is read in the event loop, its rows, and its bytes when unpacked; the columns that are needed of it.
_READ_BYTES_MAX, _READ_LIMITS = 64 * 1024, (500, 512 * 1024)
_COLUMNS = tuple(Change.__annotations__)
#: A question about more files, or a decision with so many events, is better served by the tables.
FEW = 500
#: How many files an automatic plan looks at in the event loop.
_A_SLICE = 2_000


@dataclass(frozen=True, slots=True)
class Wanted:
    """A question: which files of the parser are there, and which of them need a job?"""

    parser: str
    #: The tags whose files are asked for, and all those whose files go to the parser.
    topics: Collection[str]
    all_topics: Collection[str]
    path: str = ""
    include_cancelled: bool = False
    #: Whether the files that need no job are counted too.
    is_counted: bool = True


@dataclass(frozen=True, slots=True)
class Known:
    """The answer, as of event `seq`. `files` are those that need a job, in the order of `PLAN_FILES`."""

    seq: int
    counts: AskedFiles
    files: list[PlannedFile]


def changes_in(blobs: BlobStore) -> ReadChanges:
    """Read the changes in these blobs as long as they are few, because it is done in the event loop."""

    def read(digest: str) -> list[Change] | None:
        from casparian_sentinel.projection.files import (
            read_changes,  # imports pyarrow; `remember` did so in a thread
        )

        try:
            if blobs.size(digest) > _READ_BYTES_MAX:
                return None
            table = read_changes(blobs.get(digest), _READ_LIMITS)
        except (CasparianError, OSError):  # it is large or damaged, or the disk is; those who must read it report it
            return None
        changes: list[Change] = table.select(_COLUMNS).to_pylist()
        return changes

    return read


def is_too_large(known: KnownFiles) -> bool:
    return (
        len(known.files) > FILES_MAX
        or known.standings > CONTENTS_MAX
        or known.weight > _WEIGHT_MAX
        or sum(map(len, known.doubts.values())) > _NOTES_MAX
    )


class FileMemory:
    def __init__(self, read_changes: ReadChanges = lambda _digest: None) -> None:
        self._read_changes = read_changes
        self._known: KnownFiles | None = None
        #: The events since loading began.
        self._meanwhile: list[tuple[int, Event]] | None = None
        #: Whether it was asked while it knew nothing.
        self.is_wanted = False

    @property
    def is_loaded(self) -> bool:
        return self._known is not None

    def forget(self) -> None:
        self._known = self._meanwhile = None

    # --- loading

    def begin(self) -> None:
        """Keep the events from now on: the tables are going to be asked for what was before."""
        self._known, self._meanwhile, self.is_wanted = None, [], False

    def load(self, known: KnownFiles) -> None:
        """Take in what the tables say, and the later events that were kept."""
        meanwhile, self._meanwhile = self._meanwhile, None
        if meanwhile is not None:  # otherwise too much happened
            self._known = known
            self._follow([(at, event) for at, event in meanwhile if at > known.seq])
            self.is_wanted = self._known is None  # what was asked meanwhile is answered from now on

    # --- following the log

    def note(self, events: Sequence[Event], first_seq: int) -> None:
        """These events are durable."""
        if not events or (self._known is None and self._meanwhile is None):
            return
        if self._meanwhile is None:
            if len(events) >= FEW:
                self.forget()
            else:
                self._follow(enumerate(events, first_seq))
        elif len(self._meanwhile) + len(events) > FEW:
            self.forget()
        else:
            self._meanwhile += enumerate(events, first_seq)

    def no_doubt(self, parser: str, topics: Collection[str], seq: int) -> None:
        """As of event `seq`, the parser has nothing to recognise in the files with these tags."""
        if (known := self._known) is not None and (doubts := known.doubts.get(parser)):
            cleared = [
                file_id
                for file_id, since in doubts.items()
                if since <= seq and not known.files[file_id].tags.isdisjoint(topics)
            ]
            for file_id in cleared:
                del doubts[file_id]

    def _follow(self, events: Iterable[tuple[int, Event]]) -> None:
        known = self._known
        assert known is not None
        try:
            for seq, event in events:
                follow(known, seq, event, self._read_changes)
        except NotFollowed:
            self.forget()
        except BaseException:
            self.forget()
            raise
        if is_too_large(known):
            self.forget()

    # --- answering

    def look(self, wanted: Wanted, sources: Iterable[Source]) -> Known | None:
        """The answer, or None if the tables must be asked. `sources` say which files keep their earlier rows."""
        known = self._known
        if known is None:
            self.is_wanted = True
            return None
        doubts = known.doubts.get(wanted.parser, ())
        if any(not known.files[file_id].tags.isdisjoint(wanted.all_topics) for file_id in doubts):
            return None
        files = _selected(known, wanted)
        if files is None:
            return None
        answer = _answer(known, wanted, files)
        if answer is not None:
            appended = [source for source in sources if on_change(source.options) == "append"]
            for file in answer.files:
                id_, path = file["source_id"], file["path"]
                is_appended = any(id_ == one.source_id or path.startswith(one.path + "/") for one in appended)
                file["on_change"] = "append" if is_appended else "replace"
        return answer


def _selected(known: KnownFiles, wanted: Wanted) -> list[KnownFile] | None:
    """The files below the path that have one of the tags; None if they are too many to look at each.

    If they need not be counted, those that need no job are left out.
    """
    ids: list[str] = []
    if wanted.path:
        at = bisect_left(known.paths, (wanted.path, ""))
        while at < len(known.paths) and known.paths[at][0].startswith(wanted.path):
            ids.append(known.paths[at][1])
            at += 1
            if len(ids) > FEW:
                return None
    else:
        tagged = set[str]().union(*(known.by_tag.get(tag, ()) for tag in wanted.topics))
        if not wanted.is_counted:
            tagged -= known.settled.get(wanted.parser, set())
        ids += islice(tagged, _A_SLICE)
        if len(tagged) > FEW:
            _settle(known, wanted.parser, (known.files[file_id] for file_id in ids))  # fewer are left the next time
            return None
    found = (known.files[file_id] for file_id in ids)
    return [file for file in found if not file.tags.isdisjoint(wanted.topics)]


def _settle(known: KnownFiles, parser: str, files: Iterable[KnownFile]) -> None:
    """Note which of these files need no job, so that automatic plans need not look at them again."""
    if sum(map(len, known.settled.values())) > _NOTES_MAX:
        known.settled.clear()
    settled = known.settled.setdefault(parser, set())
    for file in files:
        standing = known.contents.get(file.content_hash or "", {}).get(parser)
        if standing is not None and not standing.failed and not standing.is_cancelled:
            settled.add(file.id)


def _answer(known: KnownFiles, wanted: Wanted, files: Sequence[KnownFile]) -> Known | None:
    counts = AskedFiles(files=len(files), not_hashed=0, contents=0, cancelled=0, open=0, ended=0, failed=0)
    first: dict[str, KnownFile] = {}
    for file in files:
        content = file.content_hash
        if content is None:  # its directory has to be scanned again
            return None
        before = first.get(content)
        if before is None or (file.path, file.id) < (before.path, before.id):
            first[content] = file
    pending: list[KnownFile] = []
    for content, file in first.items():
        counts["contents"] += 1
        standing = known.contents.get(content, {}).get(wanted.parser)
        if standing is None or not standing.has_jobs:
            pending.append(file)
        elif standing.failed and not _speaks(known, content, standing):
            return None
        elif standing.is_cancelled:
            counts["cancelled"] += 1
            if wanted.include_cancelled:
                pending.append(file)
        elif standing.open:
            counts["open"] += 1
        else:
            counts["ended"] += 1
            counts["failed"] += not standing.done
    _settle(known, wanted.parser, files)
    pending.sort(key=lambda file: (file.path, file.id))
    return Known(known.seq, counts, [_planned(file, wanted.topics) for file in pending])


def _speaks(known: KnownFiles, content: str, standing: Standing) -> bool:
    """Whether all failures surely count: their file is still there, and had the content since before the first one."""
    if standing.failed_at is None:
        return False
    file_id, path = standing.failed_at
    file = known.files.get(file_id)
    return (
        file is not None
        and not file.is_vanished
        and file.path == path
        and file.content_hash == content
        and file.content_seq is not None
        and file.content_seq < standing.failed_since
    )


def _planned(file: KnownFile, topics: Collection[str]) -> PlannedFile:
    return PlannedFile(
        id=file.id,
        path=file.path,
        rel_path=file.rel_path,
        source_id=file.source_id,
        kind=file.kind,
        content_hash=file.content_hash or "",
        size=file.size,
        tag=min(file.tags.intersection(topics)),
        on_change="replace",
        content_seq=file.content_seq,
    )
