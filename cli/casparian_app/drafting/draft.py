"""Drafting a parser from samples: detect, try the plans, infer the contract, run the result, and keep what ran.

Several samples give one parser: the kind that most of them have decides, and the others are named. A directory stands for the
files in it. Only `write_draft` writes, and an existing directory is never changed.
"""

from __future__ import annotations

import gzip
import os
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from casparian_app.drafting.excerpts import excerpt
from casparian_app.drafting.plans import SUFFIXES, Plan, plans_for
from casparian_app.drafting.source import expected_document, parser_source
from casparian_app.drafting.trial import Trial, try_source
from casparian_app.inferring import ContractInference, DraftedContract
from casparian_app.texts import count
from casparian_protocol.errors import CasparianError
from casparian_protocol.parsers import NAME_PATTERN
from casparian_worker import ColumnInference, Detected, Dialect, Sample, detect_descriptor

#: Of a directory or a long list of samples at most so many are looked at, and so many are parsed.
SAMPLES_DETECTED_MAX = 200
_SAMPLES_TRIED_MAX = 10
_EXAMPLE = b"id,day,note\n1,2024-05-31,first\n2,2024-06-01,second\n"


class DraftRefused(CasparianError):
    """The new parser cannot be written."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem, remedy=remedy)


@dataclass(frozen=True, slots=True)
class _Seen:
    """One sample and the verdict on it; `sample` holds the content of a gzip file."""

    path: Path
    detected: Detected
    sample: Sample

    @property
    def key(self) -> tuple[object, ...]:
        """Samples with one key are read by one parser."""
        content, details = self.detected.content, self.detected.content.details
        dialect = (details.delimiter, details.column_count) if isinstance(details, Dialect) else ()
        codec = "utf-8" if content.codec in ("utf-8", "utf-8-sig") else content.codec
        return (self.detected.kind, content.kind, codec, *dialect)


@dataclass(frozen=True, slots=True)
class Reading:
    """Samples read by the best plan: its code, the contract of the rows, and what became of each sample."""

    plan: Plan
    detected: Detected
    contracts: tuple[DraftedContract, ...]
    trials: tuple[Trial, ...]
    #: What the samples are, what is not certain, and what became of them, in sentences; and why.
    summary: tuple[str, ...]
    evidence: tuple[str, ...]
    #: Better plans that failed, and why.
    failures: tuple[str, ...]
    sample: Sample
    suffix: str
    #: The samples that were tried.
    paths: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class Drafted:
    """The files of a new parser, and what there is to say about it."""

    files: dict[str, bytes]
    kind: str
    sentences: tuple[str, ...]
    trials: tuple[Trial, ...]


def find_samples(paths: Sequence[Path]) -> list[Path]:
    """The samples themselves: a directory stands for the regular files below it, hidden ones left out."""
    found: list[Path] = []
    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        for folder, folders, names in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            files = (Path(folder) / name for name in sorted(names) if not name.startswith("."))
            found += [file for file in files if file.is_file() and not file.is_symlink()]
            if len(found) >= SAMPLES_DETECTED_MAX:
                break
    return found[:SAMPLES_DETECTED_MAX]


def draft_parser(name: str, samples: Sequence[Path]) -> Drafted:
    """A parser for the samples that has run on them. Raises `DraftRefused`, and OSError if a sample cannot be read."""
    check_name(name)
    reading = read_with_draft(name, samples)
    seen = [*reading.summary, *reading.evidence, *(f"Tried first: {failure}." for failure in reading.failures)]
    source = parser_source(name, reading.plan, seen, reading.contracts, reading.suffix)
    files = {f"{name}.py": source.encode()}
    trials = [try_source(name, source, path, with_contract=True) for path in reading.paths]
    piece = excerpt(reading.detected, reading.sample)
    notes = [f"Tried first: {failure}." for failure in reading.failures]
    if piece is None:
        notes.append("No test was written: the sample is large, and its format cannot be cut.")
    else:
        with tempfile.TemporaryDirectory(prefix="casparian-draft-") as folder:
            path = Path(folder) / f"{name}.{reading.suffix}"
            path.write_bytes(piece)
            tried = try_source(name, source, path, with_contract=True)
        if tried.problem:
            notes.append(f"No test was written: the first records alone cannot be read ({tried.problem}).")
        else:
            files[f"tests/{name}.{reading.suffix}"] = piece
            files[f"tests/{name}.expected.json"] = expected_document(tried.outputs, tried.skipped)
    notes += [f"The draft does not read {trial.path}: {trial.problem}" for trial in trials if trial.problem]
    return Drafted(files, reading.detected.kind, (*reading.summary, *notes), tuple(trials))


def read_with_draft(name: str, samples: Sequence[Path]) -> Reading:
    """The samples read by the first plan that reads them."""
    found = [_look(path) for path in samples]
    found = [seen for seen in found if seen.detected.kind != "empty"]
    if not found:
        raise DraftRefused("The samples have no bytes.", "Name a file with records in it.")
    key = Counter(seen.key for seen in found).most_common(1)[0][0]
    chosen = [seen for seen in found if seen.key == key]
    first = max(chosen, key=lambda seen: seen.sample.sampled_bytes)
    plans = plans_for(first.detected)
    if not plans:
        kind, why = first.detected.content.kind, first.detected.content.why
        raise DraftRefused(
            f"{first.path} is {kind} ({why}): no reader is known for this kind, so nothing can be drafted.",
            f"`casparian new parser {name}` writes a skeleton; read the file in it with a library of your own.",
        )
    suffix = _suffix(first)
    tried = _spread(chosen)
    failures: list[str] = []
    with tempfile.TemporaryDirectory(prefix="casparian-draft-") as folder:
        for plan in plans:
            reading = _try_plan(name, plan, [_readable(seen, Path(folder)) for seen in tried], failures)
            if reading is not None:
                contracts, trials = reading
                return Reading(
                    plan,
                    first.detected,
                    contracts,
                    trials,
                    tuple(_summary(first, chosen, found, trials)),
                    tuple(_evidence(first, plan)),
                    tuple(failures),
                    first.sample,
                    suffix,
                    tuple(seen.path for seen in tried),
                )
    raise DraftRefused(
        f"No draft reads {first.path}: {failures[-1] if failures else 'it gives no rows'}.",
        f"`casparian preview {first.path}` shows what it is; `casparian new parser {name}` writes a skeleton.",
    )


def _suffix(seen: _Seen) -> str:
    """What the name of the sample in `tests/` ends with: as the file's own name, if that has a usual ending."""
    found = re.search(r"\.([A-Za-z0-9]{1,10}(?:\.gz)?)$", seen.path.name)
    if found is not None and found[1] not in ("gz", "json.expected"):
        return found[1]
    return SUFFIXES.get(seen.detected.content.kind, "txt") + (".gz" if seen.detected.kind == "gzip" else "")


