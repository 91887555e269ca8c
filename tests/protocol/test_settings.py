"""Settings: which layer counts, what each key may be, and what is said of a key or value that may not be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from casparian_protocol.home import Home, make_home
from casparian_protocol.settings import (
    READ_BY_COMMANDS,
    RELOADABLE,
    Settings,
    SettingsError,
    by_key,
    known_keys,
    load,
    with_keys,
)


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home")
    make_home(home)
    return home


def written(home: Home, text: str) -> Home:
    home.config_file.write_text(text, encoding="utf-8")
    return home


def refusal(
    home: Home, environment: dict[str, str] | None = None, flags: dict[str, Any] | None = None
) -> SettingsError:
    with pytest.raises(SettingsError) as refused:
        load(home, environment or {}, flags)
    return refused.value


# --- layers


def test_without_any_layer_all_is_built_in(home: Home) -> None:
    loaded = load(home, {"PATH": "/bin", "CASPARIAN_HOME": "/x", "CASPARIAN_LOG_LEVEL": "debug"})

    assert loaded.settings == Settings()
    assert set(loaded.origins.values()) == {"built-in"}
    assert loaded.origins.keys() == known_keys().keys() == by_key(loaded.settings).keys()
    assert loaded.ignored == ()


def test_each_layer_overrides_those_below_it_and_is_named(home: Home) -> None:
    written(home, "[retry]\nmax_retries = 1\nmax_worker_losses = 1\n[console]\ntheme = 'dark'\n")
    environment = {"CASPARIAN_RETRY__MAX_RETRIES": "2", "CASPARIAN_RETRY__BACKOFF_SECONDS": "[1, 2.5]"}

    loaded = load(home, environment, {"retry.max_retries": 3})
    retry = loaded.settings.retry

    assert (retry.max_retries, retry.max_worker_losses, retry.backoff_seconds) == (3, 1, [1.0, 2.5])
    assert loaded.settings.console.theme == "dark"
    assert {key: origin for key, origin in loaded.origins.items() if origin != "built-in"} == {
        "retry.max_retries": "flag",
        "retry.max_worker_losses": str(home.config_file),
        "retry.backoff_seconds": "CASPARIAN_RETRY__BACKOFF_SECONDS",
        "console.theme": str(home.config_file),
    }


@pytest.mark.parametrize("name", ["MAX_CONCURRENT_WORKERS", "CASPARIAN_MAX_CONCURRENT_WORKERS"])
def test_names_that_earlier_programs_used_are_understood(home: Home, name: str) -> None:
    loaded = load(home, {name: "7"})

    assert loaded.settings.daemon.max_concurrent_workers == 7
    assert loaded.origins["daemon.max_concurrent_workers"] == name


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("quarantine.allow", "false", False),
        ("quarantine.max_pct", "2.5", 2.5),
        ("quarantine.max_count", "null", None),
        ("quarantine.max_count", "3", 3),
        ("console.theme", "mono", "mono"),
        ("console.theme", '"mono"', "mono"),
        ("assistant.endpoint", "http://localhost:11434/v1", "http://localhost:11434/v1"),
        ("assistant.model", "8", "8"),
        ("liveness.heartbeat_seconds", "1", 1.0),
    ],
)
def test_the_environment_says_json_or_plain_text(home: Home, key: str, text: str, value: object) -> None:
    name = "CASPARIAN_" + key.upper().replace(".", "__")
    if key == "assistant.model":  # a number is not text
        assert "assistant.model = 8" in refusal(home, {name: text}).problem
        text = '"8"'
    assert by_key(load(home, {name: text}).settings)[key] == value


# --- what may not be


@pytest.mark.parametrize(
    ("text", "words", "remedy"),
    [
        ("[retry]\nmax_retires = 1", "There is no setting retry.max_retires", "Did you mean retry.max_retries?"),
        ("[retries]\nmax_retries = 1", "There is no setting retries.max_retries", "Did you mean retry.max_retries?"),
        ("max_retries = 1", "There is no setting max_retries", ""),
        ("[zzzzzz]\nqqqqqq = 1", "There is no setting zzzzzz.qqqqqq", "`casparian config show` lists every setting."),
        ("[retry]\nmax_retries = -1", "The setting retry.max_retries = -1", "`casparian config show -v`"),
        ("[retry]\nmax_retries = '3 or so'", "The setting retry.max_retries = '3 or so'", "`casparian config show -v`"),
        ("[retry]\nmax_retries = 1.5", "The setting retry.max_retries = 1.5", "`casparian config show -v`"),
        ("[retry]\nbackoff_seconds = []", "The setting retry.backoff_seconds = []", "`casparian config show -v`"),
        ("[retry]\nbackoff_seconds = [1, -1]", "The setting retry.backoff_seconds = -1", "`casparian config show -v`"),
        ("[quarantine]\nmax_pct = nan", "The setting quarantine.max_pct = nan", "`casparian config show -v`"),
        ("[limits]\nwall_seconds = inf", "The setting limits.wall_seconds = inf", "`casparian config show -v`"),
        ("[limits]\nbatch_bytes = 67108865", "The setting limits.batch_bytes = 67108865", "`casparian config show -v`"),
        (
            "[assistant]\nendpoint = 'file:///etc/passwd'",
            "The setting assistant.endpoint",
            "`casparian config show -v`",
        ),
        ("[retry]\nmax_retries = {}", "The setting retry.max_retries = {}", "`casparian config show -v`"),
        ("[retry\n", "is not valid TOML", "Correct that line."),
        ("[retry]\n[retry]\n", "is not valid TOML", "Correct that line."),
    ],
)
def test_a_file_that_is_not_valid_is_refused_where_it_is_wrong(home: Home, text: str, words: str, remedy: str) -> None:
    refused = refusal(written(home, text))

    assert words in refused.problem
    assert str(home.config_file) in refused.problem
    assert remedy in refused.remedy


def test_a_file_that_is_not_text_or_cannot_be_read_is_reported(home: Home) -> None:
    home.config_file.write_bytes(b"\xff\xfe")
    assert "cannot be read" in refusal(home).problem
    home.config_file.unlink()
    home.config_file.mkdir()
    assert "cannot be read" in refusal(home).problem


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        (
            {"CASPARIAN_RETRY__MAX_RETIRES": "1"},
            "There is no setting retry.max_retires (from CASPARIAN_RETRY__MAX_RETIRES)",
        ),
        ({"CASPARIAN_RETRY": "1"}, "There is no setting retry (from CASPARIAN_RETRY)"),
        ({"CASPARIAN_RETRY__MAX_RETRIES": "many"}, "The setting retry.max_retries = 'many' (from CASPARIAN_RETRY__MAX"),
        ({"CASPARIAN_RETRY__MAX_RETRIES": "9" * 5000}, "(from CASPARIAN_RETRY__MAX_RETRIES) is not allowed"),
        ({"CASPARIAN_RETRY__MAX_RETRIES": "[" * 100_000}, "(from CASPARIAN_RETRY__MAX_RETRIES) is not allowed"),
        ({"MAX_CONCURRENT_WORKERS": "-1"}, "(from MAX_CONCURRENT_WORKERS) is not allowed"),
    ],
)
def test_a_variable_that_makes_no_sense_is_refused_by_its_name(
    home: Home, environment: dict[str, str], words: str
) -> None:
    assert words in refusal(home, environment).problem


def test_a_flag_that_makes_no_sense_is_refused(home: Home) -> None:
    assert "There is no setting retry.x (from flag)" in refusal(home, flags={"retry.x": 1}).problem
    assert "(from flag) is not allowed" in refusal(home, flags={"retry.max_retries": 1000}).problem


def test_a_removed_key_is_reported_and_ignored_and_refused_when_it_asks_for_more(home: Home) -> None:
    loaded = load(written(home, "[sandbox]\nmode = 'auto'\n"), {})

    assert loaded.settings == Settings()
    assert len(loaded.ignored) == 1
    assert loaded.ignored[0].startswith(f"The setting sandbox.mode (from {home.config_file}) was removed: ")
    assert loaded.ignored[0].endswith(" Delete it there.")

    refused = refusal(written(home, "[sandbox]\nmode = 'off'\n"))
    assert refused.problem.startswith("The setting sandbox.mode")
    assert refused.remedy == "Delete it there."


# --- keys

KEYS = sorted(known_keys())


@pytest.mark.parametrize("key", KEYS)
def test_every_built_in_value_is_allowed_in_a_file(home: Home, key: str) -> None:
    group, _, name = key.partition(".")
    value = getattr(getattr(Settings(), group), name)
    if value is None:
        return  # TOML has no word for nothing
    literal = {True: "true", False: "false"}[value] if isinstance(value, bool) else repr(value)
    loaded = load(written(home, f"[{group}]\n{name} = {literal}\n"), {})

    assert loaded.settings == Settings()
    assert loaded.origins[key] == str(home.config_file)


@pytest.mark.parametrize("key", KEYS)
def test_no_key_takes_anything(key: str) -> None:
    group, _, name = key.partition(".")
    with pytest.raises(ValidationError):
        Settings.model_validate({group: {name: {"nested": object()}}})


@given(st.sets(st.sampled_from(KEYS)))
def test_only_the_named_keys_are_taken_over(keys: set[str]) -> None:
    other = Settings.model_validate(
        {
            "retry": {"max_retries": 9, "backoff_seconds": [5.0]},
            "quarantine": {"allow": False, "max_pct": 1.0, "max_count": 4},
            "console": {"theme": "mono", "ascii": True},
            "log": {"low_disk_bytes": 5},
        }
    )
    taken, ours, theirs = (by_key(each) for each in (with_keys(Settings(), other, keys), Settings(), other))

    assert taken == {key: theirs[key] if key in keys else ours[key] for key in KEYS}


def test_who_reads_a_key_is_known() -> None:
    assert set(KEYS) > RELOADABLE
    assert set(KEYS) > READ_BY_COMMANDS
    assert not RELOADABLE & READ_BY_COMMANDS


def test_settings_are_frozen_and_take_no_other_keys() -> None:
    settings = Settings()
    with pytest.raises(ValidationError):
        settings.retry.max_retries = 5  # type: ignore[misc]
    for field in Settings.model_fields:
        group = getattr(settings, field)
        assert isinstance(group, BaseModel)
        with pytest.raises(ValidationError):
            type(group).model_validate({"no_such_key": 1})
