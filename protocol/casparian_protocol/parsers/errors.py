"""Errors in the source of a parser, each with its place (`file:line`) and a remedy.

`source`, `metadata` and `collect` raise them. Text from the source is printed with `ascii()`, so that no control character
reaches a terminal.
"""

from __future__ import annotations

from collections.abc import Sequence

from casparian_protocol.errors import CasparianError


class ParserSourceError(CasparianError):
    """The source of the parser cannot be used; `filename` and `line` say where."""

    def __init__(self, filename: str, line: int, problem: str, *, remedy: str) -> None:
        self.filename = filename
        self.line = line
        super().__init__(f"{_shown(filename)}:{line}: {problem}", remedy=remedy)


class SourceNotText(ParserSourceError):
    """The bytes are not Python source text in the encoding they declare."""

    def __init__(self, filename: str, why: str) -> None:
        super().__init__(
            filename,
            1,
            f"This is not readable as Python source: {why}.",
            remedy="Save the parser as UTF-8 text (a coding line may name another encoding).",
        )


class SourceTooLarge(ParserSourceError):
    """The source of the parser is too large."""

    def __init__(self, filename: str, size: int, limit: int) -> None:
        super().__init__(
            filename,
            1,
            f"The source has {size:,} characters; at most {limit:,} are read.",
            remedy="Move tables and other data into JSON or YAML files of the bundle; ctx.resource() reads them.",
        )


class SourceHasSyntaxError(ParserSourceError):
    """Python cannot read the source."""

    def __init__(self, filename: str, line: int, column: int, message: str, text: str) -> None:
        shown = "".join(char if char.isprintable() else " " for char in text.rstrip()[:200])
        caret = f"\n    {shown}\n    {' ' * max(0, min(column, 200) - 1)}^" if shown else ""
        super().__init__(
            filename,
            line,
            f"Python cannot read this source: {message}.{caret}",
            remedy="Correct the line; `python -m py_compile FILE` says the same.",
        )


class NotAParser(ParserSourceError):
    """The file has neither a function `parse` nor a class with a method `parse`."""

    def __init__(self, filename: str) -> None:
        super().__init__(
            filename,
            1,
            "This is not a parser: it has no function `parse` and no class with a method `parse`.",
            remedy="Define `def parse(path):` at the top level; `casparian new parser NAME` writes a skeleton.",
        )


class SeveralParsers(ParserSourceError):
    """Several functions or classes in the file could be the parser."""

    def __init__(self, filename: str, line: int, candidates: Sequence[str]) -> None:
        super().__init__(
            filename,
            line,
            f"Several functions or classes here could be the parser: {', '.join(candidates)}.",
            remedy="Keep one function or class named in this way in the file, and move the others elsewhere.",
        )


class UnusableParse(ParserSourceError):
    """The function `parse` cannot be called in the way parsers are called."""

    def __init__(self, filename: str, line: int, why: str) -> None:
        super().__init__(
            filename,
            line,
            f"`parse` cannot be called: {why}.",
            remedy="Write `def parse(path):` or `def parse(path, ctx):`; in a class `def parse(self, ctx):`.",
        )


class MetadataMissing(ParserSourceError):
    """A literal that every parser must have is missing."""

    def __init__(self, filename: str, line: int, field: str, example: str) -> None:
        super().__init__(
            filename,
            line,
            f"The parser has no `{field}`.",
            remedy=f"Add a literal next to `parse`, at the top level of the file or class: {example}.",
        )


class MetadataNotLiteral(ParserSourceError):
    """A value of the parser's metadata is computed; metadata must be literals."""

    def __init__(self, filename: str, line: int, field: str) -> None:
        super().__init__(
            filename,
            line,
            f"`{field}` is not a literal; metadata are read without running the parser.",
            remedy="Write the value out (text, numbers, True/False/None, lists, dicts): no names, no calls.",
        )


class MetadataTwice(ParserSourceError):
    """A literal of the parser's metadata is given twice."""

    def __init__(self, filename: str, line: int, field: str, first_line: int) -> None:
        super().__init__(
            filename,
            line,
            f"`{field}` is given twice (first in line {first_line}).",
            remedy=f"Keep one `{field}`.",
        )


class MetadataInvalid(ParserSourceError):
    """A literal of the parser's metadata has a value that is not allowed."""

    def __init__(self, filename: str, line: int, field: str, why: str, expected: str) -> None:
        super().__init__(filename, line, f"`{field}` is not valid: {why}.", remedy=f"Expected: {expected}.")


class EntryNotFound(CasparianError):
    """It is unclear which module of a directory is the parser."""

    def __init__(self, directory: str, candidates: Sequence[str]) -> None:
        found = ", ".join(_shown(name) for name in candidates[:10]) or "no module with `name`, `version` and `parse`"
        super().__init__(
            f"{_shown(directory)} does not say which module is the parser: found {found}.",
            remedy="Name the parser's module like its directory, or keep metadata in one module only.",
        )


class ContractFileInvalid(CasparianError):
    """A `<output>.schema.json` next to the parser cannot be used."""

    def __init__(self, filename: str, why: str) -> None:
        super().__init__(
            f"{_shown(filename)}: {why}.",
            remedy="The file is one JSON object with `columns`, like a literal in `outputs`; its name is "
            "`<output>.schema.json`.",
        )


class ContractsContradict(CasparianError):
    """The contract in the parser and the contract file next to it differ."""

    def __init__(self, filename: str, line: int, output: str, contract_file: str) -> None:
        super().__init__(
            f"{_shown(filename)}:{line}: the contract of `{output}` differs from {_shown(contract_file)}.",
            remedy="Keep one of the two, or make them equal.",
        )


def _shown(text: str) -> str:
    """Text from outside without control characters."""
    return text if text.isprintable() else ascii(text)[1:-1]
