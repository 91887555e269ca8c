"""What ends an output or a guest, in words."""

from __future__ import annotations

from collections.abc import Sequence

from casparian_protocol.contract import ViolationCode
from casparian_protocol.errors import CasparianError, ErrorCode

_SHOWN_NAMES = 20


class OutputFailed(CasparianError):
    """The columns of an output are not its contract's: no row of it can be judged."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(
        self,
        output: str,
        violation: ViolationCode,
        columns: Sequence[str],
        expected: Sequence[str],
        actual: Sequence[str],
    ) -> None:
        self.output = output
        self.violation = violation
        self.columns = tuple(columns)
        self.expected_columns = tuple(expected)
        self.actual_columns = tuple(actual)
        fault = "lacks" if violation is ViolationCode.COLUMN_MISSING else "has unexpected"
        super().__init__(
            f"Output {output!r} {fault} {_names(columns)} ({violation.value}); "
            f"expected {_names(expected)}, got {_names(actual)}.",
            remedy="Emit the contract's columns, or amend the contract (its columns, or mode = allow_extra or "
            "allow_missing_optional).",
        )


class ReservedColumn(CasparianError):
    """A parser took a name that belongs to Casparian."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(self, name: str) -> None:
        super().__init__(
            f"The parser emits the column {name[:80]!r}, and names starting with _cf_ are reserved.",
            remedy="Rename it; of the reserved names only __cf_row_id and _cf_raw are for parsers.",
        )


class LimitExceeded(CasparianError):
    """Data beyond a limit: nothing of it is kept."""

    code = ErrorCode.LIMIT_EXCEEDED

    def __init__(self, what: str, actual: int, limit: int) -> None:
        super().__init__(
            f"{what}: {actual:,}, at most {limit:,} are allowed.",
            remedy="Split the value or the batch in the parser, or raise the limit in config.toml under [limits].",
        )
        self.facts = {"limit": what}


class ArrowRefused(CasparianError):
    """A guest sent Arrow that a guest may not send."""

    code = ErrorCode.PROTOCOL_ERROR

    def __init__(self, reason: str) -> None:
        super().__init__(
            f"The guest's Arrow data is refused: {reason}.",
            remedy="Emit rows, or Arrow data of plain types; the shim converts dictionaries, views and run-ends.",
        )


class ColumnTwice(ArrowRefused):
    """Two columns of one name: readers of Arrow would silently drop one."""

    code = ErrorCode.SCHEMA_MISMATCH

    def __init__(self, name: str) -> None:
        super().__init__(f"two columns have the same name {name[:80]!r}")
        self.remedy = "Rename one of them in the parser."


def _names(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name[:80]) for name in names[:_SHOWN_NAMES])
    more = len(names) - _SHOWN_NAMES
    return f"{shown} and {more} more" if more > 0 else shown or "no columns"
