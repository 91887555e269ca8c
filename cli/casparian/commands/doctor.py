"""`casparian doctor`: looks at the machine and the home, and says what to do about what it finds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from textwrap import fill

import rich_click as click

from casparian.app import App, Command, pass_app
from casparian.doctor import judge, measure
from casparian.doctor.judge import Check, Verdict
from casparian.exits import ExitCode
from casparian.render import as_json, cell, count
from casparian.streams import screen_width
from casparian_protocol.home import Home
from casparian_protocol.settings import Settings, SettingsError, load


@click.command(
    cls=Command,
    short_help="Check the machine and the home.",
    examples="casparian doctor\ncasparian --home /srv/casparian doctor --json",
)
@pass_app
def doctor(app: App) -> ExitCode:
    """Measure the disk, look at versions, clock, limits, rights and sandbox layers. Exit 1 when anything fails.

    Nothing is changed; one small file is written into the home to time a sync, and removed.
    """
    checks = examine(app.home)
    if app.is_json:
        as_json(app, [{"check": c.name, "verdict": c.verdict, "seen": c.seen, "remedy": c.remedy} for c in checks])
    else:
        _print(app, checks)
    failed = sum(check.verdict is Verdict.FAIL for check in checks)
    warned = sum(check.verdict is Verdict.WARN for check in checks)
    app.say(f"{count(len(checks), 'check')}: {failed} failed, {count(warned, 'warning')}.")
    return ExitCode.FAILED if failed else ExitCode.OK


def _print(app: App, checks: Sequence[Check]) -> None:
    """A line each, wrapped to the terminal, with what to do below."""
    name_width = max(len(check.name) for check in checks)
    indent = " " * (name_width + 8)
    width = screen_width(app.out)
    for check in checks:
        begin = f"{check.verdict.upper():<4}  {check.name:<{name_width}}  "
        print(fill(cell(check.seen), width, initial_indent=begin, subsequent_indent=indent), file=app.out)
        if check.remedy:
            text = fill(cell(check.remedy), width, initial_indent=f"{indent}→ ", subsequent_indent=f"{indent}  ")
            print(text, file=app.out)


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


COMMANDS: dict[str, click.Command] = {"doctor": doctor}
