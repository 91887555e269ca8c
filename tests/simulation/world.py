"""One history from one seed: the shipped sentinel on a simulated disk, model workers, a bad network, and judges.

Time is compressed: a lease is one second, trouble lasts a few, then everything must come to its end. After every step of
the history the judges look (`invariants`). Nothing depends on the machine: the same seed tells the same story anywhere.
"""

from __future__ import annotations

import asyncio
import errno
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from operator import attrgetter
from typing import Any, NoReturn
from unittest.mock import patch

from casparian_protocol.home import Home
from casparian_protocol.jobs import JobError, JobSpec
from casparian_protocol.jobs.kinds import ScanWork
from casparian_protocol.settings import DaemonSettings, LivenessSettings, LogSettings, RetrySettings, Settings
from casparian_protocol.wire import messages as m
from casparian_sentinel import core as c
from casparian_sentinel.core.decision import Decision
from casparian_sentinel.core.folding import UnfoldableLog, evolve, validate
from casparian_sentinel.core.handlers import decide
from casparian_sentinel.core.snapshot import dump, load
from casparian_sentinel.core.state import State
from casparian_sentinel.daemon import journal
from casparian_sentinel.daemon.boot import boot_home
from casparian_sentinel.log.errors import LogBroken, LogCorrupt, LogFull
from casparian_sentinel.log.format import LogRecord
from casparian_worker.discovery.file_index import ChangeWriter, FileRow
from tests.sentinel.core.play import ANN, ARTIFACT, CONTRACT, spec
from tests.simulation.faults import CALM, ERRORS, KINDS_OF_OPERATION, Faults, Shape, drawn, drawn_shape
from tests.simulation.invariants import Judge, Platter, Violated, check_published
from tests.simulation.loop import Agenda, SimClock, SimLoop, new_loop
from tests.simulation.machine import simulated_machine
from tests.simulation.paths import root
from tests.simulation.shell import SimShell
from tests.simulation.simdisk import SimDisk
from tests.simulation.simfs import Fault, File, Halted, SimFs
from tests.simulation.workers import SimWorker

SENTINEL = "sentinel"
HOME = Home(root() / "home")
LEASE_SECONDS = 1.0
PATIENCE_SECONDS = 15.0
_TROUBLE_SECONDS = 0.1
_BETWEEN_STARTS_SECONDS = 0.15
_ASKED_AGAIN_SECONDS = 1.0
_ENDLESS = f"{0:016x}"
_PLENTY_BYTES = 1 << 30
#: Whether all is over is asked so seldom.
_STEPS_BETWEEN_LOOKS = 4
#: The judges follow the log as it grows; in every so many histories they also read it again from its beginning.
_READ_AGAIN_EVERY = 8

SETTINGS = Settings().model_copy(
    update={
        "liveness": LivenessSettings(
            lease_timeout_seconds=LEASE_SECONDS, rejoin_seconds=0.6, stalled_after_seconds=1, heartbeat_seconds=0.3
        ),
        "retry": RetrySettings(backoff_seconds=[0.1, 0.2, 0.4]),
        "log": LogSettings.model_construct(segment_bytes=6000, reserve_bytes=8192, low_disk_bytes=16384),
        "daemon": DaemonSettings(drain_seconds=0.5),
    }
)
_OUTPUTS = {"orders": CONTRACT, "trades": "d" * 64}


@cache
def registration(outputs: int, version: str, *, carries_over: bool = False) -> c.RegisterParser:
    """A later version with the same contracts: approval carries over, and it becomes current while jobs of 1.0 go on."""
    contracts = dict(list(_OUTPUTS.items())[:outputs])
    return c.RegisterParser(
        f"p{version}",
        "advice",
        version,
        ARTIFACT if version == "1.0" else "b" * 64,
        ANN,
        outputs=contracts,
        contracts=tuple(
            c.ContractFacts(f"{version}-{name}", "scope", name, digest, 3) for name, digest in contracts.items()
        ),
        entry="a.py",
        carries_over=carries_over,
    )


