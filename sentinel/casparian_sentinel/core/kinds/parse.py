"""PARSE jobs: the version is registered, its contracts are approved, and the manifest must add up for each output."""

from __future__ import annotations

from dataclasses import replace
from operator import attrgetter, is_

from casparian_protocol.jobs import Manifest
from casparian_protocol.jobs.alike import alike
from casparian_protocol.jobs.kinds import Briefing, JobInput, ParseBriefing, ParseWork, Work, facts_of_work
from casparian_protocol.packing import pack
from casparian_sentinel.core.kinds.kind import JobKind
from casparian_sentinel.core.registry.versions import refusal_of_target
from casparian_sentinel.core.state import State
from casparian_sentinel.core.worker_commands import FinishedItem

_ORDINARY_PATH = 512
_WORKS_REMEMBERED = 8
_NO_FACTS = "a PARSE job has no facts"
#: The headers of five texts and a size, in addition to the size of their empty forms.
_OWN_BYTES = 5 * 4 + 8
#: The fields that jobs of one parser version share. Some of them alternate between jobs with different tagging rules.
_SHARED = attrgetter("artifact", "contracts", "output_versions", "params", "param_origins", "policies")


class Parse(JobKind[ParseWork]):
    def refusal(self, state: State, work: ParseWork) -> str:
        line = state.parsers.get(work.parser)
        version = line.versions.get(work.parser_version) if line is not None else None
        if version is None:
            return f"parser {work.parser} {work.parser_version} is not registered"
        if version.is_retired:
            return f"version {version.version} is retired"
        if version.artifact != work.artifact:
            return f"version {version.version} is another artifact"
        if not version.is_runnable:
            waiting = ", ".join(version.unapproved()) or "every output"
            return f"no approved contract for {waiting}"
        if work.contracts != version.outputs:
            return "the contracts are not those of the version"
        return refusal_of_target(state, work.contracts, work.output_versions)

    def is_like(self, work: ParseWork, other: Work) -> bool:
        """Whether only the file differs, and every name is an ordinary one."""
        return (
            isinstance(other, ParseWork)
            and work.parser == other.parser
            and work.parser_version == other.parser_version
            and _SHARED(work) == _SHARED(other)
            and work.on_change == other.on_change
            and len(work.input.path) <= _ORDINARY_PATH
        )

    def folded(self, state: State, work: ParseWork) -> ParseWork:
        known, shared = state.last_works.get((work.parser, work.parser_version), ()), _SHARED(work)
        for other, _size in known:
            if (theirs := _SHARED(other)) == shared:
                if all(map(is_, theirs, shared)):
                    return work
                return alike(other, work)
        measured = (work, _bytes_without_file(work))
        state.last_works[work.parser, work.parser_version] = (measured, *known[: _WORKS_REMEMBERED - 1])
        return work

    def briefing(self, state: State, work: ParseWork) -> Briefing:
        line = state.parsers.get(work.parser)
        version = line.versions.get(work.parser_version) if line is not None else None
        return ParseBriefing(entry=version.entry if version is not None else "")

    def packed_bytes(self, state: State, work: ParseWork, briefing: Briefing | None) -> int:
        """Estimate the size from maps that jobs of one plan share; they are measured at the first fold, not at every lease."""
        entry = briefing.entry if isinstance(briefing, ParseBriefing) else ""
        return _measured(state, work) + 4 * len(entry) + self.own_bytes(work)

    def shares(self, work: ParseWork, other: Work) -> bool:
        return isinstance(other, ParseWork) and all(map(is_, _SHARED(work), _SHARED(other)))

    def own_bytes(self, work: ParseWork) -> int:
        file = work.input
        texts = f"{file.path}{file.file_id}{file.content_hash}{work.tag}"
        return _OWN_BYTES + (len(texts) if texts.isascii() else 4 * len(texts))

    def problem(self, state: State, work: ParseWork, item: FinishedItem) -> str:
        return _problem_of(item.manifest, work) or refusal_of_target(state, work.contracts, work.output_versions)

    def problem_of_kept(self, work: ParseWork, kept: Manifest) -> str:
        for file in kept.files:
            if file.kind != "quarantine" or not file.fits_its_name:
                return f"{file.name!r} is not a quarantine file"
            if file.output not in work.contracts:
                return f"the output {file.output!r} is not one of the job's contracts"
        return _NO_FACTS if kept.facts else ""


def _measured(state: State, work: ParseWork) -> int:
    shared = _SHARED(work)
    for other, size_bytes in state.last_works.get((work.parser, work.parser_version), ()):
        if all(map(is_, _SHARED(other), shared)):
            return size_bytes
    return _bytes_without_file(work)


def _bytes_without_file(work: ParseWork) -> int:
    bare = replace(work, input=JobInput(path=""), tag="")
    return _OWN_BYTES + len(pack([facts_of_work(bare), facts_of_work(ParseBriefing())]))


def _problem_of(manifest: Manifest, work: ParseWork) -> str:
    """What does not add up in the manifest, or is not in the job's contracts."""
    if manifest.facts:
        return _NO_FACTS
    contracts = work.contracts
    rows: dict[tuple[str, str], int] = {}
    names: set[str] = set()
    for file in manifest.files:
        if not file.is_published or not file.fits_its_name:
            return f"the file name {file.name!r} does not fit its kind and output"
        if file.output not in manifest.outputs:
            return f"the file {file.name!r} belongs to an output without accounting"
        names.add(file.name)
        place = (file.kind, file.output)
        rows[place] = rows.get(place, 0) + file.rows
    if len(names) != len(manifest.files):
        return "a file name occurs twice"
    for output, counts in manifest.outputs.items():
        if output not in contracts:
            return f"the output {output!r} is not one of the job's contracts"
        if counts.contract_hash and counts.contract_hash != contracts[output]:
            return f"the output {output!r} was validated against another contract"
        if counts.status == "failed":
            return f"the output {output!r} failed and cannot be committed"
        if counts.received != counts.valid + counts.quarantined:
            return f"{output}: {counts.received} rows received are not {counts.valid} + {counts.quarantined}"
        if rows.get(("data", output), 0) != counts.valid:
            return f"{output}: the data files do not hold the {counts.valid} valid rows"
        if rows.get(("quarantine", output), 0) != counts.quarantined:
            return f"{output}: the quarantine files do not hold the {counts.quarantined} quarantined rows"
    if work.input.content_hash and manifest.source_hash != work.input.content_hash:
        return "the input that was parsed is not the one that was queued"
    return ""
