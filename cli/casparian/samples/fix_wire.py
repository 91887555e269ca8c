"""FIX messages as bytes: fields in order, a true BodyLength and CheckSum, and seeded dice. No venue, no orders."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeVar

Fields = list[tuple[int, str]]
T = TypeVar("T")

SOH = b"\x01"


class Dice:
    """The same throws for the same seed on every Python: only `random()` is used, whose stream is fixed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def below(self, limit: int) -> int:
        return int(self._random.random() * limit)

    def pick(self, choices: Sequence[T]) -> T:
        return choices[self.below(len(choices))]


def encode(begin_string: str, fields: Fields, separator: bytes) -> bytes:
    """The message as a log shows it: BodyLength and CheckSum hold for SOH, `separator` is put in afterwards.

    Fields are joined with SOH first, so a data field that holds the display separator keeps its length.
    """
    body = b"".join(b"%d=%s\x01" % (tag, value.encode()) for tag, value in fields)
    head = b"8=%s\x019=%d\x01" % (begin_string.encode(), len(body))
    checksum = (sum(head) + sum(body)) % 256
    return (head + body + b"10=%03d\x01" % checksum).replace(SOH, separator)


def stamp(at: datetime, digits: int = 3) -> str:
    """FIX's UTCTimestamp: 20240102-09:30:00.123."""
    fraction = f"{at.microsecond:06d}"[:digits]
    return f"{at:%Y%m%d-%H:%M:%S}.{fraction}"


class Ticker:
    """A clock that moves by the dice."""

    def __init__(self, dice: Dice, day_number: int) -> None:
        self._dice = dice
        self.now = datetime(2024, 1, 2, 9, 0, tzinfo=UTC) + timedelta(days=day_number)

    def tick(self, milliseconds_max: int = 400) -> datetime:
        self.now += timedelta(milliseconds=1 + self._dice.below(milliseconds_max))
        return self.now


def cents(amount: int) -> str:
    return f"{amount // 100}.{amount % 100:02d}"
