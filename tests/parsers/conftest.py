"""The bundles' modules are importable here by their bare names, as they are in a guest."""

import sys
from pathlib import Path

for _bundle in ("bai2", "camt053", "edifact", "evtx", "fix", "hl7", "mt940", "nacha", "syslog", "x12"):
    sys.path.insert(0, str(Path(__file__).parents[2] / "parsers" / _bundle))
