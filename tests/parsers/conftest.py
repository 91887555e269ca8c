"""The bundles' modules are importable here by their bare names, as they are in a guest."""

import sys
from pathlib import Path

for _bundle in ("edifact", "fix", "hl7", "syslog", "x12"):
    sys.path.insert(0, str(Path(__file__).parents[2] / "parsers" / _bundle))
