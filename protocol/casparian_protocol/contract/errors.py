"""The errors of a contract that cannot be one."""

from __future__ import annotations

from collections.abc import Sequence

from casparian_protocol.errors import CasparianError, ErrorCode


class ContractInvalid(CasparianError):
    """A contract's literal breaks the format; `problems` has one line a fault, each with its place."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(self, problems: Sequence[str], *, place: str = "contract") -> None:
        self.problems = tuple(problems)
        self.place = place
        super().__init__(
            f"The {place} is not valid: " + "; ".join(self.problems),
            remedy="Correct the named places; docs/reference/contract-format.md has every key, type and check.",
        )


class NameInvalid(CasparianError):
    """A name of an output or column that the rules refuse."""

    code = ErrorCode.OUTPUT_NAME

    def __init__(self, kind: str, name: str, rule: str) -> None:
        self.name = name
        super().__init__(f"The {kind} name {name[:80]!r} {rule}.", remedy=f"Rename the {kind} in the parser.")
