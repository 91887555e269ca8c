"""Drafting a parser from samples: detect, try the plans, infer the contract, run the result, and keep what ran.

Several samples give one parser: the kind that most of them have decides, and the others are named. A directory stands for the
files in it. A kind that a premade parser reads is drafted from that; `draft_premade` takes the one that the user
names. Only `write_draft` writes, and an existing directory is never changed.
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

from casparian_app.drafting.fitting import columns_by_name, contracts_for, fitted
from casparian_app.drafting.plans import SUFFIXES, Plan, plans_for, without_plan
from casparian_app.drafting.premade import Instance, Premade, Settings, given_settings
from casparian_app.drafting.samples import excerpt, sheets_of
from casparian_app.drafting.source import expected_document, parser_source
from casparian_app.drafting.trial import Trial, try_files
from casparian_app.inferring import ContractInference, DraftedContract
from casparian_app.texts import count
from casparian_protocol.errors import CasparianError
from casparian_protocol.parsers import NAME_PATTERN, TESTS_FOLDER
from casparian_worker import ColumnInference, Detected, Dialect, Sample, detect_descriptor

#: Of many samples so many are parsed.
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

    plan: Plan | Instance
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
    #: The premade parser that it was made from; empty if none.
    premade: str = ""


def draft_parser(name: str, samples: Sequence[Path], premade: Sequence[Premade] = ()) -> Drafted:
    """A parser for the samples that has run on them. Raises `DraftRefused`, and OSError if a sample cannot be read."""
    check_name(name)
    reading = read_with_draft(name, samples, premade)
    notes = [f"Tried first: {failure}." for failure in reading.failures]
    if isinstance(reading.plan, Instance):
        notes.append(reading.plan.sentence)
    else:
        kinds = [one.kind for one in premade if reading.detected.kind in one.manifest.reads and one.manifest.is_drafted]
        notes += [
            f"It needs {', '.join(reading.plan.dependencies)}: `run` takes it from your environment; registered parsers cannot"
            " have it yet."
        ] * bool(reading.plan.dependencies)
        notes += [f"`--premade {kind} --param PARAM=VALUE` makes it from the premade parser {kind}." for kind in kinds]
    return finished(name, reading, notes)


def draft_premade(name: str, premade: Premade, given: Sequence[str], samples: Sequence[Path]) -> Drafted:
    """A parser from a premade one. Raises `PremadeRefused` and `DraftRefused`, and OSError if a sample cannot be read."""
    check_name(name)
    settings = given_settings(premade, given)
    if samples:
        reading = read_with_premade(name, samples, premade, settings)
        assert isinstance(reading.plan, Instance)
        return finished(name, reading, [reading.plan.sentence])
    instance = Instance(premade, settings)
    if premade.is_generic:
        contracts = columns_by_name(name, settings)
        if not contracts:
            named = "columns=NAME,NAME" if "columns" in premade.manifest.params else "copybook=FILE"
            raise DraftRefused(
                f"The premade parser {premade.kind} takes its columns from a sample, and there is none.",
                f"Give one: `casparian new parser {name} --premade {premade.kind} --from SAMPLE`; or say them: --param {named}.",
            )
        note = "No sample was given, so no test was written: give one with --from, or put one into tests/."
        return Drafted(instance.files(name, contracts), premade.kind, (instance.sentence, note), (), premade.kind)
    files = instance.files(name)
    if not settings.values:
        return Drafted(files | premade.tests, premade.kind, (instance.sentence, _OWN_SAMPLES), (), premade.kind)
    trials = [_with_test(name, instance, path, files) for path in premade.samples]
    return Drafted(files, premade.kind, (instance.sentence, _OWN_SAMPLES), tuple(trials), premade.kind)


_OWN_SAMPLES = "Its tests are the premade parser's own samples; --from takes one of yours."


def _with_test(name: str, instance: Instance, sample: Path, files: dict[str, bytes]) -> Trial:
    """Run the parser on a sample of the premade one, and write what comes of it as a test."""
    bundle = {each: data for each, data in files.items() if not each.startswith(f"{TESTS_FOLDER}/")}
    with tempfile.TemporaryDirectory(prefix="casparian-draft-") as folder:
        path = Path(folder) / sample.name
        path.write_bytes(sample.read_bytes())
        tried = try_files(bundle, instance.premade.bundle.entry, path, with_contract=True)
    if not tried.problem:
        files[f"{TESTS_FOLDER}/{sample.name}"] = sample.read_bytes()
        files[f"{TESTS_FOLDER}/{sample.name.partition('.')[0]}.expected.json"] = expected_document(
            tried.outputs, tried.skipped
        )
    return tried


def finished(name: str, reading: Reading, notes: list[str]) -> Drafted:
    """The files of the parser, tried on the samples, with the first records as its test."""
    seen = [*reading.summary, *reading.evidence, *notes]
    bundle, entry = files_of(name, reading.plan, reading.contracts, seen, reading.suffix)
    files = dict(bundle)
    trials = [try_files(bundle, entry, path, with_contract=True) for path in reading.paths]
    piece = excerpt(reading.detected, reading.sample)
    if piece is None:
        notes.append("No test was written: the sample is large, and its format cannot be cut.")
    else:
        with tempfile.TemporaryDirectory(prefix="casparian-draft-") as folder:
            path = Path(folder) / f"{name}.{reading.suffix}"
            path.write_bytes(piece)
            tried = try_files(bundle, entry, path, with_contract=True)
        if tried.problem:
            notes.append(f"No test was written: the first records alone cannot be read ({tried.problem}).")
        else:
            files[f"tests/{name}.{reading.suffix}"] = piece
            files[f"tests/{name}.expected.json"] = expected_document(tried.outputs, tried.skipped)
    notes += [f"The draft does not read {trial.path}: {trial.problem}" for trial in trials if trial.problem]
    origin = reading.plan.premade.kind if isinstance(reading.plan, Instance) else ""
    return Drafted(files, reading.detected.kind, (*reading.summary, *notes), tuple(trials), origin)


def read_with_draft(name: str, samples: Sequence[Path], premade: Sequence[Premade] = ()) -> Reading:
    """The samples read by the first plan that reads them."""
    found, chosen = _alike(samples)
    first = chosen[0]
    sheets = sheets_of(first.path) if first.detected.kind == "xlsx" else ()
    plans: list[Plan | Instance] = [*_instances(first, premade), *plans_for(first.detected, sheets)]
    if not plans:
        raise DraftRefused(*without_plan(name, first.path, first.detected.content))
    failures: list[str] = []
    reading = first_reading(name, plans, found, chosen, failures)
    if reading is not None:
        return reading
    raise DraftRefused(
        f"No draft reads {first.path}: {failures[-1] if failures else 'it gives no rows'}.",
        f"`casparian preview {first.path}` shows what it is; `casparian new parser {name}` writes a skeleton.",
    )


def read_with_premade(name: str, samples: Sequence[Path], premade: Premade, given: Settings) -> Reading:
    """The samples read by this premade parser. Raises `DraftRefused` if it reads none of their records."""
    found, chosen = _alike(samples)
    first = chosen[0]
    failures: list[str] = []
    reading = first_reading(name, _settings_to_try(premade, given, first), found, chosen, failures)
    if reading is not None:
        return reading
    why = failures[0]
    raise DraftRefused(
        f"{why[0].upper()}{why[1:]}. {first.path} is {first.detected.content.kind} ({first.detected.content.why}).",
        f"`casparian new parser --premade {premade.kind}` shows its parameters; `casparian new parser {name} --from "
        f"{first.path}` drafts by what the file is.",
    )


def _settings_to_try(premade: Premade, given: Settings, first: _Seen) -> list[Instance]:
    """The premade parser with the settings for a sample, and with others if those read nothing of it."""
    fit = fitted(premade.kind, given, first.detected, first.sample)
    others = [each for each in premade.manifest.also_tried if not each.keys() & given.values.keys()]
    return [Instance(premade, Settings({**fit.values, **each}, fit.files)) for each in ({}, *others)]


def _alike(samples: Sequence[Path]) -> tuple[list[_Seen], list[_Seen]]:
    """All samples that have bytes, and those of the kind that most of them have, the largest first."""
    found = [_look(path) for path in samples]
    found = [seen for seen in found if seen.detected.kind != "empty"]
    if not found:
        raise DraftRefused("The samples have no bytes.", "Name a file with records in it.")
    key = Counter(seen.key for seen in found).most_common(1)[0][0]
    chosen = [seen for seen in found if seen.key == key]
    return found, sorted(chosen, key=lambda seen: -seen.sample.sampled_bytes)


def _instances(first: _Seen, premade: Sequence[Premade]) -> list[Instance]:
    """The premade parsers to draft from. Where a reader alone does the same, a draft has code that is easier to change."""
    if first.detected.inner is not None:
        return []
    chosen = [one for one in premade if first.detected.kind in one.manifest.reads and one.manifest.is_drafted]
    return [each for one in chosen for each in _settings_to_try(one, Settings({}, {}), first)]


def first_reading(
    name: str,
    plans: Sequence[Plan | Instance],
    found: Sequence[_Seen],
    chosen: Sequence[_Seen],
    failures: list[str],
) -> Reading | None:
    """The samples read by the first of the plans that reads them; why others do not goes into `failures`."""
    first, tried = chosen[0], _spread(chosen)
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
                    tuple(_summary(plan, first, chosen, found, trials)),
                    tuple(_evidence(first, plan)),
                    tuple(failures),
                    first.sample,
                    _suffix(first),
                    tuple(seen.path for seen in tried),
                )
    return None


def files_of(
    name: str,
    plan: Plan | Instance,
    contracts: Sequence[DraftedContract],
    seen: Sequence[str] = (),
    suffix: str = "",
) -> tuple[dict[str, bytes], str]:
    """The files of the bundle that a plan makes, and which of them is the parser."""
    if isinstance(plan, Instance):
        return plan.files(name, contracts), plan.premade.bundle.entry
    entry = f"{name}.py"
    return {entry: parser_source(name, plan, seen, contracts, suffix).encode()}, entry


def _suffix(seen: _Seen) -> str:
    """What the name of the sample in `tests/` ends with: as the file's own name, if that has a usual ending."""
    found = re.search(r"\.([A-Za-z0-9]{1,10}(?:\.gz)?)$", seen.path.name)
    if found is not None and found[1] not in ("gz", "json.expected"):
        return found[1]
    return SUFFIXES.get(seen.detected.content.kind, "txt") + (".gz" if seen.detected.kind == "gzip" else "")


