"""Which files are shown: a source, a tag or rule, a text in the path. As SQL, and as options of `casparian tag`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

SourceKind = Literal["all", "source", "root"]
TagKind = Literal["all", "untagged", "tag", "rule"]

_IN_TAGS = "f.id in (select t.file_id from scout_file_tags t where t.{column} = ?)"


@dataclass(frozen=True, slots=True)
class Source:
    """A source, or a directory that was scanned by hand and is none."""

    kind: SourceKind = "all"
    #: A source's id, or the directory with its `/` at the end.
    value: str = ""
    name: str = ""

    def where(self) -> tuple[str, tuple[str, ...]]:
        if self.kind == "source":
            return "f.source_id = ?", (self.value,)
        if self.kind == "root":
            return "f.source_id is null and left(f.path, length(f.path) - length(f.rel_path)) = ?", (self.value,)
        return "", ()

    @property
    def options(self) -> tuple[str, ...]:
        if self.kind == "source":
            return ("--source", self.value)
        return ("--root", self.value) if self.kind == "root" else ()


@dataclass(frozen=True, slots=True)
class Label:
    """A tag, a rule, or having none."""

    kind: TagKind = "all"
    value: str = ""
    name: str = ""

    def where(self) -> tuple[str, tuple[str, ...]]:
        if self.kind == "untagged":
            return "f.id not in (select t.file_id from scout_file_tags t)", ()
        if self.kind in ("tag", "rule"):
            return _IN_TAGS.format(column="tag" if self.kind == "tag" else "rule_id"), (self.value,)
        return "", ()

    @property
    def options(self) -> tuple[str, ...]:
        if self.kind == "untagged":
            return ("--untagged",)
        if self.kind == "tag":
            return ("--tagged", self.value)
        return ("--rule", self.value) if self.kind == "rule" else ()


@dataclass(frozen=True, slots=True)
class Filter:
    source: Source = Source()
    label: Label = Label()
    #: In the relative path, in any case.
    text: str = ""

    def where(self) -> tuple[str, tuple[str, ...]]:
        """A condition over `scout_files f`, with its parameters."""
        parts = [("f.status <> 'vanished'", ()), self.source.where(), self.label.where()]
        if self.text:
            parts.append(("contains(lower(f.rel_path), lower(?))", (self.text,)))
        conditions = [condition for condition, _ in parts if condition]
        return " and ".join(conditions), tuple(value for _, values in parts for value in values)

    @property
    def options(self) -> tuple[str, ...]:
        """What makes `casparian tag` select the same files; never none, since all files must be asked for too."""
        chosen = (*self.source.options, *self.label.options, *(("--contains", self.text) if self.text else ()))
        return chosen or ("--under", "/")

    @property
    def words(self) -> str:
        parts = [self.source.name or "all sources"]
        if self.label.kind != "all":
            parts.append(self.label.name)
        if self.text:
            parts.append(f"“{self.text}”")
        return ", ".join(parts)
