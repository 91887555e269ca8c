"""What `status` prints: tables that are not open yet, and jobs that were running when their daemon ended."""

from __future__ import annotations

import pytest

from casparian.commands import daemon
from casparian_protocol.wire import ProjectorPhase
from casparian_protocol.wire.operations.daemon import ProjectionView

QUEUE = {"queued": 1, "running": 2, "retrying": 0, "failed": 3, "dead_letter": 0}


@pytest.mark.parametrize(
    ("phase", "lag", "said"),
    [
        (ProjectorPhase.STARTING, 302_169, " (tables are being opened)"),
        (ProjectorPhase.READING, 302_169, " (tables 302,169 behind: in words)"),
        (ProjectorPhase.READY, 7, " (tables 7 behind: in words)"),
        (ProjectorPhase.READY, 0, ""),
    ],
)
def test_tables_are_called_behind_only_once_they_are_open(phase: ProjectorPhase, lag: int, said: str) -> None:
    assert daemon._say_behind(ProjectionView(seq=0, lag=lag, state="in words", phase=phase)) == said


def test_without_a_daemon_nothing_is_called_running() -> None:
    assert daemon._queue_without_daemon(QUEUE) == [
        ("queued", "1"),
        ("retrying", "0"),
        ("failed", "3"),
        ("dead letter", "0"),
        ("interrupted", "2 when the daemon ended; `casparian start` takes them up again"),
    ]
    assert "interrupted" not in dict(daemon._queue_without_daemon({**QUEUE, "running": 0}))
