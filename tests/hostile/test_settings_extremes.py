"""Every setting at the ends of its range, one at a time: a real daemon starts, completes its jobs, stops and proves its log."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from casparian_protocol.settings import READ_BY_COMMANDS, Settings
from tests.crash.site import Site
from tests.end_to_end.world import run_here

_JUST_ABOVE = 0.001
#: Ends that say on their own that nothing may run or pass, with the words that tell it.
REFUSING = {
    ("sandbox.minimum", "basic"): "sandbox.minimum",
    ("limits.wall_seconds", _JUST_ABOVE): "wall clock time",
    ("limits.output_rows", 1): "at most 1 are allowed",
    ("limits.output_bytes", 1): "at most 1 are allowed",
    ("limits.columns", 1): "at most 1 are allowed",
    ("log.low_disk_bytes", 2**53 - 1): "below the floor",
}
#: Nobody to work, or more processes than a machine of tests has room for.
LEFT_OUT = {"daemon.max_concurrent_workers"}


def _ends(schema: dict[str, Any]) -> list[Any]:
    """The smallest and largest allowed value, or every value of a choice, from the field's JSON schema."""
    if "anyOf" in schema:
        return [end for part in schema["anyOf"] if part.get("type") != "null" for end in _ends(part)]
    match schema.get("type"):
        case _ if "enum" in schema:
            return list(schema["enum"])
        case "boolean":
            return [True, False]
        case "integer":
            return [schema.get("minimum", schema.get("exclusiveMinimum", -1) + 1), schema["maximum"]]
        case "number":
            return [float(schema.get("minimum", _JUST_ABOVE)), float(schema["maximum"])]
        case "array":
            low, high = _ends(schema["items"])
            return [[low], [high], [low] * schema["maxItems"]]
    return []


def extremes() -> Iterator[tuple[str, Any]]:
    schema = Settings.model_json_schema()
    for group, reference in schema["properties"].items():
        fields = schema["$defs"][reference["$ref"].rpartition("/")[2]]["properties"]
        for name, field in fields.items():
            key = f"{group}.{name}"
            if key not in LEFT_OUT | (READ_BY_COMMANDS - {"gatekeeper.mode"}):
                yield from ((key, value) for value in _ends(field))


def test_every_setting_with_a_range_is_among_them() -> None:
    tried = {key for key, _value in extremes()}

    assert len(tried) > 30
    assert {key for key, _value in REFUSING} <= tried


@pytest.mark.campaign
@pytest.mark.timeout(0)
@pytest.mark.parametrize(("key", "value"), list(extremes()), ids=lambda part: str(part)[:30])
def test_jobs_complete_at_each_end_of_a_setting_or_say_what_forbids_it(tmp_path: Path, key: str, value: Any) -> None:
    site = Site(tmp_path, tmp_path / "inbox")
    for number in range(3):
        site.write(f"{number}.txt", "".join(f"{number * 100 + row};1.00\n" for row in range(100)))
    group, _, name = key.partition(".")
    site.prepare({}, f"[{group}]\n{name} = {json.dumps(value)}\n")
    site.start(workers=1)
    try:
        done = run_here("--home", site.home, "process")
    finally:
        with site.client() as client:
            client.request("stop")
        assert site.reap() == 0, site.said()

    site.run("log", "verify", "--tables")
    if (key, value) in REFUSING:
        assert REFUSING[key, value] in done.stdout + done.stderr
        assert done.code == 1, done
    else:
        assert done.code == 0, done
        assert site.sql("select count(*) as rows from readings") == [{"rows": 300}]
