"""The class of operations, and the base classes and field types that arguments and results share.

Only this module encodes arguments and validates arguments and results.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, ParamSpec, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from casparian_protocol.bounds import Count, Identifier, IdentifierOrNone
from casparian_protocol.errors import CasparianError
from casparian_protocol.packing import MalformedMessage, fault_of

ParserName = Identifier
OutputOrAll = IdentifierOrNone
Version = Annotated[str, Field(min_length=1, max_length=64)]
#: An id or a unique prefix of one.
IdPrefix = Annotated[str, Field(pattern=r"^[0-9a-f]{4,16}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Tag = Annotated[str, Field(min_length=1, max_length=128)]
#: The longest polling interval: a year.
PollSeconds = Annotated[int, Field(ge=0, le=86_400 * 365)]
FILE_IDS_LIMIT = 200


class Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


class Args(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NoArgs(Args):
    """An empty result."""


class Done(Result):
    """The operation is durable; `seq` is the last event of the log when it was decided."""

    seq: Count = 0


class BadArguments(CasparianError):
    """The arguments do not fit the operation's model; the message names the first invalid field."""

    def __init__(self, op: str, invalid: ValidationError) -> None:
        field, reason = fault_of(invalid)
        self.field = field or "args"
        super().__init__(f"{op}: {self.field}: {reason}.", remedy="docs/protocol.md lists each operation's arguments.")


P = ParamSpec("P")
R = TypeVar("R", bound=Result, covariant=True)


@dataclass(frozen=True, slots=True)
class Operation(Generic[P, R]):
    """One operation that a `request` may name. Calling it checks the arguments and makes a `Call`."""

    name: str
    meaning: str
    #: The model of its arguments, typed as a callable.
    make_args: Callable[P, Args]
    result: type[R]
    #: Whether it needs a running daemon.
    is_daemon_only: bool = False
    #: Whether its request has one attachment.
    takes_bytes: bool = False

    @property
    def args(self) -> type[Args]:
        return cast("type[Args]", self.make_args)

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Call[R]:
        """Raises `BadArguments`."""
        try:
            return Call(self, self.make_args(*args, **kwargs))
        except ValidationError as invalid:
            raise BadArguments(self.name, invalid) from invalid

    def read_args(self, args: Mapping[str, object]) -> Args:
        """The arguments of a request. Raises `BadArguments`."""
        try:
            return self.args.model_validate(args)
        except ValidationError as invalid:
            raise BadArguments(self.name, invalid) from invalid

    def read_result(self, result: Mapping[str, object]) -> R:
        """The result in a reply. Raises `MalformedMessage`."""
        try:
            return self.result.model_validate(result)
        except ValidationError as invalid:
            field, reason = fault_of(invalid)
            raise MalformedMessage(f"{self.name}: {field or 'result'}: {reason}", of_kind="reply") from invalid


@dataclass(frozen=True, slots=True)
class Call(Generic[R]):
    """An operation with its arguments."""

    operation: Operation[..., R]
    args: Args

    def packed(self) -> dict[str, Any]:
        """The given arguments in the form of a request."""
        return self.args.model_dump(exclude_unset=True)
