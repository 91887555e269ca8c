"""Queries of the file index: lists and pages, one file, and the files that a scan or a parser needs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, TypedDict

from casparian_protocol.bounds import Count
from casparian_protocol.queries.query import Query


@dataclass(frozen=True)
class FileFilter:
    """Files of the file index that satisfy every given condition. Vanished files match only if `status` includes them."""

    tag: str | None = None
    is_untagged: bool = False
    #: Only files of whose tags no parser takes any.
    is_unclaimed: bool = False
    #: A source's name or id.
    source: str | None = None
    #: A directory that was scanned by hand and is not a source, with its slash at the end.
    root: str | None = None
    rule_id: str | None = None
    status: str | None = None
    #: SQL's LIKE over the whole path.
    like: str | None = None
    #: A directory, absolute.
    under: str | None = None
    #: A text in the relative path; letter case does not matter.
    contains: str | None = None
    #: The beginning and the end of the relative path.
    starts_with: str = ""
    ends_with: str = ""


class FileListed(TypedDict):
    """A file in a list, as `casparian files --json` prints it."""

    id: str
    path: str
    rel_path: str
    size: int | None
    kind: str | None
    status: str
    status_text: str
    rows: int
    tags: str | None
    content_hash: str | None
    duplicate_of: str | None
    source_id: str | None


@dataclass(frozen=True)
class FilesListed(Query[FileListed]):
    """Files in the order of their paths."""

    filter: FileFilter
    limit: Count


class FileId(TypedDict):
    id: str
    path: str


@dataclass(frozen=True)
class FileIds(Query[FileId]):
    filter: FileFilter


@dataclass(frozen=True)
class FilesNamed(Query[FileId]):
    """Files that have this path, are below it, or whose id begins with `text` (of eight digits or more)."""

    path: str
    text: str = ""


class FilePaged(TypedDict):
    """A file as the console's list shows it."""

    id: str
    path: str
    rel_path: str
    size: int | None
    mtime: int | None
    kind: str
    status: str
    is_hashed: bool
    tags: str


PageStart: TypeAlias = Literal["after", "from", "before", "all"]


@dataclass(frozen=True)
class FilePage(Query[FilePaged]):
    """At most `limit` files after the key (or from it on, or before it), ordered by path and id.

    `where` is `after`, `from`, `before` (then the last of them come first) or `all`, which needs no key.
    """

    filter: FileFilter
    limit: Count
    where: PageStart = "all"
    path: str = ""
    id: str = ""
    is_descending: bool = False


class FileTotal(TypedDict):
    files: int
    bytes: int
    #: The number of files before the key.
    before: int


@dataclass(frozen=True)
class FileTotals(Query[FileTotal]):
    filter: FileFilter
    path: str = ""
    id: str = ""


class FilePath(TypedDict):
    path: str
    id: str
    rel_path: str


@dataclass(frozen=True)
class FilePaths(Query[FilePath]):
    """Like `FilePage` with `after`, but only paths, for matching a pattern against all files."""

    filter: FileFilter
    limit: Count
    path: str = ""
    id: str = ""


class Folder(TypedDict):
    """An entry of a folder: a subfolder (`name` ends with a slash), or its files of one extension."""

    name: str
    files: int
    bytes: int
    untagged: int


@dataclass(frozen=True)
class Folders(Query[Folder]):
    filter: FileFilter
    folder: str
    limit: Count = 2000


class FileAbout(TypedDict):
    """One file's entry in the file index; `tags` has one line for each tag, with the rule that gave it."""

    path: str
    size: int | None
    kind: str | None
    status: str
    content_hash: str | None
    first_seen: int | None
    last_changed: int | None
    mtime: int | None
    path_fields: str | None
    tags: str | None
    duplicate_of: str | None


@dataclass(frozen=True)
class AboutFile(Query[FileAbout]):
    file_id: str


class JobOfFile(TypedDict):
    id: str
    job_type: str
    status: str
    plugin_name: str | None
    parser_version: str | None
    since_us: int | None
    rows_valid: int | None
    quarantine_rows: int | None
    error_code: str | None
    error_message: str | None


@dataclass(frozen=True)
class JobsOfFile(Query[JobOfFile]):
    """The latest jobs whose input is this path."""

    path: str
    limit: Count = 30


class InputFile(TypedDict):
    """A file to try a parser on, and the result of its last job: failed, bad rows, open, new, passed, known."""

    path: str
    standing: str
    size: int | None


@dataclass(frozen=True)
class InputsOfParser(Query[InputFile]):
    """The parser's inputs with the results of their last jobs, then files with its topics that it has not processed."""

    parser: str
    topics: tuple[str, ...]
    limit: Count = 300


@dataclass(frozen=True)
class RecentFiles(Query[InputFile]):
    """Files of the file index, the latest change first."""

    limit: Count = 300


class SourceOfFiles(TypedDict):
    """A source, or a directory that was scanned by hand (`root`), with its files."""

    source_id: str | None
    root: str | None
    files: int


@dataclass(frozen=True)
class FilesBySource(Query[SourceOfFiles]):
    pass


class LabelOfFiles(TypedDict):
    """A choice of files with its counts; `kind` is tag, rule, untagged or all."""

    kind: str
    value: str
    name: str
    files: int


@dataclass(frozen=True)
class FilesByLabel(Query[LabelOfFiles]):
    pass


class FileSum(TypedDict):
    files: int
    bytes: int
    untagged: int


@dataclass(frozen=True)
class FileSums(Query[FileSum]):
    """Counts over the whole file index."""


class KindCount(TypedDict):
    kind: str
    files: int


@dataclass(frozen=True)
class FilesByKind(Query[KindCount]):
    """The files below these paths, counted by kind."""

    roots: tuple[str, ...]


class IndexedFile(TypedDict):
    """A file in the form that a scan compares; queried as an Arrow table."""

    id: str
    path: str
    rel_path: str
    source_id: str | None
    size: int | None
    mtime_ns: int | None
    device: int | None
    inode: int | None
    content_hash: str | None
    kind: str | None
    tags: list[str]
    tag_rule_ids: list[str | None]
    tag_source: str | None
    rule_id: str | None
    #: Pairs of name and text.
    path_fields: list[list[str]]
    is_gone: bool


@dataclass(frozen=True)
class KnownFiles(Query[IndexedFile]):
    """A page of the file index below a root, with paths relative to it, in the order of the paths; vanished files included.

    The page has files after path `after` and id `after_id`, either vanished or not. A path may have several vanished
    files.
    """

    root: str
    is_gone: bool | None = None
    after: str = ""
    after_id: str = ""
    limit: Count | None = None


@dataclass(frozen=True)
class AllFiles(Query[IndexedFile]):
    """The file index without vanished files; `unhashed_tag`: only files with this tag and without a content hash."""

    unhashed_tag: str | None = None


class FileCandidate(TypedDict):
    rel_path: str
    kind: str | None
    size: int | None
    content_hash: str | None


@dataclass(frozen=True)
class FileCandidates(Query[FileCandidate]):
    """The files to try a rule on."""

    source_id: str | None = None
