"""The bundle's modules are importable here by their bare names, as they are in a guest."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "parsers" / "fix"))
