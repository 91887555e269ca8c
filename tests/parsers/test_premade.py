"""The premade parsers as a set: each has a manifest that is true, tests that pass, and a page that names its parameters."""

from __future__ import annotations

from pathlib import Path

import pytest

from casparian.shipped import bundled
from casparian_app.drafting import Premade, premade_parsers
from casparian_app.parsers import run_bundle_tests
from casparian_sentinel.registry.gatekeeper import inspect_source
from casparian_worker.detection import KINDS

PREMADE = premade_parsers(bundled("parsers"))
PAGES = Path(__file__).parents[2] / "docs" / "reference"

each = pytest.mark.parametrize("premade", PREMADE, ids=[one.kind for one in PREMADE])


def test_every_directory_of_parsers_is_a_premade_parser() -> None:
    folders = sorted(path.name for path in bundled("parsers").iterdir() if path.is_dir() and path.name != "__pycache__")
    assert [one.kind for one in PREMADE] == folders
    assert {"csv", "fix", "fixed_width", "hl7", "jsonl", "keyvalue", "syslog", "x12"} <= set(folders)


@each
def test_the_manifest_says_what_the_parser_declares(premade: Premade) -> None:
    declared = premade.metadata.params
    assert list(premade.manifest.params) == list(declared)
    for name, param in premade.manifest.params.items():
        assert not param.values or declared[name].default in param.values, name
    assert set(premade.manifest.reads) <= set(KINDS)
    for settings in (premade.manifest.all_columns, *premade.manifest.also_tried):
        assert settings.keys() <= declared.keys()
    assert premade.is_generic or premade.metadata.outputs


@each
def test_the_page_names_every_parameter_and_the_list_names_the_page(premade: Premade) -> None:
    page = (PAGES / premade.manifest.page).read_text("utf-8")
    assert [name for name in premade.manifest.params if f"`{name}`" not in page] == []
    listed = (PAGES / "premade-parsers.md").read_text("utf-8")
    assert f"]({premade.manifest.page}) | {premade.manifest.line} |" in listed


@each
def test_the_parser_passes_its_own_tests_and_the_gatekeeper(premade: Premade) -> None:
    results = run_bundle_tests(premade.folder)
    assert results and [one.differences for one in results] == [()] * len(results)
    for source in premade.folder.glob("*.py"):
        assert inspect_source(source.read_text("utf-8"), source.name) == ()
