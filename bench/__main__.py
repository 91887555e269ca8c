"""`python -m bench NAME [--runs N] [--json FILE] [--plots DIR] [sizes]`; `python -m bench list` names them all."""

from __future__ import annotations

import argparse
import datetime as dt
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from bench import measure
from bench.children import PeerEnvironment
from bench.compare import CannotCompare, compare
from bench.measure import Benchmark, Setting, described, run
from bench.page import NoPage, fill
from bench.plots import bars
from bench.rows import BENCHMARKS


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))  # so that temporary files are removed
    if given.name == "list":
        for benchmark in BENCHMARKS.values():
            sizes = " ".join(f"{size.flag} {size.default}" for size in benchmark.sizes)
            print(f"{benchmark.name:12} row {benchmark.row}: {benchmark.title} [{sizes}]")
        return 0
    if given.name == "compare":
        return _compare(given)
    if given.name == "draw":
        return _draw_file(given.results, given.directory, given.into)
    wanted = list(BENCHMARKS.values()) if given.name == "all" else [BENCHMARKS[given.name]]
    documents: list[dict[str, Any]] = []
    for benchmark in wanted:
        documents.append(_measure(benchmark, given))
        if given.json is not None:  # after each benchmark, so that a later failure loses no results
            content = documents if given.name == "all" else documents[0]
            given.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    if given.plots is not None:
        _draw(documents, given.plots)
    return int(any(_problems(document) for document in documents))


def _measure(benchmark: Benchmark, given: argparse.Namespace) -> dict[str, Any]:
    """Run one benchmark in its own scratch directory, which is always removed. A failure is printed."""
    sizes = {size.name: getattr(given, size.name, None) or size.default for size in benchmark.sizes}
    scratch = Path(tempfile.mkdtemp(prefix="casparian-bench-", dir=given.scratch))
    try:
        peers = PeerEnvironment(scratch / "peers", is_wanted=not given.no_peers)
        setting = Setting(scratch, sizes, peers)
        surroundings: dict[str, Any] = {
            "began_at": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
            "load_before": measure.load_average(),
            "machine": measure.facts(scratch),
        }
        outcomes = run(benchmark, setting, given.runs)
        surroundings["load_after"] = measure.load_average()
        surroundings["peer_versions"] = peers.versions()
        measure.show(
            Console(width=160, soft_wrap=True, markup=False, highlight=False), benchmark, outcomes, surroundings
        )
        return measure.document(benchmark, setting, outcomes, given.runs, surroundings)
    except Exception as problem:  # noqa: BLE001 - whatever it is, the other benchmarks' results are kept
        print(f"{benchmark.name}: failed: {described(problem)}", file=sys.stderr)
        return {"format": measure.FORMAT, "benchmark": benchmark.name, "failed": described(problem)}
    finally:
        shutil.rmtree(scratch)


def _draw(documents: Sequence[dict[str, Any]], directory: Path) -> None:
    """Draw every result that has figures as `directory/NAME.svg`."""
    directory.mkdir(parents=True, exist_ok=True)
    for document in documents:
        if "failed" not in document:
            (directory / f"{document['benchmark']}.svg").write_text(picture(document), encoding="utf-8")


def picture(document: Mapping[str, Any]) -> str:
    draw = BENCHMARKS[document["benchmark"]].plot or bars
    return draw(dict(document))


def _draw_file(results: Path, directory: Path | None, into: Path | None) -> int:
    try:
        content = json.loads(results.read_text(encoding="utf-8"))
        documents = content if isinstance(content, list) else [content]
        if not all(document["benchmark"] in BENCHMARKS for document in documents):
            raise ValueError("it names a benchmark that is not known here")
        if directory is not None:
            _draw(documents, directory)
        if into is not None:
            fill(into, documents, picture)
    except NoPage as problem:
        print(f"draw: {problem}", file=sys.stderr)
        return 1
    except (OSError, ValueError, KeyError, TypeError) as problem:
        print(f"draw: {results} is not a result of `bench NAME --json`: {described(problem)}", file=sys.stderr)
        return 1
    return 0


def _compare(given: argparse.Namespace) -> int:
    benchmark = BENCHMARKS[given.benchmark]
    arguments = [benchmark.name, *(["--no-peers"] if given.no_peers else [])]
    for size in benchmark.sizes:
        if (value := getattr(given, size.name)) != size.default:  # an earlier commit may not have this size
            arguments += [size.flag, str(value)]
    try:
        return compare((given.before, given.after), arguments, given.runs, given.scratch, given.json)
    except CannotCompare as problem:
        print(f"compare: {problem}", file=sys.stderr)
        return 1


def _problems(document: dict[str, Any]) -> bool:
    return "failed" in document or any("failed" in case for case in document["cases"])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="name", required=True, metavar="NAME")
    commands.add_parser("list", help="name every benchmark and its sizes")
    _add_benchmarks(commands)
    _add_common(commands.add_parser("all", help="one after another, with default sizes"))
    for name in (*BENCHMARKS, "all"):
        commands.choices[name].add_argument(
            "--plots", type=Path, metavar="DIR", help="draw each result as DIR/NAME.svg: cases as bars, growth as lines"
        )
    drawing = commands.add_parser("draw", help="draw the results of an earlier --json")
    drawing.add_argument("results", type=Path, metavar="FILE")
    drawing.add_argument("directory", type=Path, metavar="DIR", nargs="?", help="draw each as DIR/NAME.svg")
    drawing.add_argument(
        "--into", type=Path, metavar="FOLDER", help="write plots and tables into FOLDER/README.md, as docs/performance"
    )
    comparing = commands.add_parser("compare", help="one benchmark on the code of two commits, in turns")
    comparing.add_argument("before", metavar="A", help="a commit, as git names it")
    comparing.add_argument("after", metavar="B", help="another one")
    _add_benchmarks(comparing.add_subparsers(dest="benchmark", required=True, metavar="NAME"), runs=5)
    return parser


def _add_benchmarks(commands: argparse._SubParsersAction[argparse.ArgumentParser], runs: int = 3) -> None:
    for benchmark in BENCHMARKS.values():
        command = commands.add_parser(benchmark.name, help=f"row {benchmark.row}: {benchmark.title}".replace("%", "%%"))
        for size in benchmark.sizes:
            text = size.text.replace("%", "%%")
            command.add_argument(size.flag, type=_positive, default=size.default, help=f"{text} (%(default)s)")
        _add_common(command, runs)


def _add_common(command: argparse.ArgumentParser, runs: int = 3) -> None:
    command.add_argument(
        "--runs", type=_positive, default=runs, help="runs of each case; medians are reported (%(default)s)"
    )
    command.add_argument("--json", type=Path, metavar="FILE", help="write everything measured to this file too")
    command.add_argument("--scratch", type=Path, metavar="DIR", help="a directory on the disk to measure")
    command.add_argument("--no-peers", action="store_true", help="install nothing, measure only what is here")


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return value


if __name__ == "__main__":
    sys.exit(main())
