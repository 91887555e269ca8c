"""Who asks, in the form that events carry: `user:<name>@<client>`. A client's word is kept within that form."""

from __future__ import annotations

import re

UNKNOWN = "user:unknown@client"
_ACTOR = re.compile(r"user:[^\s@:\x00-\x1f\x7f]{1,64}@[a-z][a-z0-9_-]{0,31}")


def actor_of(said: str) -> str:
    """The actor as said, when it is one; a client cannot speak as the sentinel or as a worker."""
    return said if _ACTOR.fullmatch(said) and said.isprintable() else UNKNOWN