def _try_plan(
    name: str, plan: Plan | Instance, samples: Sequence[Path], failures: list[str]
) -> tuple[tuple[DraftedContract, ...], tuple[Trial, ...]] | None:
    """The contracts and the trials, if the plan reads at least one sample; otherwise the reason goes into `failures`."""
    inference = ContractInference(name)
    has_contract = isinstance(plan, Instance) and plan.has_contract
    files, entry = files_of(name, plan.taking_all if isinstance(plan, Instance) else plan, ())
    on_rows = None if has_contract else inference.take
    trials: list[Trial] = []
    for place, path in enumerate(samples):
        trials.append(try_files(files, entry, path, with_contract=has_contract, on_rows=on_rows))
        if place == 0 and not trials[0].is_good:
            what = trials[0].problem or f"{trials[0].valid:,} rows were read and {trials[0].rejected:,} rejected"
            why = f" ({trials[0].reason.rstrip('.')})" if not trials[0].problem and trials[0].reason else ""
            failures.append(f"{plan.label}: {what.rstrip('.')}{why}")
            return None
    contracts = inference.contracts()
    if isinstance(plan, Instance):
        contracts = list(contracts_for(plan.premade.kind, plan.settings, contracts))
    if (twins := _twins(contracts)) is not None:
        failures.append(f"{plan.label}: the columns {twins[0]!r} and {twins[1]!r} differ only in case")
        return None
    return (tuple(contracts), tuple(trials)) if contracts or has_contract else None


