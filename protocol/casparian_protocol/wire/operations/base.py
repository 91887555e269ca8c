"""What an operation is, and what arguments and results of all operations share: base classes and types of fields.

Arguments are encoded, and arguments and results validated, here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Generic, ParamSpec, TypeVar, cast

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from casparian_protocol.bounds import Count, Identifier, IdentifierOrNone
from casparian_protocol.errors import CasparianError
from casparian_protocol.packing import MalformedMessage

ParserName = Identifier
OutputOrAll = IdentifierOrNone
Version = Annotated[str, Field(min_length=1, max_length=64)]
#: An id or a unique prefix of one.
IdPrefix = Annotated[str, Field(pattern=r"^[0-9a-f]{4,16}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Tag = Annotated[str, Field(min_length=1, max_length=128)]
#: A year: anything polled more rarely is scanned by hand.
PollSeconds = Annotated[int, Field(ge=0, le=86_400 * 365)]
FILE_IDS_LIMIT = 200
#: One blob, and one piece of it.
UPLOAD_LIMIT_BYTES = 4 * 1024**3
UPLOAD_PIECE_BYTES = 4 * 1024**2


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
    """The arguments do not fit the operation's model; names the first field that does not."""

    def __init__(self, op: str, invalid: ValidationError) -> None:
        self.field, reason = _first_fault(invalid, "args")
        super().__init__(f"{op}: {self.field}: {reason}.", remedy="docs/protocol.md lists each operation's arguments.")


def _first_fault(invalid: ValidationError, whole: str) -> tuple[str, str]:
    """The field that does not fit, or `whole`, and why."""
    first = invalid.errors(include_url=False, include_input=False)[0]
    return ".".join(str(part) for part in first["loc"]) or whole, first["msg"]


P = ParamSpec("P")
R = TypeVar("R", bound=Result, covariant=True)


@dataclass(frozen=True, slots=True)
class Operation(Generic[P, R]):
    """One operation that a `request` may name. Calling it checks the arguments and makes a `Call`."""

    name: str
    meaning: str
    #: The model of its arguments: a class, typed by how it is called.
    make_args: Callable[P, Args]
    result: type[R]
    #: It needs a daemon.
    is_daemon_only: bool = False
    #: Its request brings one attachment.
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
            field, reason = _first_fault(invalid, "result")
            raise MalformedMessage(f"{self.name}: {field}: {reason}", of_kind="reply") from invalid


@dataclass(frozen=True, slots=True)
class Call(Generic[R]):
    """An operation with its arguments, to be performed by the owner of the home."""

    operation: Operation[..., R]
    args: Args

    def packed(self) -> dict[str, Any]:
        """The arguments as a request carries them: those that were given."""
        return self.args.model_dump(exclude_unset=True)
