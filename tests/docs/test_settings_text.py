"""The commented settings are complete and true, as the models have them."""

import re
import tomllib
from pathlib import Path

import pytest

from casparian.shipped import BundledFileMissing, allowed_values, bundled, fields_of_settings, read_documented
from casparian_protocol.home import Home
from casparian_protocol.settings import Settings, known_keys, load
from tests.docs.test_remedies import texts

ROOT = Path(__file__).parents[2]
TEXT = bundled("config/casparian.toml").read_text(encoding="utf-8")
DOCUMENTED = read_documented(TEXT)


def test_every_setting_is_documented_once_and_no_other() -> None:
    assert [each.name for each in DOCUMENTED] == list(known_keys())


def test_values_are_the_built_in_ones_and_examples_stand_only_where_there_is_none_to_show() -> None:
    built_in = known_keys()
    for each in DOCUMENTED:
        value = tomllib.loads(f"it = {each.value}")["it"]
        if each.is_example:
            assert each.name == "daemon.max_concurrent_workers" or built_in[each.name] is None
        else:
            assert (value, type(value)) == (built_in[each.name], type(built_in[each.name])), each.name


def test_unit_and_range_are_those_of_the_models() -> None:
    fields = fields_of_settings()
    assert {each.name: each.allowed for each in DOCUMENTED} == {
        each.name: allowed_values(each.key, fields[each.name]) for each in DOCUMENTED
    }


def test_every_setting_says_why() -> None:
    assert [each.name for each in DOCUMENTED if len(each.why) < 10] == []


def test_the_file_changes_nothing_as_it_comes_and_is_valid_with_every_line_uncommented(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.config_file.write_text(TEXT, encoding="utf-8")
    assert load(home, {}).settings == Settings()

    home.config_file.write_text(re.sub(r"(?m)^#([a-z_]+ = )", r"\1", TEXT), encoding="utf-8")
    assert set(load(home, {}).origins.values()) == {str(home.config_file)}


def test_what_is_not_bundled_is_an_incomplete_installation() -> None:
    assert bundled("parsers/fix").is_dir()
    with pytest.raises(BundledFileMissing, match="Reinstall Casparian"):
        bundled("parsers/none")


def test_every_setting_that_a_page_or_message_names_exists() -> None:
    """`limits.wall_seconds`, in pages and in the strings of the code; the name of a group begins no other dotted word."""
    groups = "|".join(Settings.model_fields)
    pattern = re.compile(rf"`(({groups})\.[a-z_]+)`")
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    said = [(page.name, page.read_text("utf-8")) for page in pages if page.name != "CHANGELOG.md"]
    said += [(each.module, each.text) for each in texts() if not each.is_prose]
    named = {(name, found[0]) for name, text in said for found in pattern.findall(text)}
    assert len(named) > 30
    tables = {"quarantine.fix_orders"}
    assert sorted((name, key) for name, key in named if key not in known_keys() and key not in tables) == []
