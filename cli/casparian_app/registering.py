"""Registering a parser: bundle, check, test, sign, store, and propose its contracts."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from casparian_app.gateway import Gateway
from casparian_app.parser_tests import run_bundle_tests
from casparian_app.problems import UsageProblem, WorkFailed
from casparian_app.wording import count
from casparian_protocol.settings import load
from casparian_sentinel import PreparedArtifact, home_key, prepare_artifact

__all__ = ["ParserTestsFailed", "PreparedArtifact", "Registered", "home_key", "register_parser"]


class ParserTestsFailed(WorkFailed):
    """A parser whose own tests fail is not registered."""

    def __init__(self, failed: int, ran: int, case: str, differences: tuple[str, ...]) -> None:
        more = f" (and {len(differences) - 1} more differences)" if len(differences) > 1 else ""
        super().__init__(
            f"{failed} of {count(ran, 'test')} of the parser failed, nothing was registered: {case}: {differences[0]}{more}",
            remedy="Correct the parser, or take over what it gives now: `casparian parser test PATH --update`.",
        )


@dataclass(frozen=True, slots=True)
class Registered:
    """What was bundled, and what the sentinel answered."""

    prepared: PreparedArtifact
    tests_passed: int
    answer: dict[str, Any]


def register_parser(gateway: Gateway, path: Path, *, runs_tests: bool = True) -> Registered:
    """Register the parser in a file or directory. Its tests run through a real guest; one that fails refuses it."""
    if not path.exists():
        raise UsageProblem(f"There is nothing at {path}.", remedy="Name a .py file or a directory with a parser in it.")
    settings = load(gateway.home, dict(os.environ)).settings
    prepared = prepare_artifact(path, home_key=home_key(gateway.home.keys), gatekeeper_mode=settings.gatekeeper.mode)
    passed = _run_tests(path) if runs_tests else 0
    for content in prepared.blobs.values():
        gateway.upload(content)
    return Registered(prepared, passed, gateway.request("register", artifact=prepared.facts()))


def _run_tests(path: Path) -> int:
    """How many tests lie beside the parser, and passed."""
    results = run_bundle_tests(path)
    failed = [one for one in results if not one.is_passed]
    if failed:
        raise ParserTestsFailed(len(failed), len(results), failed[0].case, failed[0].differences)
    return len(results)
