"""What arguments and results of all operations have: their base classes, and types of fields that several share."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from casparian_protocol.bounds import (
    Count,
    Identifier,
    IdentifierOrNone,
)


class Result(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


ParserName = Identifier
OutputOrAll = IdentifierOrNone
Version = Annotated[str, Field(min_length=1, max_length=64)]
#: An id or a unique prefix of one.
IdPrefix = Annotated[str, Field(pattern=r"^[0-9a-f]{4,16}$")]
Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Tag = Annotated[str, Field(min_length=1, max_length=128)]
#: A year: what is polled more seldom is scanned by hand.
PollSeconds = Annotated[int, Field(ge=0, le=86_400 * 365)]
FILE_IDS_LIMIT = 200
#: One blob, and one piece of it.
UPLOAD_LIMIT_BYTES = 4 * 1024**3
UPLOAD_PIECE_BYTES = 4 * 1024**2


class Args(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class NoArgs(Args):
    """Nothing to say."""


class Done(Result):
    """The operation is durable; `seq` is the last event of the log when it was decided."""

    seq: Count = 0
