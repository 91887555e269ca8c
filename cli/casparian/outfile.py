"""Files that a command writes for its user: the form by the name's ending, nothing overwritten unasked, never half a file."""

from __future__ import annotations

import os
import secrets
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rich_click as click

from casparian.exits import UsageProblem
from casparian.nearest import hint

#: Ending of a name → what is written.
FORM_OF_SUFFIX = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


class UnknownForm(UsageProblem):
    """A file name does not say in which form to write, or says another one than the options."""


class TargetExists(UsageProblem):
    """A file would be overwritten."""

    def __init__(self, target: Path) -> None:
        super().__init__(f"{target} is there already.", remedy="Name another file, or overwrite it with --force.")


class TargetUnwritable(UsageProblem):
    """A file cannot be written where it was wanted."""

    def __init__(self, target: Path, why: str) -> None:
        super().__init__(
            f"{target} cannot be written: {why}.", remedy="Name a file in a directory that you may write to."
        )


def force_option(command: Any) -> Any:
    """`--force` for a command that writes a file."""
    return click.option("--force", is_flag=True, help="Overwrite the file if it is there.")(command)


def form_of(target: Path, given: str | None, allowed: Collection[str]) -> str:
    """The form to write: by the option, else by the name's ending; refused when the two differ or neither says it."""
    suffix = target.suffix.lower()
    by_name = FORM_OF_SUFFIX.get(suffix)
    if by_name not in allowed:
        by_name = None
    if given is not None:
        if by_name is not None and by_name != given:
            raise UnknownForm(
                f"{target.name} ends as {by_name} does, and --format says {given}.",
                remedy="Leave out --format, or change the name.",
            )
        return given
    if by_name is None:
        endings = [ending for ending, form in FORM_OF_SUFFIX.items() if form in allowed]
        raise UnknownForm(
            f"{target.name} does not say which form to write.",
            remedy=f"{hint(suffix, endings)}End the name in one of {' '.join(endings)}",
        )
    return by_name


@contextmanager
def written_aside(target: Path, *, force: bool) -> Iterator[Path]:
    """A path beside the target to write to; it takes the target's place when all went well, and is gone otherwise."""
    check_free(target, force=force)
    aside = target.with_name(f".{target.name[:100]}.{secrets.token_hex(4)}.part")
    try:
        yield aside
        check_free(target, force=force)  # it may have come meanwhile
        aside.replace(target)
    except OSError as cause:
        raise TargetUnwritable(target, cause.strerror or str(cause)) from cause
    finally:
        aside.unlink(missing_ok=True)


def check_free(target: Path, *, force: bool) -> None:
    """Refuse to overwrite unless that is wanted, and a place that can hold no file at all."""
    if target.is_dir():
        raise TargetUnwritable(target, "it is a directory")
    if not force and os.path.lexists(target):
        raise TargetExists(target)
    if not target.absolute().parent.is_dir():
        raise TargetUnwritable(target, "its directory is not there")
