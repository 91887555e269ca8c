"""A seeded walk of murder: who is killed or frozen when, until the load is done, and then the account.

`python -m tests.crash.chaos --seed 7 --blows 20` replays the dice of one walk in a directory of its own and tells its
story. Dice decide who is hit, how, and how long to wait; what exactly runs at that moment is the machine's to choose.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.crash.load import generate
from tests.crash.site import Role, Site, end

#: Weights of the blows. `power` kills everything at once; `boot` kills a sentinel while it starts.
BLOWS = {"sentinel": 4, "worker": 5, "guest": 5, "projector": 2, "power": 2, "boot": 2, "freeze": 1}
_LONGEST_WAIT_SECONDS = 0.5
_LONGEST_BOOT_SECONDS = 1.2
#: Beyond the lease of the tests' configuration.
_FREEZE_SECONDS = 3.6
_PATIENCE_SECONDS = 1.5
#: A load lasts for as many blows as are dealt, and most of its time is waiting.
FILES_PER_BLOW = 2
_PAUSE_SECONDS = 0.2


@dataclass
class Walk:
    """One walk on one home."""

    site: Site
    seed: int
    blows: int
    #: What is dealt, in order; empty: the dice say.
    kinds: Sequence[str] = ()
    story: list[str] = field(default_factory=list)
    killed: dict[str, int] = field(default_factory=dict)
    began_s: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        """Strike, then finish and settle the account. A failure carries the story and the command that replays it.

        Half of the walks end with a power cut, the others in peace: then nobody may have kept a descriptor.
        """
        try:
            self._strike()
            if self.seed % 2:
                self._deal("power", random.Random(self.seed))
            else:
                self.site.until_idle()
                self.site.stop()
            self.site.finish()
            self.site.assert_accounted()
        except BaseException as failure:
            failure.add_note("\n".join([*self.story, f"replay: {replay_command(self.seed, self.blows)}"]))
            raise

    def _strike(self) -> None:
        dice, site = random.Random(self.seed), self.site
        site.start()
        for number in range(self.blows):
            time.sleep(dice.uniform(0.0, _LONGEST_WAIT_SECONDS))  # the moment is what is drawn
            drawn = dice.choices(list(BLOWS), list(BLOWS.values()))[0]
            blow = self.kinds[number] if self.kinds else drawn
            self._deal(blow, dice)
            if site.daemon is None:
                site.start()
            self._assert_sentinel_lives(blow)

    def _deal(self, blow: str, dice: random.Random) -> None:
        site = self.site
        match blow:
            case "sentinel":
                assert site.daemon is not None
                site.daemon.kill()
                site.reap()
                self._note(blow, site.root.name)
            case "power":
                site.kill_everything()
                site.assert_nothing_runs()
                self._note(blow, "all")
            case "boot":
                assert site.daemon is not None
                site.daemon.kill()
                site.reap()
                notice = site.launch()
                delay = dice.uniform(0.0, _LONGEST_BOOT_SECONDS)
                time.sleep(delay)
                assert site.daemon is not None
                site.daemon.kill()
                site.reap()
                notice.close()
                self._note(blow, f"{delay:.2f} s after its start")
            case "freeze":
                self._freeze(dice)
            case "worker" | "guest" | "projector":
                self._kill_one(blow, dice)

    def _kill_one(self, role: Role, dice: random.Random) -> None:
        """Guests live for moments only: wait for one, but not for ever; there may be no work left."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not (victims := sorted(self.site.running(role), key=lambda one: one.pid)):
            if time.monotonic() > deadline:
                return
            time.sleep(0.01)
        victim = dice.choice(victims)
        if end(victim):
            self._note(role, f"pid {victim.pid}")

    def _freeze(self, dice: random.Random) -> None:
        workers = sorted(self.site.running("worker"), key=lambda one: one.pid)
        if not workers:
            return
        frozen = dice.choice(workers)
        try:
            frozen.suspend()
            time.sleep(_FREEZE_SECONDS)
            frozen.send_signal(signal.SIGCONT)
        except psutil.NoSuchProcess:
            return
        self._note("freeze", f"pid {frozen.pid} for {_FREEZE_SECONDS} s")

    def _note(self, blow: str, whom: str) -> None:
        self.killed[blow] = self.killed.get(blow, 0) + 1
        seconds = time.monotonic() - self.began_s
        published = self.site.published_count()
        self.story.append(f"{len(self.story) + 1}: {seconds:.1f} s: {blow} {whom}, {published} files published")

    def _assert_sentinel_lives(self, blow: str) -> None:
        daemon = self.site.daemon
        assert daemon is not None
        assert daemon.poll() is None, f"the sentinel ended by itself after {blow}:\n{self.site.said()[-4000:]}"


def replay_command(seed: int, blows: int) -> str:
    return f"python -m tests.crash.chaos --seed {seed} --blows {blows}"


def walk(
    root: Path, seed: int, blows: int, *, kinds: Sequence[str] = (), calm: Mapping[Role, int] | None = None
) -> Walk:
    """A walk on a home of its own below `root`. `calm`: the descriptors of a daemon that nothing happened to."""
    site = Site(root, root / "inbox", calm=dict(calm or {}))
    site.prepare(generate(site.files, seed, files=max(8, FILES_PER_BLOW * blows), pause_seconds=_PAUSE_SECONDS))
    made = Walk(site, seed, blows, kinds)
    try:
        made.run()
    finally:
        site.kill_everything()  # there is nothing to kill but after a failure
    return made


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--blows", type=int, default=20)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="casparian-crash-") as folder:
        made = walk(Path(folder), given.seed, given.blows)
    print("\n".join(made.story))
    print(f"seed {given.seed}: {made.killed}, every row accounted for")
    return 0


if __name__ == "__main__":
    sys.exit(main())
