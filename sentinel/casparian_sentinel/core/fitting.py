"""What can grow, cut to the bytes that an event has for it. Whoever cuts says in the event how much was left out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from casparian_protocol.packing import pack

T = TypeVar("T")


def fitting(items: Sequence[T], *, room_bytes: int, limit: int) -> list[T]:
    """The first items that fit into so many bytes, packed, and at most `limit` of them."""
    taken: list[T] = []
    left_bytes = room_bytes
    for item in items[:limit]:
        left_bytes -= len(pack(item))
        if left_bytes < 0:
            break
        taken.append(item)
    return taken


def cut(text: str, room_bytes: int) -> str:
    """The text in at most so many bytes of UTF-8, ending in `…` when something is missing."""
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= room_bytes:
        return text
    return encoded[: room_bytes - 3].decode("utf-8", "ignore") + "…"


def fitting_map(values: dict[str, Any], *, room_bytes: int) -> dict[str, Any]:
    """The first entries that fit; long texts among them are cut first."""
    short = [(cut(name, 96), cut(value, 192) if isinstance(value, str) else value) for name, value in values.items()]
    return dict(fitting(short, room_bytes=room_bytes, limit=len(short)))
