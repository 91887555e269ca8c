"""A program takes over the guest's socket: whatever it says there, and however it ends, ends its own job and nothing else.

Real attempts with real processes on real sockets. On every commit a share of the modes, evenly from each family, with
every mode's frames through the reader in this process; all modes as real attempts in the campaign.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from casparian_protocol.wire.messages import Fail, Finish, FinishedJob, Held, Message, decode, encode
from casparian_worker.execute import Failed, Outcome
from casparian_worker.execute.run import StreamCounters
from casparian_worker.guest import children
from casparian_worker.reports import RunningJob, Usage, heartbeat_of
from tests.hostile.rogue_modes import Mode, all_modes
from tests.worker.attempts import BARE, Desk

ROGUE = str(Path(__file__).with_name("rogue_guest.py"))
MODES = all_modes()
#: Of the modes, as real attempts on every commit.
EVERY = 21


def attempt(mode: Mode, folder: Path) -> tuple[Outcome, StreamCounters, float]:
    """One real attempt with the rogue in the guest's place; and how long it took, in seconds."""
    desk = Desk(folder)
    desk.machine = BARE  # the rogue puts nothing on, which is refused where more was planned
    desk.input.write_bytes(mode.data)
    desk.params = dict(mode.how)
    began_s = time.monotonic()
    outcome = desk.run("")
    took_s = time.monotonic() - began_s
    assert not list(desk.home.scratch.iterdir()), mode.name
    return outcome, desk.counters, took_s


def require_harmless(mode: Mode, outcome: Outcome, counters: StreamCounters) -> None:
    """What the worker would tell can be told; what the guest said steers no retry and blames nobody else."""
    job = RunningJob(Held(job_id="0" * 16, epoch=1), 1, counters)
    told: list[Message] = [*heartbeat_of([job], 1, Usage(), 1.0, 1)]
    if isinstance(outcome, Failed):
        assert outcome.error.code in mode.codes, f"{mode.name}: {outcome.error}"
        told.append(Fail(job_id="0" * 16, epoch=1, error=outcome.error))
        assert outcome.error.message.isprintable() or "\n" in outcome.error.message
        assert "\x1b" not in outcome.error.model_dump_json().encode().decode("unicode_escape", "replace")
    else:
        assert not mode.codes or "" in mode.codes, f"{mode.name} succeeded"
        told.append(Finish(jobs=[FinishedJob(job_id="0" * 16, epoch=1, manifest=outcome.manifest)]))
    for message in told:
        assert decode(encode(message))[0] == message


@pytest.fixture(autouse=True)
def rogue_in_the_guests_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian_worker.guest.spawner.LAUNCH", ROGUE)
    monkeypatch.setattr("casparian_worker.execute.stream.EXIT_SECONDS", 2.0)


@pytest.fixture(scope="module", autouse=True)
def children_come_to_us() -> Iterator[None]:
    """As in a worker's process; what this process has started already is its own."""
    listed = [path.read_text().split() for path in Path("/proc/self/task").glob("*/children")]
    before = set(children._ours)
    children._ours.update(int(pid) for pids in listed for pid in pids)
    children.adopt()
    yield
    children._is_adopting = False
    children._ours.intersection_update(before)
    ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)


def shared() -> list[Mode]:
    """The modes of every commit: each kind of end, and one in twenty-one of the rest."""
    ends = [mode for mode in MODES if "then" in mode.how]
    rest = [mode for mode in MODES if "then" not in mode.how]
    return ends[::3] + [mode for mode in ends if "behind" in mode.name] + rest[::EVERY]


@pytest.mark.parametrize("mode", shared(), ids=lambda mode: mode.name)
def test_whatever_it_says_it_ends_its_own_job_alone(mode: Mode, tmp_path: Path) -> None:
    outcome, counters, took_s = attempt(mode, tmp_path)
    require_harmless(mode, outcome, counters)
    assert took_s < 10, mode.name


@pytest.mark.campaign
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_every_mode_ends_its_own_job_alone(mode: Mode, tmp_path: Path) -> None:
    outcome, counters, _took_s = attempt(mode, tmp_path)
    require_harmless(mode, outcome, counters)