def _try_plan(
    name: str, plan: Plan, samples: Sequence[Path], failures: list[str]
) -> tuple[tuple[DraftedContract, ...], tuple[Trial, ...]] | None:
    """The contracts and the trials, if the plan reads at least one sample; otherwise the reason goes into `failures`."""
    inference = ContractInference(name)
    source = parser_source(name, plan, (), (), "")
    trials: list[Trial] = []
    for place, path in enumerate(samples):
        trials.append(try_source(name, source, path, with_contract=False, on_rows=inference.take))
        if place == 0 and not trials[0].is_good:
            what = trials[0].problem or f"{trials[0].valid:,} rows were read and {trials[0].rejected:,} rejected"
            failures.append(f"{plan.body.splitlines()[-1].strip().partition(' ')[2]}: {what.rstrip('.')}")
            return None
    contracts = inference.contracts()
    return (tuple(contracts), tuple(trials)) if contracts else None


def _readable(seen: _Seen, folder: Path) -> Path:
    """The sample itself; of a gzip file that is cut or damaged, a whole one with the lines that can be read.

    A cut file fails as a whole, as it should: a parser for the others like it can still be drafted.
    """
    if seen.detected.kind != "gzip" or not seen.detected.doubts:
        return seen.path
    whole = folder / seen.path.name
    head = seen.sample.head
    whole.write_bytes(gzip.compress(head[: head.rfind(b"\n") + 1] or head, mtime=0))
    return whole


