"""The bundles' modules are importable here by their bare names, as they are in a guest."""

import sys
from pathlib import Path

for _parser in sorted((Path(__file__).parents[2] / "parsers").glob("*/*_parser.py")):
    sys.path.insert(0, str(_parser.parent))
