"""Files that come with Casparian: ready-made parsers, and the commented settings with the explanation of each.

A wheel has them inside the package (`bundled/`), a checkout in `config/` and `parsers/`. Values and ranges of settings come
from the models (`casparian_protocol.settings`); a test compares the commented text with them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import annotated_types
from pydantic.fields import FieldInfo

from casparian_protocol.bounds import COUNT_MAX
from casparian_protocol.errors import CasparianError
from casparian_protocol.settings import Settings

_PACKAGE = Path(__file__).resolve().parent


class BundledFileMissing(CasparianError):
    """A file that comes with Casparian is missing: the installation is incomplete."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"{name}, a part of Casparian, is missing.",
            remedy="Reinstall Casparian; if it is still missing, please report it.",
        )


def bundled(name: str) -> Path:
    """The path of `config/casparian.toml`, `parsers/fix`, … in this installation."""
    for root in (_PACKAGE / "bundled", _PACKAGE.parents[1]):
        if (root / name).exists():
            return root / name
    raise BundledFileMissing(name)


_GROUP = re.compile(r"\[([a-z_]+)\]")
_KEY = re.compile(r"#([a-z_]+) = (.+?)( # example)?")
_UNITS = ("seconds", "milliseconds", "bytes", "days")
_INTRODUCTION = """# Settings

Generated from `config/casparian.toml`, the commented file that `casparian init` copies into a home.

Layers, lowest to highest: built-in, `config.toml` in the home, environment, flags. In the environment a key is
`CASPARIAN_<GROUP>__<KEY>` with a JSON value or plain text: `CASPARIAN_LIMITS__WALL_SECONDS=60`. An unknown key is an
error that names the nearest known one. `casparian config show` prints what is in force, where it came from, and what a
change needs: nothing, `casparian config reload`, or a restart of the daemon.
"""


@dataclass(frozen=True, slots=True)
class Documented:
    """One setting of the commented file."""

    group: str
    key: str
    #: TOML text of the built-in value, or of an example.
    value: str
    is_example: bool
    why: str
    #: Unit and range in words.
    allowed: str

    @property
    def name(self) -> str:
        return f"{self.group}.{self.key}"


def read_documented(text: str) -> list[Documented]:
    """Every setting of the commented file, in its order."""
    found: list[Documented] = []
    group = ""
    comment: list[str] = []
    for line in text.splitlines():
        if match := _GROUP.fullmatch(line):
            group, comment = match[1], []
        elif match := _KEY.fullmatch(line):
            *why, allowed = comment
            found.append(Documented(group, match[1], match[2], bool(match[3]), " ".join(why), allowed))
            comment = []
        elif line.startswith("# "):
            comment.append(line.removeprefix("# "))
        else:
            comment = []
    return found


def allowed_values(key: str, field: FieldInfo) -> str:
    """Unit and range of a setting in words, from its model."""
    annotation, bounds = field.annotation, _Bounds()
    bounds.learn(field.metadata)
    options = [each for each in get_args(annotation) if each is not type(None)]
    if type(None) in get_args(annotation):
        annotation = options[0]
        if get_origin(annotation) is not None and hasattr(annotation, "__metadata__"):
            bounds.learn(annotation.__metadata__)
            annotation = get_args(annotation)[0]
    if annotation is bool:
        return "true or false"
    if annotation is str:
        return "text"
    if isinstance(options[0] if options else None, str):
        return f"one of: {', '.join(options)}"
    unit = next((unit for unit in _UNITS if key.endswith(f"_{unit}")), "percent" if key.endswith("_pct") else "")
    if get_origin(annotation) is list:
        item = _Bounds()
        item.learn(get_args(annotation)[0].__metadata__)
        return f"{unit}, a list of {bounds.length()} numbers, each {item.range()}"
    return f"{unit or 'whole number'}, {bounds.range(is_whole=annotation is int)}"


class _Bounds:
    """The limits that annotations set for a value or the length of a list."""

    def __init__(self) -> None:
        self._found: dict[type, Any] = {}

    def learn(self, metadata: Iterable[Any]) -> None:
        """Collect the limits in `Field(...)` and `Annotated[...]`, at any depth."""
        for each in metadata:
            if isinstance(each, FieldInfo):
                self.learn(each.metadata)
            else:
                self._found[type(each)] = each

    def length(self) -> str:
        return f"{self._found[annotated_types.MinLen].min_length} to {self._found[annotated_types.MaxLen].max_length}"

    def range(self, *, is_whole: bool = False) -> str:
        at_least, above = self._found.get(annotated_types.Ge), self._found.get(annotated_types.Gt)
        at_most = self._found.get(annotated_types.Le)
        if above is not None and is_whole:
            low = str(above.gt + 1)
        else:
            low = f"more than {above.gt}" if above is not None else str(at_least.ge if at_least else "any")
        if at_most is None or at_most.le == COUNT_MAX:  # the upper bound of every count is not worth naming
            return f"{low} or more"
        return f"{low} to {at_most.le}"


def fields_of_settings() -> dict[str, FieldInfo]:
    """`group.key` → its field in the models."""
    settings = Settings()
    return {
        f"{group}.{key}": field
        for group in Settings.model_fields
        for key, field in type(getattr(settings, group)).model_fields.items()
    }


def reference_page(documented: Iterable[Documented]) -> str:
    """docs/reference/settings.md."""
    lines = [_INTRODUCTION.rstrip()]
    group = ""
    for each in documented:
        if each.group != group:
            group = each.group
            lines += ["", f"## [{group}]", "| key | built-in | allowed | why |", "|---|---|---|---|"]
        value = "–" if each.is_example else f"`{each.value}`"
        lines.append(f"| `{each.key}` | {value} | {each.allowed} | {each.why} |")
    return "\n".join(lines) + "\n"
