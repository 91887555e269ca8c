"""Pictures of the console in docs/pictures/: `python -m docs.pictures` makes all of them from the demo's home.

Each picture is made by `casparian console --screenshot` with a running daemon. `--check`, which CI runs, makes them in a
temporary
directory and compares their words with those of the committed ones; numbers, times and ids differ from run to run.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from pathlib import Path

PLACE = Path(__file__).parent / "pictures"
#: The home's path, which the pictures show; an existing directory is never changed.
ROOM = Path(tempfile.gettempdir()) / "casparian-pictures"
SIZE = "110x30"
#: Picture → the console script before it is drawn.
PICTURES = {
    "home": "wait:idle",
    "discover": "alt-d wait:idle wait:text:HARBOR",
    "bench": "alt-p wait:idle",
    "jobs": "alt-j wait:idle space wait:idle",
    "failure": "alt-j wait:idle enter wait:idle wait:text:ValueError",
    "monitoring": "alt-j m wait:text:highest wait:idle",
    "inspect": "alt-i wait:idle enter wait:text:distinct wait:idle tab s wait:idle",  # sorted: commits come in any order
}
_HOLDINGS = """name, version, topics = "holdings", "1.0.0", ["holdings"]
outputs = {"holdings": {"columns": [{"name": "isin", "type": "string"}, {"name": "units", "type": "int64"}]}}


def parse(path):
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            isin, units = line.split()
            yield {"isin": isin, "units": int(units), "__cf_row_id": number}
"""


def casparian(*words: str, may_fail: bool = False) -> None:
    command = [sys.executable, "-m", "casparian", "--home", str(ROOM / "home"), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and not may_fail:
        raise SystemExit(f"{' '.join(words)}: exit {done.returncode}\n{done.stdout}{done.stderr}")


def fill_home() -> None:
    """Fill a home with the demo, and with a parser that fails on one of two files."""
    casparian("demo", str(ROOM))
    inbox = ROOM / "positions"
    inbox.mkdir()
    (ROOM / "holdings.py").write_text(_HOLDINGS, "utf-8")
    (inbox / "fund_a.txt").write_text("DE0001 120\nDE0002 75\n", "utf-8")
    (inbox / "fund_b.txt").write_text("DE0003 1,200\n", "utf-8")
    casparian("parser", "register", str(ROOM / "holdings.py"))
    casparian("contract", "approve", "holdings")
    casparian("scan", str(inbox), "--tag", "holdings")
    casparian("process", "--workers", "1", may_fail=True)


def make(place: Path) -> None:
    """Write every picture into `place`."""
    ROOM.mkdir(mode=0o700)
    try:
        fill_home()
        casparian("start", "--detach", "--workers", "2")
        try:
            for name, script in PICTURES.items():
                drawn = ("--screenshot", str(place / f"{name}.svg"), "--script", f"wait:live {script}")
                casparian("console", "--theme", "dark", "--size", SIZE, *drawn)
        finally:
            casparian("stop")
    finally:
        shutil.rmtree(ROOM)


def words_of(picture: Path) -> set[str]:
    """The words of a picture, without numbers, ids and names in capitals, which differ from run to run."""
    shown = "\n".join("".join(text.itertext()) for text in ET.parse(picture).iter() if text.tag.endswith("text"))  # noqa: S314
    return {word for word in re.findall(r"[^\s│─]+", shown) if re.fullmatch(r"[A-Z]?[a-z]{2,}[.,:]?", word)}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m docs.pictures", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit with 1 when a picture shows other words"
    )
    if not parser.parse_args().check:
        PLACE.mkdir(exist_ok=True)
        make(PLACE)
        return 0
    differing = 0
    with tempfile.TemporaryDirectory() as fresh:
        make(Path(fresh))
        for name in PICTURES:
            now, kept = words_of(Path(fresh) / f"{name}.svg"), words_of(PLACE / f"{name}.svg")
            if now != kept:
                differing += 1
                print(f"docs/pictures/{name}.svg: gone {sorted(kept - now)}, new {sorted(now - kept)}")
    if differing:
        print("Check them, then run: python -m docs.pictures")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main())
