"""Looking at the machine and the home. `measure` touches them, `judge` turns what was measured into verdicts."""

from __future__ import annotations

import os

from casparian_app.doctor import judge, measure
from casparian_app.doctor.judge import Check, Verdict
from casparian_protocol.home import Home
from casparian_protocol.settings import Settings, SettingsError, load

__all__ = ["Check", "Verdict", "examine"]


def examine(home: Home) -> list[Check]:
    """Every check, in the order of its weight."""
    since = measure.now_pair()
    settings, settings_check = _settings(home)
    disk = measure.measure_disk(home)
    machine = measure.measure_machine()
    pid, why = measure.daemon_of(home)
    return [
        judge.judge_home(measure.measure_home(home), str(home.root), os.getuid()),
        settings_check,
        judge.judge_log(measure.objection_to_log(home) if home.root.is_dir() else None),
        judge.judge_published(measure.measure_published(home)),
        judge.judge_orphans(measure.count_orphans(home), str(home.orphans)),
        judge.judge_space(disk, settings.log.low_disk_bytes, settings.log.reserve_bytes),
        judge.judge_sync(disk),
        judge.judge_versions(measure.versions()),
        judge.judge_zones(*measure.time_zones()),
        judge.judge_sockets(*measure.socket_path_bytes(home), directory=str(home.sockets)),
        judge.judge_files(machine),
        judge.judge_limits(machine, settings.limits.address_space_bytes, settings.log.segment_bytes),
        judge.judge_machine(machine, settings.daemon.max_concurrent_workers),
        judge.judge_clock(measure.measure_clock(home, since)),
        judge.judge_sandbox(measure.measure_sandbox()),
        judge.judge_daemon(pid, why, measure.pid_of_file(home)),
        judge.judge_trouble(measure.status_of(home) if pid is not None else None),
    ]


def _settings(home: Home) -> tuple[Settings, Check]:
    """The settings in force, or the built-in ones and why they could not be read."""
    try:
        settings = load(home, dict(os.environ)).settings
    except SettingsError as wrong:
        return Settings(), Check("settings", Verdict.FAIL, wrong.problem, wrong.remedy)
    return settings, Check("settings", Verdict.OK, "right")