def _look(path: Path) -> _Seen:
    """The verdict on one file. A link is followed, because the user named it."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        detected, sample, inflated = detect_descriptor(handle)
    finally:
        os.close(handle)
    return _Seen(path, detected, sample if inflated is None else inflated.content)


def _spread(samples: Sequence[_Seen]) -> list[_Seen]:
    """The largest sample, which decides, and others from all over the list."""
    first = max(samples, key=lambda seen: seen.sample.sampled_bytes)
    rest = [seen for seen in samples if seen is not first]
    step = max(1, len(rest) // (_SAMPLES_TRIED_MAX - 1))
    return [first, *rest[::step][: _SAMPLES_TRIED_MAX - 1]]


def _evidence(first: _Seen, plan: Plan) -> list[str]:
    """Why the sample was taken for what it is."""
    content = first.detected.content
    lines = [f"{sentence[0].upper()}{sentence[1:]}." for sentence in content.evidence[1:]]
    if content.codec is not None and content.encoding is not None:
        lines.append(f"Encoding: {content.codec}: {'; '.join(content.encoding.evidence)}.")
        if content.encoding.fallback:
            codecs = f'encoding=["{content.codec}", "{content.encoding.fallback}"]'
            lines.append(f"Lines that are not {content.codec} are rejected; {codecs} would read them as well.")
    return [*lines, f"A row is {plan.row}."]


def _summary(first: _Seen, chosen: Sequence[_Seen], found: Sequence[_Seen], trials: Sequence[Trial]) -> list[str]:
    """What the samples are, what is not certain, and what became of them."""
    detected, content = first.detected, first.detected.content
    kind = content.kind if detected is content else f"{detected.kind} of {content.kind}"
    unknown = "no form that the detector knows; one row a line to begin with" if content.kind == "text" else ""
    lines = [f"Seen in {first.path.name}: {kind}: {unknown or content.why}."]
    lines += [
        f"Not certain: {doubt}." for doubt in (*detected.doubts, *(() if detected is content else content.doubts))
    ]
    if len(found) > 1:
        lines.append(f"{count(len(chosen), 'sample')} of {len(found)} are alike.")
        rest = [seen for seen in found if seen not in chosen]
        lines += [
            f"Different: {each.path.name} is {each.detected.content.kind} ({each.detected.content.why})."
            for each in rest[:5]
        ]
    return [*lines, *(f"Tried: {trial.sentence()}." for trial in trials)]


def output_for(path: Path) -> str:
    """A name for the output of a file: the file's own, as far as outputs may have such names."""
    stem = re.sub(r"[^a-z0-9_]+", "_", path.name.partition(".")[0].casefold()).strip("_")
    return stem if NAME_PATTERN.fullmatch(stem) else "rows"


def drafted_rows(inference: ContractInference, paths: Sequence[Path]) -> tuple[list[str], list[str]]:
    """Give all rows of the files to an inference, by the draft that reads them. Returns what was seen, and what failed."""
    name = output_for(paths[0])
    reading = read_with_draft(name, paths)
    source = parser_source(name, reading.plan, (), (), "")
    trials = [try_source(name, source, path, with_contract=False, on_rows=inference.take, limit=None) for path in paths]
    return list(reading.summary), [f"{trial.path}: {trial.problem}" for trial in trials if trial.problem]


def check_name(name: str) -> None:
    """Raises `DraftRefused` for a name that a parser cannot have."""
    if not NAME_PATTERN.fullmatch(name):
        raise DraftRefused(
            f"{name[:80]!a} is not a valid parser name.",
            "Use a-z, 0-9 and _, beginning with a letter, at most 63 characters, as in fix_parser.",
        )


def skeleton(name: str) -> Drafted:
    """A parser for a small example, to be replaced: it needs no sample and no run."""
    check_name(name)
    plan = Plan("a record", (), ("read_csv",), "", "return read_csv(path)")
    columns = [ColumnInference(column) for column in ("id", "day", "note")]
    for row, line in enumerate(_EXAMPLE.decode().splitlines()[1:], 1):
        for column, value in zip(columns, line.split(","), strict=True):
            column.add(row, value)
    draft = DraftedContract(name, tuple(column.found() for column in columns), 2, 0)
    source = parser_source(name, plan, ["Replace columns and sample by your own."], [draft], "csv")
    files = {
        f"{name}.py": source.encode(),
        f"tests/{name}.csv": _EXAMPLE,
        f"tests/{name}.expected.json": expected_document({name: (2, 0)}, 1),
    }
    return Drafted(files, "delimited", (), ())


def write_draft(directory: Path, files: Mapping[str, bytes]) -> None:
    """Write a new parser below `directory`; the parser's own directory must not exist."""
    try:
        directory.mkdir(parents=True)
    except FileExistsError as cause:
        raise DraftRefused(f"{directory} already exists.", "Choose another name, or remove it first.") from cause
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
