"""`new parser NAME --premade KIND`: a parser of one's own from a premade one, run on a sample before anything is written.

The sample is the user's, or else the premade parser's own. A generic premade parser has no columns of its own: it needs a sample,
or parameters or a copybook that name them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from casparian_app.drafting.draft import Drafted, DraftRefused, check_name, finished, read_with_premade
from casparian_app.drafting.fitting import columns_by_name
from casparian_app.drafting.premade import Instance, Premade, given_settings
from casparian_app.drafting.source import expected_document
from casparian_app.drafting.trial import Trial, try_files
from casparian_protocol.parsers import TESTS_FOLDER


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
            raise DraftRefused(
                f"The premade parser {premade.kind} takes its columns from a sample, and there is none.",
                f"Give one: `casparian new parser {name} --premade {premade.kind} --from SAMPLE`.",
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
