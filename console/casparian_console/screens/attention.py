"""What needs a person, from the facts: failed jobs, dead letters, paused parsers, contracts, workers, a full disk. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from casparian_console.canvas import Glyphs
from casparian_console.facts.jobs import Group, Standing
from casparian_console.facts.store import Facts
from casparian_console.text import clean, count

#: Causes of failure that are listed; Jobs has them all.
FAILURES_LISTED = 200


@dataclass(frozen=True, slots=True)
class Concern:
    """One thing that waits: what it is, since when, and the mode where it is dealt with."""

    identity: tuple[str, ...]
    text: str
    glyph: str
    style: str
    mode: str
    at_us: int = 0
    job_id: str = ""
    parser: str = ""


def concerns(facts: Facts, glyphs: Glyphs) -> list[Concern]:
    """The most urgent first: nothing works, work failed, work is held up, somebody is asked."""
    found: list[Concern] = []
    if facts.link == "gone" and facts.is_known:
        found.append(Concern(("daemon",), "The daemon does not run: `casparian start`", glyphs.failed, "bad", ""))
    if facts.is_without_workers and facts.waiting:
        text = f"{count(facts.waiting, 'job')} waiting, and no worker is there: `casparian worker` starts one"
        found.append(Concern(("workers",), text, glyphs.warning, "bad", "jobs"))
    if facts.intake_paused:
        text = f"No new work is taken: {clean(facts.intake_paused)}"
        found.append(Concern(("intake",), text, glyphs.warning, "bad", "jobs"))
    for lines in facts.troubles.values():
        for line in lines:
            found.append(Concern(("trouble", line[:60]), clean(line), glyphs.failed, "bad", "jobs"))
    for lost in facts.given_up:
        text = f"Worker {clean(lost['worker'])} was given up: {clean(lost['reason'])}"
        found.append(Concern(("given up", str(lost["worker"])), text, glyphs.failed, "bad", "jobs"))
    for worker in facts.workers.values():
        if worker["state"] == "stalled":
            held = ", ".join(clean(job["input"].rpartition("/")[2]) for job in worker["jobs"])
            text = f"Worker {clean(worker['id'])} makes no progress on {held or 'its job'}"
            job_id = worker["jobs"][0]["job_id"] if worker["jobs"] else ""
            found.append(Concern(("stalled", worker["id"]), text, glyphs.warning, "warn", "jobs", job_id=job_id))
    found += [_failed(group, glyphs) for group in facts.jobs.latest(Standing.FAILED, FAILURES_LISTED)]
    for each in facts.registry.waiting_files:
        verb = "waits" if each.files == 1 else "wait"
        text = f"{count(each.files, 'file')} tagged {clean(each.tag)} {verb}: {clean(each.reason)}"
        mode = "bench" if each.parser else "discover"
        found.append(Concern(("waiting", each.tag), text, glyphs.warning, "warn", mode, parser=each.parser))
    for parser in facts.registry.paused_parsers:
        held = "is tried with one job" if parser.breaker == "half_open" else "is paused"
        why = clean(facts.registry.pause_of(parser.name, parser.version))
        text = f"{clean(parser.name)} {clean(parser.version)} {held}: {why}"
        identity = ("paused", parser.name, parser.version)
        found.append(Concern(identity, text, glyphs.paused, "warn", "bench", parser=parser.name))
    for contract in facts.registry.waiting_contracts:
        where = f"{clean(contract.parser)} {clean(contract.version)}"
        text = f"Contract of {where} / {clean(contract.output)} waits for approval"
        found.append(
            Concern(
                ("contract", contract.contract_id), text, glyphs.waiting, "accent", "approvals", contract.proposed_at
            )
        )
    return found


def _failed(group: Group, glyphs: Glyphs) -> Concern:
    first = group.first
    code = clean(first.error_code) or "no reason was given"
    what = f"{clean(group.parser)} {clean(group.version)}" if group.parser else clean(group.type)
    message = f": {clean(first.error_message)}" if first.error_message else ""
    text = f"{what}: {count(group.size, 'job')} failed · {code}{message}"
    return Concern(("failed", *map(str, group.key)), text, glyphs.failed, "bad", "jobs", first.at, first.job_id)
