"""A request before its handler: who speaks, whether the operation exists, and whether it may be asked here."""

from __future__ import annotations

from pathlib import Path

import pytest

from casparian_protocol.wire.operations import OPERATIONS, BadArguments, UnknownOperation
from casparian_sentinel.operations.steps import EndDaemon, OperationRefused
from casparian_sentinel.operations.table import HANDLERS, UNKNOWN, actor_of
from tests.sentinel.operations.player import Player


@pytest.mark.parametrize("said", ["user:ann@cli", "user:a.b-c@console", "user:ann@c2"])
def test_an_actor_is_kept_as_said(said: str) -> None:
    assert actor_of(said) == said


@pytest.mark.parametrize(
    "said",
    [
        *("", "sentinel", "worker:w1", "user:@cli", "user:ann@", "user:a b@cli", "user:a@CLI"),
        *("user:a\n@cli", "user:a@cli\n", "user:" + "a" * 65 + "@cli"),
    ],
)
def test_a_client_cannot_speak_as_another_kind_of_actor(said: str) -> None:
    assert actor_of(said) == UNKNOWN


def test_every_operation_of_the_protocol_has_a_handler() -> None:
    assert set(HANDLERS) == set(OPERATIONS)


def test_requests_are_refused_before_their_handler(tmp_path: Path) -> None:
    local = Player(tmp_path, mode="local")
    with pytest.raises(UnknownOperation):
        local.request("explode")
    with pytest.raises(BadArguments):
        local.request("cancel", job="ab")
    with pytest.raises(OperationRefused, match="`drain` needs a running daemon"):
        local.request("drain")
    with pytest.raises(OperationRefused, match="ping takes no attachment"):
        local.request("ping", [b"x"])
    with pytest.raises(OperationRefused, match="upload takes one attachment"):
        local.request("upload", size=1, digest="a" * 64)
    assert local.table.log == []


def test_the_daemon_s_own_operations(tmp_path: Path) -> None:
    player = Player(tmp_path)
    assert (player.request("ping").pid, player.request("ping").seq) == (1, 0)
    assert player.request("settings").settings["retry.max_retries"] == player.context.settings.retry.max_retries
    player.request("drain")
    player.request("stop", now=True)
    assert player.ended == [EndDaemon(now=False, is_drain_only=True), EndDaemon(now=True)]


def test_reloading_takes_over_what_may_change_and_names_what_needs_a_restart(tmp_path: Path) -> None:
    player = Player(tmp_path)
    before = player.context.settings.retry.max_retries
    player.home.config_file.write_text(
        f"[retry]\nmax_retries = {before + 1}\n\n[projection]\nbatch_events = 7\n", encoding="utf-8"
    )
    result = player.request("reload")
    assert {key: (one.before, one.now) for key, one in result.changed.items()} == {
        "retry.max_retries": (before, before + 1)
    }
    assert result.needs_restart == ["projection.batch_events"]
    assert player.context.settings.retry.max_retries == before + 1
    assert player.request("reload").changed == {}
