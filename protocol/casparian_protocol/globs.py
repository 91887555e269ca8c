"""Globs over relative paths, compiled to regular expressions with bounded backtracking.

A pattern becomes one anchored regex. Each wildcard except the last of its stretch commits to the first match of what follows
it (an atomic group), so that a hostile pattern takes at most pattern × path steps. The module uses no file system; paths are
text with `/` between their parts.

The language: `*` and `?` within one part, `**` for any number of parts, `[abc]` `[a-z]` `[!a]`, `{csv,tsv}` for
alternatives, `{client}` for one or more characters that are kept as a path field, `{date:%Y-%m-%d}` for a date.
`\\` takes the next character literally. A pattern without `/` is matched against the file's name in any directory; one
that ends with `/` matches everything below.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from casparian_protocol.errors import CasparianError

MAX_PATTERN_CHARACTERS = 1024
MAX_ALTERNATIVES = 128

_FIELD = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)(?::([^{}]*))?\}")
_DATE_PARTS = {
    "Y": "[0-9]{4}",
    "m": "(?:0[1-9]|1[0-2])",
    "d": "(?:0[1-9]|[12][0-9]|3[01])",
    "j": "[0-3][0-9]{2}",
    "H": "(?:[01][0-9]|2[0-3])",
    "M": "[0-5][0-9]",
    "S": "[0-5][0-9]",
    "f": "[0-9]{6}",
}
_TIME_DIRECTIVES = frozenset("HMSf")


class BadGlob(CasparianError):
    """The pattern is not valid, or has more alternatives than are allowed."""

    def __init__(self, pattern: str, why: str) -> None:
        shown = pattern if len(pattern) <= 80 else pattern[:77] + "..."
        super().__init__(
            f"{shown!r} is not a valid pattern: {why}.",
            remedy="A pattern looks like `**/*.csv`, `logs/**/2024-??-*.{fix,log}` or `{client}/{date:%Y-%m-%d}/*.hl7`.",
        )


@dataclass(frozen=True, slots=True)
class Glob:
    """A compiled pattern: `regex` without captures for combining, `match` with its path fields."""

    pattern: str
    regex: str
    #: The extension that every matching path has (`.csv`), if the pattern fixes one; else empty.
    suffix: str
    #: Whether `suffix` is the only condition of the pattern (`**/*.csv`).
    suffix_is_all: bool
    date_formats: dict[str, str]
    field_names: tuple[str, ...]
    _branches: tuple[re.Pattern[str], ...]

    def matches(self, rel_path: str) -> bool:
        return self.match(rel_path) is not None

    def match(self, rel_path: str) -> dict[str, str] | None:
        """The path fields of a matching path (often none), or None. Dates come back in ISO form."""
        for branch in self._branches:
            if (found := branch.match(rel_path)) is not None:
                fields = _checked(found.groupdict(), self.date_formats)
                if fields is not None:
                    return fields
        return None


def compile_glob(pattern: str) -> Glob:
    """Compile a pattern. Raises `BadGlob` with the reason."""
    if not pattern or len(pattern) > MAX_PATTERN_CHARACTERS:
        raise BadGlob(pattern, f"it must have between 1 and {MAX_PATTERN_CHARACTERS} characters")
    if pattern.startswith("/") or "\0" in pattern:
        raise BadGlob(pattern, "it is matched against paths relative to the source, so it cannot begin with `/`")
    formats: dict[str, str] = {}
    names: list[str] = []
    captured: list[str] = []
    plain: list[str] = []
    flats = _alternatives(pattern)
    for flat in flats:
        tokens = list(_tokens(flat + "**" if flat.endswith("/") else flat, pattern))
        _note_fields(tokens, pattern, formats, names)
        if not any(token.kind == "slash" for token in tokens):
            tokens = [_Token("globstar"), _Token("slash"), *tokens]
        parts = _parts(tokens)
        captured.append(_path_regex(parts, capture=True))
        plain.append(_path_regex(parts, capture=False))
    suffix, is_all = _suffix(flats)
    return Glob(
        pattern=pattern,
        regex="(?:" + "|".join(plain) + ")" if len(plain) > 1 else plain[0],
        suffix=suffix,
        suffix_is_all=is_all,
        date_formats=formats,
        field_names=tuple(names),
        _branches=tuple(re.compile(text, re.DOTALL) for text in captured),
    )


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str  # literal, any, star, globstar, class, slash, field
    text: str = ""
    name: str = ""


def _alternatives(pattern: str) -> list[str]:
    """Expand `a.{b,c}` to `a.b`, `a.c`; fields stay. The number is limited, because braces multiply."""
    done: list[str] = []
    waiting = [pattern]
    while waiting:
        text = waiting.pop()
        span = _first_choice(text, pattern)
        if span is None:
            done.append(text)
        else:
            start, end, choices = span
            waiting.extend(text[:start] + choice + text[end:] for choice in reversed(choices))
        if len(done) + len(waiting) > MAX_ALTERNATIVES:
            raise BadGlob(pattern, f"its braces expand to more than {MAX_ALTERNATIVES} patterns")
    return done


def _first_choice(text: str, pattern: str) -> tuple[int, int, list[str]] | None:
    """The first outermost `{a,b}` in `text`, as start, end and its choices."""
    depth, start, at, last = 0, 0, 0, 0
    choices: list[str] = []
    while at < len(text):
        char = text[at]
        if char == "\\":
            at += 1
        elif depth == 0 and char == "[" and (close := _class_end(text, at)) is not None:
            at = close
        elif depth == 0 and char == "{" and (field := _FIELD.match(text, at)):
            at = field.end() - 1
        elif char == "{":
            depth += 1
            if depth == 1:
                start, last, choices = at, at + 1, []
        elif char == "," and depth == 1:
            choices.append(text[last:at])
            last = at + 1
        elif char == "}" and depth:
            depth -= 1
            if depth == 0:
                if not choices:
                    raise BadGlob(pattern, "braces hold choices (`{a,b}`) or name a field (`{client}`)")
                return start, at + 1, [*choices, text[last:at]]
        at += 1
    if depth:
        raise BadGlob(pattern, "a brace is never closed")
    return None


def _class_end(text: str, at: int) -> int | None:
    """The end of the class that opens at `at`; None if the bracket is literal."""
    begin = at + 1 + (text[at + 1 : at + 2] in ("!", "^"))
    close = text.find("]", begin + 1)
    return None if close < 0 else close


def _tokens(text: str, pattern: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        char = text[at]
        if char == "\\":
            if at + 1 == len(text):
                raise BadGlob(pattern, "it ends with a lone backslash")
            at += 1
            yield _Token("literal", text[at]) if text[at] != "/" else _Token("slash")
        elif char == "*":
            end = at
            while text[end : end + 1] == "*":
                end += 1
            whole_part = (at == 0 or text[at - 1] == "/") and text[end : end + 1] in ("", "/")
            yield _Token("globstar" if end - at > 1 and whole_part else "star")
            at = end - 1
        elif char == "?":
            yield _Token("any")
        elif char == "/":
            yield _Token("slash")
        elif char == "[" and (close := _class_end(text, at)) is not None:
            yield _Token("class", _class_regex(text[at + 1 : close], pattern))
            at = close
        elif char == "{" and (field := _FIELD.match(text, at)):
            yield _Token("field", field[2] or "", field[1])
            at = field.end() - 1
        else:
            yield _Token("literal", char)
        at += 1


def _class_regex(body: str, pattern: str) -> str:
    negated = body[0] in "!^"
    chars = body[1:] if negated else body
    if "/" in chars:
        raise BadGlob(pattern, "a class cannot contain `/`")
    out: list[str] = []
    at = 0
    while at < len(chars):
        if chars[at + 1 : at + 2] == "-" and at + 2 < len(chars):
            if chars[at] > chars[at + 2]:
                raise BadGlob(pattern, f"the range {chars[at : at + 3]!r} runs backwards")
            out.append(re.escape(chars[at]) + "-" + re.escape(chars[at + 2]))
            at += 3
        else:
            out.append(re.escape(chars[at]))
            at += 1
    # A range such as [+-9] or [!a] includes the slash; the lookahead keeps it within one part.
    return "(?!/)[" + ("^" if negated else "") + "".join(out) + "]"


def _note_fields(tokens: list[_Token], pattern: str, formats: dict[str, str], names: list[str]) -> None:
    """Collect the fields of all alternatives; a name has one format and appears once in each."""
    seen: set[str] = set()
    for token in tokens:
        if token.kind != "field":
            continue
        if token.name in seen:
            raise BadGlob(pattern, f"the field {token.name!r} appears twice")
        seen.add(token.name)
        if token.name not in names:
            names.append(token.name)
        elif formats.get(token.name, "") != token.text:
            raise BadGlob(pattern, f"the field {token.name!r} has two formats")
        if token.text:
            _date_regex(token.text, pattern)
            formats[token.name] = token.text


def _date_regex(date_format: str, pattern: str) -> str:
    out: list[str] = []
    pieces = re.split(r"%(.?)", date_format)
    for index, piece in enumerate(pieces):
        if index % 2 == 0:
            if "/" in piece:
                raise BadGlob(pattern, "a date format stays within one part of the path, so it cannot contain `/`")
            out.append(re.escape(piece))
        elif piece == "%":
            out.append("%")
        elif piece in _DATE_PARTS:
            out.append(_DATE_PARTS[piece])
        else:
            raise BadGlob(pattern, f"%{piece} is not one of %{' %'.join(_DATE_PARTS)}")
    directives = [piece for piece in pieces[1::2] if piece != "%"]
    if "Y" not in directives or len(set(directives)) != len(directives):
        raise BadGlob(pattern, "a date format must contain %Y, and each directive only once")
    return "".join(out)


def _parts(tokens: list[_Token]) -> list[list[_Token]]:
    """The tokens of each part between slashes; empty parts (`a//b`, a last `/`) are dropped."""
    parts: list[list[_Token]] = [[]]
    for token in tokens:
        if token.kind == "slash":
            parts.append([])
        else:
            parts[-1].append(token)
    return [part for part in parts if part]


def _path_regex(parts: list[list[_Token]], *, capture: bool) -> str:
    """Stretches between globstars: all but the last commit to their first match, the last must match up to the end."""
    stretches: list[list[str]] = [[]]
    for part in parts:
        if part[0].kind == "globstar":
            stretches.append([])
        else:
            stretches[-1].append(_part_regex(part, capture=capture))
    if len(stretches) == 1:
        return "/".join(stretches[0]) + r"\Z"
    head, *middle, tail = stretches
    out = "".join(part + "/" for part in head)
    for stretch in middle:
        if stretch:
            out += "(?>(?:[^/]*+/)*?" + "".join(part + "/" for part in stretch) + ")"
    if not tail:
        return out + r".+\Z"  # `logs/**` matches everything below
    return out + "(?:[^/]*+/)*?" + "/".join(tail) + r"\Z"


def _part_regex(part: list[_Token], *, capture: bool) -> str:
    """Runs of fixed tokens between wildcards; each wildcard but the last commits with the run after it."""
    out = ""
    wild = ""  # the pending wildcard
    run = ""
    for token in part:
        if token.kind in ("star", "globstar") or (token.kind == "field" and not token.text):
            out += f"(?>{wild}{run})" if wild else run
            run = ""
            wild = "[^/]*?" if token.kind != "field" else _capture(token.name, "[^/]+?", capture)
        elif token.kind == "field":
            run += _capture(token.name, _date_regex(token.text, ""), capture)
        elif token.kind == "any":
            run += "[^/]"
        else:
            run += token.text if token.kind == "class" else re.escape(token.text)
    if not wild:
        return out + run
    if not run and wild == "[^/]*?":
        return out + "[^/]*+"
    # The lookahead makes the last wildcard end at the end of the part.
    return out + f"(?>{wild}{run}(?=/|\\Z))"


def _capture(name: str, regex: str, capture: bool) -> str:
    return f"(?P<{name}>{regex})" if capture else f"(?:{regex})"


def _suffix(flats: list[str]) -> tuple[str, bool]:
    """The literal extension shared by all alternatives (only when there is one alternative)."""
    if len(flats) != 1:
        return "", False
    found = re.search(r"\*([^*?\[\]{}\\/]*)(\.[A-Za-z0-9_-]+)\Z", flats[0])
    if found is None or flats[0][: found.start()].endswith("\\"):
        return "", False
    is_all = not found[1] and flats[0][: found.start()] in ("", "**/")
    return found[2], is_all


def _checked(groups: dict[str, str | None], formats: dict[str, str]) -> dict[str, str] | None:
    """Fields as text, dates in ISO form; None when a date does not exist (30 February)."""
    fields: dict[str, str] = {}
    for name, value in groups.items():
        if value is None:
            continue
        if (date_format := formats.get(name)) is None:
            fields[name] = value
            continue
        moment = _iso(value, date_format)
        if moment is None:
            return None
        fields[name] = moment
    return fields


@lru_cache(maxsize=4096)
def _iso(value: str, date_format: str) -> str | None:
    """A date in ISO form; None if it does not exist. It is cached: a tree has many files and few dates, and reading one takes 10
    µs."""
    try:
        moment = datetime.strptime(value, date_format)
    except ValueError:
        return None
    has_time = any(f"%{directive}" in date_format for directive in _TIME_DIRECTIVES)
    return moment.isoformat() if has_time else moment.date().isoformat()
