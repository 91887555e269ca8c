"""The things that a command line can name, and how to find out which there are.

A name that nobody knows is refused everywhere in the same words. As a filter of a list it leaves nothing, and the words
say on stderr why: an empty list alone would mean that all is well with something that does not exist.
"""

from __future__ import annotations

from typing import Literal

from casparian.app import App
from casparian.gateway import Gateway
from casparian.nearest import UnknownName

Kind = Literal["parser", "source", "rule", "output", "tag", "contract", "error code", "violation"]

_KNOWN: dict[str, tuple[str, str]] = {
    "parser": ("select distinct name from cf_parsers", "casparian parser list"),
    "source": ("select name from scout_sources union select id from scout_sources", "casparian source list"),
    "rule": (
        "select coalesce(name, id) as name from scout_tagging_rules union select id from scout_tagging_rules",
        "casparian rule list",
    ),
    "output": (
        "select name from cf_outputs union select output from cf_schema_contracts"
        " union select output from cf_quarantine",
        "casparian outputs list",
    ),
    "tag": (
        "select topic as name from cf_parser_topics union select tag from scout_file_tags"
        " union select tag from scout_tagging_rules",
        "casparian parser list",
    ),
    "contract": (
        "select parser as name from cf_schema_contracts union select parser || '@' || version from cf_schema_contracts"
        " union select parser || '@' || version || '/' || output from cf_schema_contracts",
        "casparian contract list",
    ),
}


def known(gateway: Gateway, kind: Kind) -> list[str]:
    """Every name of this kind, sorted."""
    if kind == "error code":
        from casparian_shim.errors import ErrorCode

        return sorted(code.value for code in ErrorCode)
    if kind == "violation":
        from casparian_protocol.contract import ViolationCode

        return sorted(code.value for code in ViolationCode)
    return sorted(str(row["name"]) for row in gateway.rows(_KNOWN[kind][0]))


def unknown(gateway: Gateway, kind: Kind, name: str) -> UnknownName:
    """The refusal, with the known name that was perhaps meant."""
    listing = {"error code": "casparian errors list", "violation": "casparian quarantine summary"}
    return UnknownName(kind, name, known(gateway, kind), listing[kind] if kind in listing else _KNOWN[kind][1])


def doubt(app: App, gateway: Gateway, kind: Kind, name: str | None) -> None:
    """Say that a filter names nothing that is known."""
    try:
        need(gateway, kind, name)
    except UnknownName as refused:
        app.say(f"{refused.problem} {refused.remedy}")


def need(gateway: Gateway, kind: Kind, name: str | None) -> None:
    """Refuse a name that nobody knows; None names nothing. Ids may be shortened to eight digits."""
    if name is None:
        return
    names = known(gateway, kind)
    is_id = kind in ("source", "rule") and len(name) >= 4
    if name not in names and not (is_id and any(one.startswith(name) for one in names)):
        raise unknown(gateway, kind, name)
