"""Play seeds again and tell their stories: `python -m tests.simulation.replay SEED…`."""

from __future__ import annotations

import argparse
import sys

from tests.simulation.invariants import Violated
from tests.simulation.mutants import planted
from tests.simulation.world import World

COMMAND = "python -m tests.simulation.replay"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seeds", type=int, nargs="+")
    parser.add_argument(
        "--mutant", help="break the shipped code on purpose (tests/simulation/mutants), to see it caught"
    )
    given = parser.parse_args()
    for seed in given.seeds:
        world = World(seed)
        world.is_told = True
        try:
            with planted(given.mutant):
                world.run()
        except (Exception, Violated) as broken:
            print("\n".join(world.story))
            print(f"seed {seed}: {type(broken).__name__}: {broken}")
            raise
        print("\n".join(world.story))
        print(f"seed {seed}: every promise was kept in {world.steps} steps and {world.boots} boots")
    return 0


if __name__ == "__main__":
    sys.exit(main())
