"""`casparian run NAME[@VERSION]`: a registered parser, unpacked from the home as workers have it. Changes nothing in the home
but its cache of unpacked artifacts.
"""

from __future__ import annotations

import re
from pathlib import Path

from casparian.app import App
from casparian.exits import UsageProblem
from casparian.gateway import open_gateway
from casparian_protocol.parsers import unpack_bundle

_NAMED = re.compile(r"[a-z][a-z0-9_]{0,62}(?:@.{1,64})?")
_FIND = """
select name, version, artifact_hash, entry from cf_parsers
where name = ? and (version = ? or (? = '' and state <> 'RETIRED')) order by registered_at desc limit 1
"""


class NoSuchParser(UsageProblem):
    """Neither a path nor a registered parser."""

    def __init__(self, named: str) -> None:
        super().__init__(
            f"{named} is neither a file nor a registered parser.",
            remedy="Name a Python file with a function `parse`, or one that `casparian parser list` shows;"
            " `casparian new parser NAME` writes one.",
        )


def is_parser_name(text: str) -> bool:
    """Whether it could be a registered parser: `fix_parser`, `fix_parser@1.0.0`; a path has a `/` or a `.py`."""
    return _NAMED.fullmatch(text) is not None and "/" not in text


def registered_parser(app: App, named: str) -> tuple[Path, str]:
    """Directory and entry of the newest version in use, or of the named one."""
    name, _, version = named.partition("@")
    with open_gateway(app) as gateway:
        found = gateway.rows(_FIND, [name, version, version])
        if not found:
            raise NoSuchParser(named)
        from casparian_sentinel.blobs import BlobStore
        from casparian_sentinel.ports import RealFs

        digest = str(found[0]["artifact_hash"])
        directory: Path = gateway.home.artifacts / digest
        if not directory.exists():
            unpack_bundle(BlobStore(RealFs(), gateway.home.blobs).get(digest), directory)
    return directory, str(found[0]["entry"])
