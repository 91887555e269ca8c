r"""File names as text, without loss.

A name on Linux is bytes. Valid UTF-8 is shown as it is; any other byte becomes `\xNN` (lower-case hex, so `\xe9`).
So that this can be undone, a backslash that stands before `x5c` or such a `\xNN` is itself written `\x5c`.
`path_text` and `path_os` are each other's inverse for every name that exists.
"""

import os
import re

_ESCAPE = re.compile(r"\\x(5c|[89a-f][0-9a-f])")
_LONE_BYTE = re.compile("[\udc80-\udcff]")


def path_text(path: str) -> str:
    """What the operating system gave (undecodable bytes as surrogates) → text that any store and screen can take."""
    if "\\" in path:
        path = _ESCAPE.sub(r"\\x5cx\1", path)
    if not path.isascii():
        path = _LONE_BYTE.sub(lambda lone: f"\\x{ord(lone[0]) - 0xDC00:02x}", path)
    return path


def path_os(text: str) -> str:
    """Text of `path_text` → what the operating system takes."""
    if "\\x" not in text:
        return text
    return os.fsdecode(
        _ESCAPE.sub(lambda found: chr(0xDC00 + int(found[1], 16)) if found[1] != "5c" else "\\", text).encode(
            "utf-8", "surrogateescape"
        )
    )


def names_text(names: list[str]) -> list[str]:
    """`path_text` for a whole directory; nearly always nothing has to be done, and that is seen in one look."""
    joined = "\0".join(names)
    if joined.isascii() and "\\" not in joined:
        return names
    return [path_text(name) for name in names]
