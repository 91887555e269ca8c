"""Whatever a confined guest of either kind says, by frames of its own or through the SDK: it ends its own job at most.

What is accepted is taken further: over the wire, through the core and into the tables, and the staged files can be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from casparian_protocol.wire import messages as m
from casparian_protocol.wire.messages import decode, encode
from casparian_shim.errors import ErrorReport
from casparian_shim.frames import Hello, OutputStart, Progress
from casparian_worker.execute import Finished, Outcome
from tests.hostile import extremes
from tests.hostile.extremes import EXTREMES
from tests.hostile.rogue_modes import GOOD, Mode, all_modes
from tests.hostile.test_models import Tables, as_command
from tests.sentinel.daemon.test_failure_policy import Desk as CoreDesk
from tests.worker.attempts import WAYS, Desk

MODES = [mode for mode in all_modes() if not mode.how]
#: Of the modes and of the values in rows, on every commit.
EVERY_MODE, EVERY_VALUE = 53, 13
#: Sends the input past the shim, after the hello that the shim has sent, and leaves.
SPEAK = """
import os, socket
def parse(path, ctx):
    for fd in range(3, 64):
        try:
            sock = socket.socket(fileno=os.dup(fd))
            sock.getpeername()
        except OSError:
            continue
        sock.sendall(open(path, 'rb').read())
        os._exit(0)
"""


@pytest.fixture
def desk(tmp_path: Path, request: pytest.FixtureRequest) -> Desk:
    desk = Desk(tmp_path)
    desk.way = getattr(request, "param", "warm")
    desk.policies = {"rows": {"max_pct": 100.0}}
    return desk


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tables]:
    """What is told of all attempts; at the end the tables have it."""
    made = Tables(tmp_path_factory.mktemp("tables"))
    yield made
    made.flush()
    assert made.poison() == []
    made.projection.close()


def told(outcome: Outcome, tables: Tables) -> None:
    """What its worker says of an attempt can be said, decided about, recorded and shown."""
    core = CoreDesk()
    lease = core.table.running()
    message: m.Message
    if isinstance(outcome, Finished):
        message = m.Finish(jobs=[m.FinishedJob(job_id=lease.job_id, epoch=lease.epoch, manifest=outcome.manifest)])
    else:
        message = m.Fail(job_id=lease.job_id, epoch=lease.epoch, error=outcome.error, uncommitted=outcome.uncommitted)
    again, _ = decode(encode(message))
    assert again == message
    command = as_command("w1", message)
    assert command is not None
    for decision in core.submit(command):
        tables.take(decision)
    assert core.engine.internal.total == 0, core.engine.internal.last


def test_the_frames_have_every_field_there_is() -> None:
    classes = {"progress": Progress, "error": ErrorReport, "output start": OutputStart, "hello": Hello}
    for frame, kind in classes.items():
        assert set(GOOD[frame]) == {field.name for field in fields(kind)} - {"schema"}, frame


def _harmless(mode: Mode, desk: Desk, tables: Tables) -> None:
    desk.input.write_bytes(mode.data)
    outcome = desk.run(SPEAK)
    if isinstance(outcome, Finished):
        assert not mode.codes or "" in mode.codes, f"{mode.name} succeeded"
    else:
        assert outcome.error.code in mode.codes, f"{mode.name}: {outcome.error}"
    told(outcome, tables)


@pytest.mark.parametrize("mode", MODES[::EVERY_MODE], ids=lambda mode: mode.name)
def test_a_confined_guest_that_speaks_past_the_shim_ends_its_own_job_alone(
    mode: Mode, desk: Desk, tables: Tables
) -> None:
    _harmless(mode, desk, tables)


@pytest.mark.campaign
@pytest.mark.parametrize("desk", WAYS, indirect=True)
@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.name)
def test_every_mode_of_a_confined_guest_ends_its_own_job_alone(mode: Mode, desk: Desk, tables: Tables) -> None:
    _harmless(mode, desk, tables)


# --- the SDK ----------------------------------------------------------------------------------------------------------

#: The values, in the parser's own module.
VALUES = Path(extremes.__file__).read_text(encoding="utf-8").replace("from __future__ import annotations", "")
CALLS = """
name, version, may_drop_records = "p", "1.0", True
CALLS = {
    "skip": lambda ctx, v: ctx.skip(v),
    "skip: count": lambda ctx, v: ctx.skip("x", v),
    "skip: source_row": lambda ctx, v: ctx.skip("x", 1, v),
    "progress": lambda ctx, v: ctx.progress(v, v, v),
    "reject: output": lambda ctx, v: ctx.reject(v, {"a": "x"}, "r"),
    "reject: a value": lambda ctx, v: ctx.reject("rows", {"a": v}, "r"),
    "reject: reason": lambda ctx, v: ctx.reject("rows", {"a": "x"}, v),
    "reject: source_row": lambda ctx, v: ctx.reject("rows", {"a": "x"}, "r", v),
    "reject: raw": lambda ctx, v: ctx.reject("rows", {"a": "x"}, "r", 1, v),
    "log": lambda ctx, v: ctx.log.error(v),
    "print": lambda ctx, v: print(v),
    "resource": lambda ctx, v: ctx.resource(v),
    "context": lambda ctx, v: ctx.context(v),
}
def parse(path, ctx):
    for value in EXTREMES:
        for call in CALLS.values():
            try:
                call(ctx, value)
            except Exception:
                continue
    yield {"a": "x", "n": 1}
"""


def test_the_sdk_refuses_what_its_job_could_not_say(desk: Desk, tables: Tables) -> None:
    outcome = desk.run(VALUES + CALLS)
    assert isinstance(outcome, Finished), outcome
    assert outcome.manifest.outputs["rows"].received > len(EXTREMES)
    told(outcome, tables)


def rows() -> list[tuple[str, int]]:
    """Where a value is put in a row, and which."""
    rows = ("{'a': V, 'n': 1}", "{'a': 'x', 'n': V}", "{'a': 'x', 'n': 1, '__cf_row_id': V}", "{'a': 'x', V: 1}", "V")
    places = (*(f"yield {row}" for row in rows), "yield ctx.reject('rows', V, 'r')", "yield V, {'a': 'x'}")
    return [(place, number) for place in places for number in range(len(EXTREMES))]


def _row_is_judged(place: str, number: int, desk: Desk, tables: Tables) -> None:
    outcome = desk.run(VALUES + f"V = EXTREMES[{number}]\ndef parse(path, ctx):\n    {place}\n")
    if isinstance(outcome, Finished):
        read: dict[str, int] = {file.name: desk.table(file.name).num_rows for file in outcome.manifest.files}
        assert read == {file.name: file.rows for file in outcome.manifest.files}
    else:
        assert outcome.error.origin == "parser", outcome.error
        assert outcome.error.code != "PROTOCOL_ERROR", outcome.error
    told(outcome, tables)


@pytest.mark.parametrize(("place", "number"), rows()[::EVERY_VALUE], ids=str)
def test_any_value_in_a_row_is_judged(place: str, number: int, desk: Desk, tables: Tables) -> None:
    _row_is_judged(place, number, desk, tables)


@pytest.mark.campaign
@pytest.mark.parametrize("desk", WAYS, indirect=True)
@pytest.mark.parametrize(("place", "number"), rows(), ids=str)
def test_every_value_in_a_row_is_judged(place: str, number: int, desk: Desk, tables: Tables) -> None:
    _row_is_judged(place, number, desk, tables)
