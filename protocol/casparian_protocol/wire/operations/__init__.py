"""The operations that a client may request, each with its arguments and its result.

Each module has the operations of one subject: the models of arguments and results, then the `Operation`s that use them. Calling
an operation makes a `Call` (`QUEUE(parser="fix")`), which `Client.perform` sends; it returns the typed result. The sentinel
validates the arguments again (`parse_args`). Unknown arguments are refused. Unknown fields of a result are ignored, so that a
newer sentinel may send more.
"""

from __future__ import annotations

from collections.abc import Mapping

from casparian_protocol.errors import CasparianError
from casparian_protocol.wire.operations import daemon, jobs, registry
from casparian_protocol.wire.operations.base import Args, BadArguments, Call, Operation, Result

__all__ = ["OPERATIONS", "BadArguments", "Call", "Operation", "Result", "UnknownOperation", "parse_args"]

#: The operations by name, in the order in which these modules declare them.
OPERATIONS: dict[str, Operation[..., Result]] = {
    each.name: each
    for module in (daemon, jobs, registry)
    for each in vars(module).values()
    if isinstance(each, Operation)
}


class UnknownOperation(CasparianError):
    """The daemon does not know this operation."""

    def __init__(self, op: str) -> None:
        super().__init__(
            f"There is no operation {op[:64]!r}.",
            remedy="The peer speaks another version of the protocol; docs/protocol.md lists the operations.",
        )


def parse_args(op: str, args: Mapping[str, object]) -> Args:
    """The validated arguments of a request. Raises `UnknownOperation` or `BadArguments`."""
    operation = OPERATIONS.get(op)
    if operation is None:
        raise UnknownOperation(op)
    return operation.read_args(args)
