"""What the detector says about a file: its kind, how sure it is and why, and the arguments that a reader needs.

Every type here is frozen data. `Detected.details` has one type a family of formats, with the arguments that a reader of that
family needs; sentences are for people, and name counts and lines.
"""

from __future__ import annotations

from dataclasses import dataclass

from casparian_worker.detection.encodings import Encoding
from casparian_worker.detection.text import LineEnds

KINDS = (
    "empty",
    "fix",
    "hl7",
    "x12",
    "edifact",
    "nacha",
    "bai2",
    "mt940",
    "camt053",
    "evtx",
    "pcap",
    "gzip",
    "bzip2",
    "xz",
    "zip",
    "zstd",
    "tar",
    "xlsx",
    "parquet",
    "arrow",
    "sqlite",
    "pdf",
    "json",
    "ndjson",
    "xml",
    "delimited",
    "fixed_width",
    "syslog",
    "key_value",
    "multiline",
    "text",
    "binary",
)


@dataclass(frozen=True, slots=True)
class Table:
    """One of several tables in a file: its lines, and how many columns it has."""

    first_line: int
    last_line: int
    column_count: int
    #: Its first line, if that names the columns.
    header: str = ""


#: What `read_csv` does if nothing is said.
_DEFAULTS: dict[str, object] = {
    "delimiter": ",",
    "quote": '"',
    "escape": None,
    "comment": None,
    "header": True,
    "columns": None,
    "skip_lines": 0,
    "footer": None,
}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a delimited text is written."""

    delimiter: str
    #: None: quotes are text like any other.
    quote: str | None
    #: The character that takes the meaning from a quote; None if quotes are doubled instead.
    escape: str | None
    column_count: int
    #: The number of lines with names; None if the columns give no clue.
    header_lines: int | None
    #: A name for each column: the header's, made distinct, or `column_1`.
    names: tuple[str, ...]
    #: Lines before the table and after it.
    preamble_lines: int
    footer_lines: int
    comment: str | None
    record_count: int
    #: The records that have `column_count` fields and no doubtful quote.
    agreeing_count: int
    tables: tuple[Table, ...] = ()
    #: Whether `names` are exactly what the header says.
    has_own_names: bool = False

    @property
    def has_header(self) -> bool | None:
        return None if self.header_lines is None else self.header_lines > 0

    @property
    def options(self) -> dict[str, object]:
        """The arguments of `read_csv` that differ from its defaults, but for the encoding."""
        header = self.header_lines or 0
        given: dict[str, object] = {
            "delimiter": self.delimiter,
            "quote": self.quote,
            "escape": self.escape,
            "comment": self.comment,
            "header": header if header > 1 else bool(header),
            "columns": None if self.has_own_names else list(self.names),
            "skip_lines": self.preamble_lines,
            "footer": self.footer_lines or None,
        }
        return {name: value for name, value in given.items() if value != _DEFAULTS[name]}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a fixed-width record: from `start`, before `end`, counted from 0."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class RecordType:
    """Records with one code at the layout's `type_field`: how many were seen, and the columns that they share."""

    code: str
    count: int
    fields: tuple[Field, ...]


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of fixed-width records. If there are several types of records, each has columns of its own."""

    fields: tuple[Field, ...]
    width: int
    type_field: tuple[int, int] | None = None
    record_types: tuple[RecordType, ...] = ()
    #: The length of a record in bytes, in a file without line ends.
    record_bytes: int | None = None

    @property
    def starts(self) -> tuple[int, ...]:
        return tuple(field.start for field in self.fields)


@dataclass(frozen=True, slots=True)
class Segments:
    """The separators of HL7, X12, EDIFACT or FIX, from the file's own header."""

    element: str
    segment: str
    component: str = ""
    repetition: str = ""
    escape: str = ""
    #: Message types and how many of each were seen.
    messages: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Json:
    """JSON: one value a line, an array, or one object. `names` are the members of the objects seen, in order of appearance."""

    shape: str
    names: tuple[str, ...] = ()
    record_count: int = 0
    bad_count: int = 0


@dataclass(frozen=True, slots=True)
class Xml:
    """XML: the element that repeats, and the names of its children and attributes."""

    root: str
    element: str
    element_count: int
    names: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Log:
    """A log: `start` is the pattern that begins a record, `keys` are those of key=value pairs."""

    style: str
    start: str = ""
    keys: tuple[str, ...] = ()
    record_count: int = 0


Details = Dialect | Layout | Segments | Json | Xml | Log


@dataclass(frozen=True, slots=True)
class Detected:
    """The verdict on a file."""

    kind: str
    #: The share of the sample that has this form; 1.0 for a signature.
    confidence: float
    evidence: tuple[str, ...]
    doubts: tuple[str, ...] = ()
    encoding: Encoding | None = None
    line_ends: LineEnds | None = None
    details: Details | None = None
    #: The content of a gzip file.
    inner: Detected | None = None

    @property
    def why(self) -> str:
        """The first sentence of the evidence."""
        return self.evidence[0] if self.evidence else ""

    @property
    def content(self) -> Detected:
        """The verdict on what the file holds: of a gzip file, its content."""
        return self.inner or self

    @property
    def delimiter(self) -> str | None:
        """What stands between the fields of a record or segment."""
        match self.details:
            case Dialect(delimiter=delimiter):
                return delimiter
            case Segments(element=element):
                return element
        return None

    @property
    def has_header(self) -> bool | None:
        return self.details.has_header if isinstance(self.details, Dialect) else None

    @property
    def codec(self) -> str | None:
        return self.encoding.name if self.encoding is not None else None
