"""The pieces of a camt.053 document that are read one by one: beginnings of statements, balances, summaries, entries.

An XML parser stops at the first error, and all that follows would be lost. So pieces are found by their tags, and each is parsed
by itself: a damaged one ends where the next one begins. What is between them may only be the tags around statements.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from xml.etree import ElementTree
from xml.parsers import expat

from casparian_shim.readers import Block, BlockBuilder, Input, What, records

#: Kinds of pieces beside elements: from <Stmt> to its first balance, summary or entry; and </Stmt>.
HEAD, END = "head", "end"
_PREFIX = rb"(?:[A-Za-z_][A-Za-z0-9_.\-]*:)?"
_TOKEN = re.compile(
    rb"<(/?)" + _PREFIX
    + rb"(Document|GrpHdr|Stmt|Bal|TxsSummry|Ntry|AddtlStmtInf|SplmtryData)(?=[\s/>])[^<>]*>|(<!--|<!\[CDATA\[)",
    re.DOTALL,
)  # fmt: skip
_BETWEEN = re.compile(
    rb"(?>\s+|<\?xml[^<>]*\?>|<!--.*?-->|</?" + _PREFIX + rb"(?:Document|BkToCstmrStmt)(?:\s[^<>]*)?>)*+", re.DOTALL
)
_ENCODING = re.compile(rb"<\?xml[^<>]*?encoding\s*=\s*[\"']([A-Za-z][A-Za-z0-9._\-]*)")
_VERSION = re.compile(rb"[\"']urn:iso:std:iso:20022:tech:xsd:(camt\.[0-9.]+)[\"']")
_NAMESPACE = re.compile(rb"\sxmlns:([A-Za-z_][A-Za-z0-9_.\-]*)\s*=")
_ENDS = {b"<!--": b"-->", b"<![CDATA[": b"]]>"}
#: A piece may not be longer.
_HELD_MAX = 64 * 1024 * 1024
_TAG = re.compile(r"<(\S+?)[\s/>]")


class BadXml(ValueError):
    """Not a well-formed piece. The message is a predicate of it."""


class _Tag(NamedTuple):
    name: str
    is_end: bool
    is_empty: bool
    begin: int
    end: int


@dataclass
class Document:
    """What the whole document says."""

    version: str | None = None
    encoding: str = "utf-8"
    prefixes: set[str] = field(default_factory=set)
    is_closed: bool = False
    #: Numbers of pieces that were rejected because they cannot be told from what is around them, until they are noted.
    rejected: deque[int] = field(default_factory=deque)


def read_pieces(source: Any, document: Document, output: str) -> Any:
    """Each piece as `{"kind", "text", "__cf_row_id"}`, numbered from 1."""

    def blocks(opened: Input) -> Iterator[Block]:
        opened.unit = "piece"
        return _Cutter(opened, document).blocks()

    return records(source, blocks, output=output)


class _Cutter:
    def __init__(self, opened: Input, document: Document) -> None:
        self._opened, self._document = opened, document
        self._made = BlockBuilder(["kind", "text"])
        self._held = b""
        #: Offset in the file of what is held, and places in it: up to where it is given out, and scanned.
        self._begin, self._at, self._scanned = opened.offset, 0, 0
        self._open: _Tag | None = None
        self._number = 1
        self._is_first = True

    def blocks(self) -> Iterator[Block]:
        for chunk in self._opened.chunks():
            if self._is_first:
                self._look_at_head(chunk)
            self._held = self._held[self._at :] + chunk
            self._begin, self._scanned = self._begin + self._at, self._scanned - self._at
            if self._open is not None:
                self._open = self._open._replace(begin=self._open.begin - self._at)
            self._at = 0
            self._scan(is_final=False)
            yield self._made.block()
        self._scan(is_final=True)
        if self._open is not None:
            self._between(self._open.begin)
            self._reject(len(self._held), f"ends with the file inside <{self._open.name}>")
        self._between(len(self._held))
        yield self._made.block()

    def _look_at_head(self, chunk: bytes) -> None:
        self._is_first = False
        found = _ENCODING.match(chunk)
        if found is not None:
            self._document.encoding = found[1].decode("ascii")

    def _scan(self, *, is_final: bool) -> None:
        is_too_long = len(self._held) - self._at > _HELD_MAX
        unclosed: set[bytes] = set()
        while (found := _TOKEN.search(self._held, self._scanned)) is not None:
            self._scanned = found.end()
            if found[3] is not None:  # a comment or CDATA
                end = -1 if found[3] in unclosed else self._held.find(_ENDS[found[3]], found.end())
                if end < 0 and not is_final and not is_too_long:
                    self._scanned = found.start()  # its end is in a later chunk
                    return
                if end < 0:
                    unclosed.add(found[3])
                else:
                    self._scanned = end + len(_ENDS[found[3]])
            else:
                tag = _Tag(found[2].decode(), found[1] == b"/", found[0].endswith(b"/>"), found.start(), found.end())
                self._take(tag)
        last = self._held.rfind(b"<", self._scanned)  # a tag may continue in the next chunk
        self._scanned = len(self._held) if last < 0 or is_too_long else last
        if len(self._held) - self._at > _HELD_MAX:
            self._open = None
            self._reject(self._scanned, f"is longer than {_HELD_MAX:,} bytes")

    def _take(self, tag: _Tag) -> None:
        begins_another = tag.name in ("Document", "Stmt", "Bal", "TxsSummry", "Ntry")
        is_open = self._open
        if is_open is not None:
            if is_open.name == "Stmt":
                if not begins_another and tag.name != "AddtlStmtInf":
                    return
                self._piece(HEAD, tag.begin)
            elif tag.name == is_open.name and tag.is_end:
                self._piece(tag.name, tag.end)
                return
            elif begins_another:
                self._between(is_open.begin)
                self._reject(tag.begin, f"has no end of <{is_open.name}> before the next element begins")
            else:
                return
            self._open = None
        if tag.name == "Document":
            self._note_document(tag)
        elif tag.name == "Stmt" and tag.is_end:
            self._between(tag.begin)
            self._open = tag
            self._piece(END, tag.end)
        elif not tag.is_end:
            self._between(tag.begin)
            self._open = tag
            if tag.is_empty:
                self._piece(tag.name if tag.name != "Stmt" else HEAD, tag.end)

    def _note_document(self, tag: _Tag) -> None:
        self._document.is_closed |= tag.is_end
        text = self._held[tag.begin : tag.end]
        version = _VERSION.search(text)
        if version is not None:
            self._document.version = version[1].decode("ascii")
        self._document.prefixes |= {each.decode("ascii") for each in _NAMESPACE.findall(text)}

    # --- what is given out ---

    def _piece(self, kind: str, end: int) -> None:
        assert self._open is not None
        self._between(self._open.begin)
        self._open = None
        try:
            text = self._held[self._at : end].decode(self._document.encoding)
        except (UnicodeError, LookupError) as cause:
            self._reject(end, f"is not text in {self._document.encoding}: {cause}"[:200])
            return
        self._made.row((kind, text), self._number, self._begin + end)
        self._at, self._number = end, self._number + 1

    def _between(self, end: int) -> None:
        """What is not in a piece, up to `end`: tags around the statements, or a rest that nobody can read."""
        if end <= self._at:
            return
        text = self._held[self._at : end]
        if _BETWEEN.fullmatch(text) is None:
            self._reject(end, self._reason(text))
            return
        what = What.ENVELOPE if self._number == 1 else What.BETWEEN_RECORDS
        self._made.skip(what, self._number, self._begin + end)
        self._at, self._number = end, self._number + 1

    def _reason(self, text: bytes) -> str:
        if self._begin + self._at == self._opened.offset and b"\0" in text[:4]:
            return "is in UTF-16 or UTF-32, which this parser does not read"
        if b"<!DOCTYPE" in text:
            return "has a document type (<!DOCTYPE …>), which is not read because it can declare entities"
        return "is no element of a statement, or has a damaged tag"

    def _reject(self, end: int, reason: str) -> None:
        self._made.reject(self._number, self._begin + end, reason, self._held[self._at : end])
        self._document.rejected.append(self._number)
        self._at, self._number = end, self._number + 1


def parsed(kind: str, text: str, document: Document) -> ElementTree.Element:
    """A piece as an element without namespaces. Raises `BadXml`."""
    if kind == HEAD:
        opening = _TAG.match(text)
        text = f"{text}</{opening[1]}>" if opening is not None and not text.endswith("/>") else text
    names = "".join(f' xmlns:{prefix}="urn:{prefix}"' for prefix in sorted(document.prefixes))
    try:
        (element,) = ElementTree.fromstring(f"<piece{names}>{text}</piece>")  # noqa: S314 - no document type can be in it
    except ElementTree.ParseError as cause:
        raise BadXml(f"is not XML: {expat.ErrorString(cause.code)}") from None
    except ValueError as cause:
        raise BadXml(f"is not one element: {cause}"[:200]) from None
    for each in element.iter():
        each.tag = each.tag.rpartition("}")[2]
    return element