@cache
def _job(number: int, shape: Shape) -> JobSpec:
    if shape.scan_every and number % shape.scan_every == 1:
        return JobSpec(job_id=f"{number:016x}", key=f"scan:{number}", work=ScanWork(root=f"/data/{number}"))
    outputs = dict(list(_OUTPUTS.items())[: shape.outputs])
    return spec(number, contracts=outputs)


@cache
def _changes(number: int) -> bytes:
    writer = ChangeWriter()
    writer.add(
        "new",
        FileRow(
            id=f"{number:016x}",
            path=f"/data/{number}/f",
            rel_path="f",
            size=1,
            mtime_ns=1,
            device=1,
            inode=number,
            content_hash="",
            kind="text",
        ),
    )
    return writer.finish()


class Mishap(Exception):
    """An error of ours in a handler, on purpose."""


_SIGNS_OF_LIFE = frozenset({m.Hello, m.Heartbeat, m.Want})


class World:
    """`run` raises `Violated` when a promise is broken."""

    shell_class = SimShell

    def __init__(
        self, seed: int, faults: Faults | None = None, shape: Shape | None = None, *, has_rival: bool = False
    ) -> None:
        """`faults`, `shape`: drawn if not given. `has_rival`: another process says that it is the first worker."""
        self.shape = drawn_shape(seed) if shape is None else shape
        self.seed = seed
        self.dice = random.Random(seed)
        self.faults = drawn(self.dice) if faults is None else faults
        self.settings = SETTINGS
        self.home = HOME
        self.agenda = Agenda()
        self.clock = SimClock(self.agenda)
        self.fs = SimFs(random.Random(seed + 1))
        self.staging_disk = SimDisk(self.fs)
        self.jobs = self.shape.jobs
        self.acting = SENTINEL
        self.is_power_cut = False
        self.is_told = False
        self.story: list[str] = []
        self.steps = 0
        self.boots = 0
        self.halts = 0
        self.shell: SimShell | None = None
        self.loop: SimLoop | None = None
        self.life: asyncio.Task[None] | None = None
        self.live_judge = self._new_judge()
        self.platter = Platter(self.fs, self.home.log, self._new_judge())
        self.shadow = State()
        self.last_heard: dict[str, float] = {}
        self._heard_before = 0.0
        self._heard_of = ""
        #: connection → (worker, process) that said hello there; when that was heard last; worker → the process that joined.
        self.process_of: dict[str, tuple[str, int]] = {}
        self.beats: dict[tuple[str, int], float] = {}
        self.joined: dict[str, int] = {}
        self.booted_at_s = 0.0
        self.are_names_new = False
        self.cut_off: dict[str, float] = {}
        self.is_prepared = False
        self.is_calm = faults == CALM
        self.is_bad = True
        self.is_ending = False
        self.until_s = self.faults.until_s
        self.swept_at_s = 0.0
        self.workers = {f"w{number}": SimWorker(self, f"w{number}") for number in range(self.shape.workers)}
        if has_rival:
            self.workers["rival"] = SimWorker(self, "w0", "rival", pid=1_000_000)
        self.fs.on_change = self._names_changed

    def _new_judge(self) -> Judge:
        """For what is durable, so that what it names must be durable too."""
        retry = SETTINGS.retry
        return Judge(retry.max_retries, retry.max_worker_losses, self._durable_blob)

    def _durable_blob(self, digest: str) -> bytes:
        place = self.home.blob(digest)
        file = self.fs.on_platter(place.parent).get(place.name)
        return bytes(file.platter) if isinstance(file, File) else b""

    # --- the history

    def run(self) -> None:
        """Until every job has ended and nothing is left lying about, or patience is over (I4, I6)."""
        with _as_the_running_loop(self):
            try:
                self._begin()
                step = self.step
                while not self._is_over():
                    if self.agenda.now_s > self.until_s + PATIENCE_SECONDS:
                        self._never_over()
                    for _ in range(_STEPS_BETWEEN_LOOKS):
                        step()
                self._judge_end()
            except UnfoldableLog as unfoldable:
                raise Violated(f"I9: {unfoldable}") from unfoldable

    def _never_over(self) -> NoReturn:
        held = {name: worker.in_hand for name, worker in self.workers.items()}
        if not self.live_judge.open_jobs and any(held.values()):
            raise Violated(f"I13: every job has ended, and these are still in hand: {held}")
        raise Violated(f"I4, I6: {sorted(self.live_judge.open_jobs)} never ended, or staging is left")

    def step(self) -> None:
        self.steps += 1
        self.acting = SENTINEL
        try:
            self.agenda.run_next()
        except Halted:  # and a task that swallowed it is dead all the same
            self.halts += 1
        life = self.life
        if self.fs.is_halted:
            self._halted()
        elif life is not None and life.done():
            self._sentinel_ended()
        if self.are_names_new:
            self.are_names_new = False
            self._read_platter()
            check_published(self.fs, self.home.root, self.platter.judge)

    def tell(self, what: str) -> None:
        if self.is_told:
            self.story.append(f"{self.agenda.now_s:8.3f}  {what}")

    def chance(self, probability: float) -> bool:
        return probability > 0 and self.is_bad and self.dice.random() < probability

    def _begin(self) -> None:
        home = self.home
        for directory in (home.log, home.blobs, home.outputs, home.quarantine, home.staging):
            self.fs.make_directory(directory)
        self.fs.sync_everything()
        self.tell(f"trouble: {self.faults}")
        self._boot()
        for number, worker in enumerate(self.workers.values()):
            self.agenda.after(number * _BETWEEN_STARTS_SECONDS, worker.begin)
        self.agenda.after(_TROUBLE_SECONDS, self._trouble)

    def _is_over(self) -> bool:
        shell = self.shell
        if not self.is_prepared or shell is None:
            return False
        if shell.failure is not None or not shell.is_ready or shell.booted.state.jobs or shell.booted.state.keeping:
            return False
        if any(worker.in_hand for worker in self.workers.values()):  # I13: what has ended is in nobody's hand
            return False
        if not self.is_ending:
            self.is_ending = True
            self._end_trouble()
            self._cut_power()  # what was answered is durable, or this shows that it was not
            return False
        if shell.promoter.is_busy or shell.journal.durable.seq != shell.booted.state.seq:
            return False
        if self.fs.is_empty(self.home.staging):
            return True
        if self.agenda.now_s > self.swept_at_s + 0.5:
            self.swept_at_s = self.agenda.now_s
            self.acting = SENTINEL
            shell.engine.submit(c.RedoFileWork())  # of the minute, early
        return False

    def _judge_end(self) -> None:
        assert self.shell is not None
        self._read_platter()
        if not self.seed % _READ_AGAIN_EVERY:
            self._judge_again()
        check_published(self.fs, self.home.root, self.platter.judge, is_final=True)
        if self.platter.judge.open_jobs:
            raise Violated(f"I4: {sorted(self.platter.judge.open_jobs)} never ended")
        self._judge_queued()
        self._compare_dumps(self.shell.booted.state)
        self._judge_errors(self.shell)

    def _judge_queued(self) -> None:
        if len(self.platter.judge.keys) != self.jobs:
            raise Violated(f"I4: of {self.jobs} jobs only {sorted(self.platter.judge.keys)} were ever queued")

    def _judge_errors(self, shell: SimShell) -> None:
        """The daemon survives errors of its own; in these histories there are none but those that were asked for."""
        wanted = [("the effect SendToWorker", self.faults.effect_errors), ("deciding ", self.faults.handler_errors)]
        if any(not any(rate and place.startswith(name) for name, rate in wanted) for place in shell.internal.counts):
            raise Violated(f"errors of ours: {shell.internal.view()}")

    def _judge_again(self) -> None:
        """What was judged step by step, once more from what the disk says now."""
        followed, shadow = self.platter, dump(self.shadow)
        self._read_again()
        again = self.platter
        if again.events != followed.events or again.judge != followed.judge or dump(self.shadow) != shadow:
            raise Violated("I9: the log read from its beginning says something else than what was followed")

    # --- the sentinel's process

    def _boot(self) -> None:
        if self.shell is not None:
            return
        self.boots += 1
        self.acting = SENTINEL
        try:
            booted = boot_home(self.home, self.settings, self.fs)
        except (LogFull, LogBroken, OSError) as cause:
            self.tell(f"the sentinel cannot start: {cause}")
            self.agenda.after(0.3, self._boot)
            return
        except LogCorrupt as corrupt:
            raise Violated(f"recovery calls what a crash left corrupt: {corrupt}") from corrupt
        self.tell(f"the sentinel starts at event {booted.log.end.seq}, torn: {booted.recovery.torn}")
        self.booted_at_s = self.agenda.now_s
        self.last_heard = {}
        if not self.platter.outlived():
            self._read_again()
        self._read_platter()
        if self.platter.seq != booted.log.end.seq:
            raise Violated(f"I7: recovered up to {booted.log.end.seq}, but only {self.platter.seq} is durable")
        self.live_judge = self.platter.judge.copied()
        self._compare_fold(booted.state)
        check_published(self.fs, self.home.root, self.platter.judge)
        self.loop = new_loop(self.agenda, self.dice)
        asyncio.events._set_running_loop(self.loop)
        self.shell = self.shell_class(self, booted)
        self.life = self.loop.create_task(self.shell.live())
        self.loop.call_soon(self._prepare, self.shell)

    def _prepare(self, shell: SimShell) -> None:
        """What a user did; done again when a crash took it back."""
        if not shell.is_ready:
            self.agenda.after(0.05, self._prepare, shell, loop=self.loop)
            return
        if "advice" not in shell.booted.state.parsers:
            shell.engine.submit(registration(self.shape.outputs, "1.0"))
        if not shell.booted.state.parsers["advice"].versions["1.0"].is_runnable:
            shell.engine.submit(c.DecideContract("advice", True, "", ANN))
        self._change_version(shell)
        position = 0 if self.is_prepared else shell.booted.state.seq  # a later plan knows nothing: refused by the keys
        known = self.live_judge.keys
        wanted = [_job(number, self.shape) for number in range(self.jobs)]
        specs = [one for one in wanted if self.is_prepared or one.job_id not in known]
        shell.engine.submit(c.QueueJobs(specs, position), self._prepared)

    def _change_version(self, shell: SimShell) -> None:
        """With every start of the sentinel another version is current: registered, then chosen back and forth."""
        line = shell.booted.state.parsers["advice"]
        if "1.1" not in line.versions:
            shell.engine.submit(registration(self.shape.outputs, "1.1", carries_over=True))
        else:
            other = "1.0" if line.current == "1.1" else "1.1"
            shell.engine.submit(c.UseVersion("advice", other, "a change of mind", ANN))

    def _prepared(self) -> None:
        self.is_prepared = True

    def _halted(self) -> None:
        """The operation before which `halt_in` ran out was the acting process's last."""
        if self.is_power_cut:
            self._cut_power()
        elif self.acting == SENTINEL:
            self.tell("the sentinel is killed")
            self.fs.revive()
            self.kill_sentinel()
        else:
            self.tell(f"{self.acting} is killed")
            self.fs.revive()
            self.workers[self.acting].die()

    def _cut_power(self) -> None:
        self.tell("the power is cut")
        self.is_power_cut = False
        self.fs.cut_power()
        self.kill_sentinel()
        for worker in self.workers.values():
            worker.die()

    def kill_sentinel(self) -> None:
        if self.loop is not None:
            self.loop.die()
        if self.shell is not None:
            self._judge_errors(self.shell)
            self.shell.let_go()
        self.shell = self.loop = self.life = None
        self.agenda.after(self.dice.random() * 0.4, self._boot)

    def _sentinel_ended(self) -> None:
        assert self.life is not None and self.shell is not None
        error = self.life.exception()
        if error is None:
            error = self.shell.failure
        if isinstance(error, Violated):
            raise error
        if isinstance(error, UnfoldableLog):
            raise Violated(f"I9: {error}") from error
        if error is not None and not isinstance(error, LogBroken | OSError | LogFull):
            raise Violated(f"the sentinel stopped for an error of ours: {error!r}") from error
        self.tell(f"the sentinel ends: {error or 'as asked'}")
        self.kill_sentinel()

    # --- trouble

    def _trouble(self) -> None:
        if not self.is_bad:
            return
        if self.agenda.now_s >= self.until_s:
            self._end_trouble()
            return
        self.agenda.after(_TROUBLE_SECONDS, self._trouble)
        faults, dice, now_s = self.faults, self.dice, self.agenda.now_s
        each = _TROUBLE_SECONDS
        if self.chance(faults.halts * each) and not self.fs.halt_in:
            self.fs.halt_in = dice.randint(1, 25)
        if self.chance(faults.power_cuts * each):
            self.fs.halt_in, self.is_power_cut = dice.randint(1, 25), True
        if self.chance(faults.disk_errors * each):
            self._fail_disk()
        if self.fs.capacity_bytes != _PLENTY_BYTES and dice.random() < 0.3:
            self.fs.capacity_bytes = _PLENTY_BYTES
            self.tell("there is room again")
        elif self.chance(faults.disk_full * each):
            used = _PLENTY_BYTES - self.fs._room_bytes()
            self.fs.capacity_bytes = used + dice.choice((0, 1000, 5000, 40_000))
            self.tell("the disk is full")
        if self.chance(faults.wall_jumps * each):
            self.clock.jump(dice.uniform(-1, 1))
            self.tell("the wall clock jumps")
        if self.chance(faults.sentinel_freezes * each) and self.loop is not None:
            self.loop.frozen_until_s = now_s + dice.random() * 2 * LEASE_SECONDS
            self.tell(f"the sentinel is frozen until {self.loop.frozen_until_s:.3f}")
        if self.chance(faults.clean_restarts * each) and self.shell is not None:
            self.shell.drain_requested.set()
            self.shell.changed.set()
            self.tell("the sentinel is asked to stop")
        if self.chance(faults.cancels * each) and self.shell is not None and self.shell.is_ready:
            victim = f"{dice.randrange(self.jobs):016x}"
            self.shell.engine.submit(c.CancelJob(victim, "on a whim", ANN))
        for worker in self.workers.values():
            self._trouble_worker(worker)

    def _end_trouble(self) -> None:
        self.tell("trouble ends")
        self.is_bad, self.until_s = False, self.agenda.now_s
        self.fs.faults.clear()
        self.fs.capacity_bytes = _PLENTY_BYTES
        self.fs.halt_in, self.is_power_cut = 0, False
        for worker in self.workers.values():
            worker.frozen_until_s = min(worker.frozen_until_s, self.agenda.now_s)
        if self.shape.has_endless_job:
            self._cancel_endless()

    def _cancel_endless(self) -> None:
        """Somebody has waited long enough, and says so until it helps."""
        self.agenda.after(_ASKED_AGAIN_SECONDS, self._cancel_endless)
        if self.shell is not None and self.shell.is_ready and _ENDLESS in self.shell.booted.state.jobs:
            self.shell.engine.submit(c.CancelJob(_ENDLESS, "it does not end", ANN))

    def _trouble_worker(self, worker: SimWorker) -> None:
        faults, dice, now_s = self.faults, self.dice, self.agenda.now_s
        if self.chance(faults.worker_crashes * _TROUBLE_SECONDS):
            self.tell(f"{worker.worker_id} dies")
            worker.die()
            if dice.random() < 0.5 and self.shell is not None and self.shell.is_ready:
                self.shell._on_worker_gone(worker.worker_id, "was killed")
        if self.chance(faults.worker_freezes * _TROUBLE_SECONDS):
            worker.frozen_until_s = now_s + dice.random() * 3 * LEASE_SECONDS
            self.tell(f"{worker.worker_id} is frozen until {worker.frozen_until_s:.3f}")
        if self.chance(faults.partitions * _TROUBLE_SECONDS):
            self.cut_off[worker.worker_id] = now_s + dice.random() * 2 * LEASE_SECONDS
            self.tell(f"{worker.worker_id} is cut off until {self.cut_off[worker.worker_id]:.3f}")

    def _fail_disk(self) -> None:
        dice = self.dice
        kinds = tuple(dice.sample(KINDS_OF_OPERATION, dice.randint(1, 4)))
        fault = Fault(kinds, dice.randint(1, 20), dice.choice(ERRORS), is_lasting=dice.random() < 0.3)
        if fault.code == errno.EINTR:
            fault.is_lasting = False  # nobody is interrupted for ever
        if fault.code == 0:
            fault.kinds = ("write",)
        self.fs.faults.append(fault)
        self.tell(f"the disk will fail: {fault}")

    # --- the network

    def carry(self, worker_id: str, deliver: Callable[..., None], *arguments: Any) -> None:
        """Deliver late, twice or never."""
        faults, dice = self.faults, self.dice
        if not self.is_bad:
            self.agenda.after(dice.random() * 0.01, deliver, *arguments)
            return
        if self.cut_off.get(worker_id, 0.0) > self.agenda.now_s or self.chance(faults.drop):
            return
        for _ in range(2 if self.chance(faults.double) else 1):
            self.agenda.after(dice.random() * faults.delay_s, deliver, *arguments)

    def to_sentinel(self, connection: str, message: m.Message, attachments: Sequence[bytes] = ()) -> bool:
        """Whether anybody listens there."""
        if self.shell is None:
            return False
        self.carry(connection, self._arrives, connection, message, attachments)
        return True

    def _arrives(self, connection: str, message: m.Message, attachments: Sequence[bytes]) -> None:
        if self.shell is not None and self.shell.is_ready:
            self.shell.sockets.socket.deliver(connection, message, attachments)

    def heard(self, worker_id: str, message: m.Message) -> None:
        if type(message) in _SIGNS_OF_LIFE:
            if isinstance(message, m.Hello):
                self.process_of[worker_id] = message.worker_id, message.pid
            if worker_id in self.process_of:
                self.beats[self.process_of[worker_id]] = self.agenda.now_s
            self._heard_of = worker_id
            self._heard_before = self.last_heard.get(worker_id, self.booted_at_s)
            self.last_heard[worker_id] = self.agenda.now_s

    def not_heard(self, worker_id: str) -> None:
        """What it just said was refused: no sign of life."""
        self.last_heard[worker_id] = self._heard_before

    def leaves(self, worker_id: str, message: m.Message) -> None:
        """A message to a worker: what it promises must be durable (I7)."""
        if self.is_told:
            self.tell(f"to {worker_id}: {message!r}"[:200])
        judge = self.platter.judge
        if isinstance(message, m.Committed):
            for item in message.jobs:
                judge.may_answer_committed(item.job_id, item.epoch)
        elif isinstance(message, m.Assign):
            for given in message.jobs:
                self.must_be_durable(given.epoch, "assigned")
        self.carry(worker_id, self.workers[worker_id].receive, message)

    # --- judgement

    def decided(self, decision: Decision) -> None:
        """Every decision, durable or not."""
        seq = decision.first_seq
        for fact in decision.facts():
            event = LogRecord(seq, *fact)
            if self.is_told:
                self.tell(f"decided {seq}: {event.type} {event.data}"[:240])
            self.live_judge.see(event)
            if event.type == "WorkerLost":
                self._judge_loss(event.data["worker_id"], event.data["reason"])
            elif event.type == "WorkerJoined":
                self.joined[event.data["worker_id"]] = event.data["pid"]
            seq += 1

    def _judge_loss(self, worker_id: str, reason: str) -> None:
        """Leases hold on monotonic time: wall clocks that jump change nothing."""
        now_s = self.agenda.now_s
        silent_s = now_s - self.last_heard.get(worker_id, self.booted_at_s)
        if reason.startswith("silent") and silent_s <= LEASE_SECONDS - 1e-6:
            raise Violated(f"a lease ended after {silent_s:.3f} s of silence")
        if reason.startswith("another process") and self.is_calm:  # elsewhere what the dead had said may still arrive
            beat_s = self.beats.get((worker_id, self.joined.get(worker_id, 0)), 0.0)
            if beat_s > self.booted_at_s and now_s - beat_s <= LEASE_SECONDS - 1e-6:
                raise Violated(f"I11: {worker_id} lost its name to another process while it still beat")
        if reason.startswith("did not rejoin") and now_s - self.booted_at_s < SETTINGS.liveness.rejoin_seconds - 1e-6:
            raise Violated("a worker had less time to rejoin than it was promised")

    def must_be_durable(self, seq: int, what: str) -> None:
        if seq > self.platter.judge.last_seq:
            raise Violated(f"I7: event {seq} was {what} while the platter ends at {self.platter.seq}")

    def releases(self) -> None:
        """Something is about to leave: see what the platter has, and that live state is its fold (I9)."""
        self._read_platter()
        shell = self.shell
        if shell is not None and shell.booted.state.seq == self.shadow.seq:
            self._compare_fold(shell.booted.state)

    def _read_platter(self) -> None:
        shadow = self.shadow
        for event in self.platter.read():
            evolve(shadow, event)

    def _read_again(self) -> None:
        """From the beginning, with judges that know nothing yet."""
        before = self.platter
        self.platter = Platter(self.fs, self.home.log, self._new_judge())
        self.platter.follow(before)
        self.shadow = State()
        for event in self.platter.events:
            evolve(self.shadow, event)

    def _compare_fold(self, state: State) -> None:
        validate(state)
        if _KNOWN(self.shadow) != _KNOWN(state):
            raise Violated("I9: the fold of the log differs from the state")

    def _compare_dumps(self, state: State) -> None:
        """I9 in every byte, and that a snapshot says the same."""
        folded = dump(self.shadow)
        if folded != dump(state) or dump(load(folded)) != folded:
            raise Violated("I9: the fold of the log, the state and its snapshot differ")

    def _names_changed(self) -> None:
        self.are_names_new = True

    # --- what workers ask of their surroundings

    def verdict(self, job_id: str) -> tuple[str, bool]:
        """How an attempt ends: one job in five never succeeds, one in eight fails now and then."""
        if self.is_in_vain(job_id):
            return ("INVALID_DATA", False) if self.seed % 2 else ("TIMEOUT", True)
        if self.dice.random() < 0.12:
            return self.dice.choice((("TIMEOUT", True), ("MEMORY_ERROR", False)))
        return "", False

    def is_in_vain(self, job_id: str) -> bool:
        return (self.seed + int(job_id, 16)) % 5 == 0

    def error_of(self, job_id: str, code: str, is_retryable: bool) -> JobError:
        return JobError(code=code, retryable=is_retryable)

    def is_endless(self, job_id: str) -> bool:
        return self.shape.has_endless_job and not int(job_id, 16)

    def changes_of(self, assignment: m.Assignment) -> bytes:
        """What a scan finds: every other one a new file."""
        number = int(assignment.job.job_id, 16)
        return _changes(number) if number % 4 else b""

    def has_mishap(self, command: c.Command) -> bool:
        return isinstance(command, c.FromWorker) and self.chance(self.faults.handler_errors)

    @contextmanager
    def mishap(self) -> Iterator[None]:
        """A handler of what a worker said fails, after it has decided: nothing of that may be left."""
        self.tell("a handler fails")
        if self._heard_of in self.last_heard:  # what left no trace was no sign of life either
            self.not_heard(self._heard_of)

        def failing(*arguments: Any) -> Decision:
            decide(*arguments)
            raise Mishap

        with patch.object(journal, "decide", failing):
            yield


#: Every field of a state but queues, which follow from the jobs, and a cache of what equal jobs share.
_KNOWN = attrgetter(*(name for name in State.__slots__ if not name.startswith("ready") and name != "last_works"))


@contextmanager
def _as_the_running_loop(world: World) -> Iterator[None]:
    """Code that asks for the running loop gets the world's; afterwards nothing of the world leads back to it."""
    try:
        with simulated_machine():
            yield
    finally:
        asyncio.events._set_running_loop(None)
        if world.loop is not None:
            world.loop.die()
        if world.shell is not None:
            world.shell.let_go()
        world.agenda.forget()
        world.fs.on_change = None
        world.workers.clear()
