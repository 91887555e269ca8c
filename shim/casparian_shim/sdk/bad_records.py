"""What can be wrong with a file that a reader reads: each says the line, shows it, and names a way on."""

from casparian_shim.errors import CasparianError, ErrorCode

_SHOWN_CHARACTERS = 120


class BadRecord(CasparianError):
    """A record does not have the shape its file promised."""

    code = ErrorCode.INVALID_DATA

    def __init__(self, line: int, reason: str, text: str | None = None, *, remedy: str = "") -> None:
        shown = "" if text is None else f": {_shown(text)}"
        super().__init__(
            f"The record on line {line} {reason}{shown}.",
            remedy=remedy or "Read the file with read_lines and reject such lines, or say what they mean.",
        )
        self.line = line


class BadHeader(CasparianError):
    """The header does not name the columns."""

    code = ErrorCode.INVALID_DATA

    def __init__(self, line: int, reason: str, text: str) -> None:
        super().__init__(
            f"The header on line {line} {reason}: {_shown(text)}.",
            remedy="Name the columns yourself with columns=[…]; skip_lines=N passes over lines before the header, and "
            "header=False is for files without one.",
        )
        self.line = line


class NotTheEncoding(CasparianError):
    """Bytes of a line are not text in the encoding the reader was given."""

    code = ErrorCode.ENCODING_ERROR

    def __init__(self, line: int, encoding: str, cause: UnicodeDecodeError) -> None:
        bad = cause.object[cause.start : cause.start + 1]
        has_zeros = cause.object.count(b"\0") * 4 > len(cause.object)
        around = cause.object[max(0, cause.start - 40) : cause.start + 40].decode("ascii", "backslashreplace")
        place = f"byte {cause.start + 1} ({bad.hex(' ').upper()})" if bad else f"byte {cause.start + 1}"
        super().__init__(
            f"Line {line} is not {encoding}: {place} of it is no such text: {_shown(around)}.",
            remedy=f"Give the reader the file's own encoding, as in encoding='{'utf-16-le' if has_zeros else 'cp1252'}'.",
        )
        self.line = line


def _shown(text: str) -> str:
    plain = text.rstrip("\r\n")
    return repr(plain if len(plain) <= _SHOWN_CHARACTERS else plain[:_SHOWN_CHARACTERS] + "…")