def _twins(contracts: Sequence[DraftedContract]) -> tuple[str, str] | None:
    """Two columns that no contract may have together."""
    for contract in contracts:
        known: dict[str, str] = {}
        for found in contract.columns:
            first = known.setdefault(found.column["name"].casefold(), found.column["name"])
            if first != found.column["name"]:
                return first, found.column["name"]
    return None


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


def _evidence(first: _Seen, plan: Plan | Instance) -> list[str]:
    """Why the sample was taken for what it is."""
    content = first.detected.content
    lines = [f"{sentence[0].upper()}{sentence[1:]}." for sentence in content.evidence[1:]]
    if content.codec is not None and content.encoding is not None:
        lines.append(f"Encoding: {content.codec}: {'; '.join(content.encoding.evidence)}.")
        if content.encoding.fallback:
            codecs = f'encoding=["{content.codec}", "{content.encoding.fallback}"]'
            lines.append(f"Lines that are not {content.codec} are rejected; {codecs} would read them as well.")
    return [*lines, f"A row is {plan.row}."]


def _summary(
    plan: Plan | Instance, first: _Seen, chosen: Sequence[_Seen], found: Sequence[_Seen], trials: Sequence[Trial]
) -> list[str]:
    """What the samples are, what is not certain, and what became of them."""
    detected, content = first.detected, first.detected.content
    kind = content.kind if detected is content else f"{detected.kind} of {content.kind}"
    if isinstance(plan, Instance) and content.kind not in plan.premade.manifest.reads:
        lines = [
            f"{first.path.name} is read as {plan.premade.kind}, as you say; by itself it looks like {content.kind}."
        ]
    else:
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


def drafted_rows(
    inference: ContractInference, paths: Sequence[Path], premade: Sequence[Premade] = ()
) -> tuple[list[str], list[str]]:
    """Give all rows of the files to an inference, by the draft that reads them. Returns what was seen, and what failed."""
    name = output_for(paths[0])
    reading = read_with_draft(name, paths, premade)
    plan = reading.plan
    files, entry = files_of(name, plan.taking_all if isinstance(plan, Instance) else plan, ())
    trials = [try_files(files, entry, path, with_contract=False, on_rows=inference.take, limit=None) for path in paths]
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
