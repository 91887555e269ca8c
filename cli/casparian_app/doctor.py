"""Checks of the machine and the home: turns the facts from `measuring` into ok, warn or fail, with a remedy."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from packaging.version import InvalidVersion, Version

from casparian_app import measuring as measure
from casparian_app.measuring import (
    PACKAGES,
    ClockFacts,
    Disk,
    HomeFacts,
    MachineFacts,
    PublishedFacts,
    SandboxFacts,
)
from casparian_app.texts import size
from casparian_protocol import wording
from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home
from casparian_protocol.settings import Settings, SettingsError, load
from casparian_protocol.wire.operations.daemon import StatusResult

#: Older versions lack features that Casparian uses.
MINIMUM = {"python": "3.11", "pyarrow": "26", "duckdb": "2", "pyzmq": "27", "pydantic": "2.12", "libzmq": "4.3.5"}
_SLOW_SYNC_SECONDS = 0.02
_BAD_SYNC_SECONDS = 0.5
#: File systems in memory, whose contents are lost in a power cut.
_VOLATILE = frozenset({"tmpfs", "ramfs", "devtmpfs"})
#: Network file systems, where locks and renames depend on the server.
_NETWORK = frozenset({"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "ceph", "glusterfs", "afs"})
_YEAR_2025, _YEAR_2100 = 1_735_689_600.0, 4_102_444_800.0
_OPEN_FILES_WANTED = 1024
_FREE_FILES_WANTED, _FREE_FILES_NEEDED = 100_000, 1_000
_PROCESSES_WANTED = 512
_MEMORY_WANTED_BYTES = 1 << 30


class Verdict(StrEnum):
    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of doctor's report. `remedy` is empty only if there is nothing to do."""

    name: str
    verdict: Verdict
    seen: str
    remedy: str = ""


def judge_home(facts: HomeFacts, root: str, uid: int) -> Check:
    if not facts.exists:
        return Check("home", Verdict.WARN, f"{root} does not exist yet", "Make it with `casparian init`.")
    if not facts.is_directory:
        return Check("home", Verdict.FAIL, f"{root} is not a directory", "Name another home with --home.")
    if facts.owner_uid != uid:
        why = f"{root} belongs to user {facts.owner_uid}, this is user {uid}"
        return Check("home", Verdict.FAIL, why, "Run as the home's owner, or name another home with --home.")
    if facts.not_writable:
        why = (
            "`ls -ld` and `mount` show why. Without writing, `casparian log verify` and commands with --as-of read it."
        )
        return Check("home", Verdict.FAIL, f"{facts.not_writable} cannot be written", why)
    if facts.mode & 0o077:
        return Check(
            "home", Verdict.FAIL, f"other users can enter it (mode {facts.mode:04o})", f"Run `chmod 700 {root}`."
        )
    if not facts.config_exists:
        return Check("home", Verdict.WARN, f"{root} has no config.toml", "`casparian init` writes a commented one.")
    return Check("home", Verdict.OK, f"{root}, private to you")


def judge_space(disk: Disk, low_disk_bytes: int, reserve_bytes: int) -> Check:
    floor = low_disk_bytes + reserve_bytes
    seen = f"{size(disk.free_bytes)} free, intake stops below {size(low_disk_bytes)}"
    if disk.free_files is not None and disk.free_files < _FREE_FILES_WANTED:
        why = f"{seen}; room for {disk.free_files:,} more files"
        verdict = Verdict.FAIL if disk.free_files < _FREE_FILES_NEEDED else Verdict.WARN
        return Check("disk space", verdict, why, "Remove files, or use a file system with more inodes.")
    if disk.free_bytes < floor:
        return Check("disk space", Verdict.FAIL, seen, "Free some space, move the home, or lower log.low_disk_bytes.")
    if disk.free_bytes < 5 * floor:
        return Check("disk space", Verdict.WARN, seen, "Free some space before you run large jobs.")
    return Check("disk space", Verdict.OK, seen)


def judge_sync(disk: Disk) -> Check:
    """Every decision waits for a sync of the log, so a slow sync slows down everything."""
    if not disk.sync_seconds:
        return Check("disk sync", Verdict.WARN, f"not measured: {disk.why_unmeasured}", "Run doctor again with a home.")
    median, worst = disk.sync_seconds[len(disk.sync_seconds) // 2], disk.sync_seconds[-1]
    on = f" on {disk.file_system}" if disk.file_system else ""
    seen = f"{median * 1000:.2f} ms median, {worst * 1000:.2f} ms worst of {len(disk.sync_seconds)}{on}"
    if disk.file_system in _VOLATILE:
        return Check(
            "disk sync",
            Verdict.WARN,
            f"{seen}, which is memory",
            "Move the home to a disk: memory is lost in a power cut.",
        )
    if disk.file_system in _NETWORK:
        return Check(
            "disk sync",
            Verdict.WARN,
            f"{seen}, a network file system",
            "Use a local disk: this one depends on the server for locks, renames and syncs.",
        )
    if median > _BAD_SYNC_SECONDS:
        return Check("disk sync", Verdict.FAIL, seen, "This disk is too slow for the event log; use another.")
    if median > _SLOW_SYNC_SECONDS:
        return Check(
            "disk sync",
            Verdict.WARN,
            seen,
            "Casparian will run slowly here; use a disk with a faster sync, above all for many small files.",
        )
    return Check("disk sync", Verdict.OK, seen)


def judge_versions(found: Mapping[str, str]) -> Check:
    wrong = [
        f"{name} {found.get(name) or 'missing'}" for name in ("python", *PACKAGES, "libzmq") if _is_too_old(name, found)
    ]
    seen = ", ".join(f"{name} {found[name]}" for name in ("python", "pyarrow", "duckdb", "pyzmq", "libzmq"))
    if wrong:
        needs = ", ".join(f"{name} {least}" for name, least in MINIMUM.items())
        return Check("versions", Verdict.FAIL, f"too old or missing: {', '.join(wrong)}", f"Install at least {needs}.")
    return Check("versions", Verdict.OK, seen)


def judge_zones(version: str, missing: Sequence[str]) -> Check:
    if missing:
        return Check(
            "time zones",
            Verdict.FAIL,
            f"no zone data for {', '.join(missing)}",
            "Install the system's tzdata package; contracts with time zones need it.",
        )
    if not version:
        return Check(
            "time zones",
            Verdict.WARN,
            "the version of the tz database is unknown",
            "Commits record that version; install a tzdata package that contains tzdata.zi.",
        )
    return Check("time zones", Verdict.OK, f"tz database {version}")


def judge_sockets(longest_bytes: int, limit_bytes: int, directory: str) -> Check:
    seen = f"{longest_bytes} of {limit_bytes} bytes, in {directory}"
    if longest_bytes > limit_bytes:
        return Check("socket paths", Verdict.FAIL, seen, "Use a home with a shorter path, or set XDG_RUNTIME_DIR.")
    return Check("socket paths", Verdict.OK, seen)


def judge_clock(facts: ClockFacts) -> Check:
    if not _YEAR_2025 <= facts.wall_seconds < _YEAR_2100:
        return Check("clock", Verdict.FAIL, "the year cannot be right", "Set the clock; it provides the times of rows.")
    if facts.newest_log_seconds is not None and facts.newest_log_seconds > facts.wall_seconds + 60:
        behind = facts.newest_log_seconds - facts.wall_seconds
        return Check(
            "clock",
            Verdict.WARN,
            f"the event log was written {behind:,.0f} s in the future",
            "Set the clock. Order and leases are not affected, but times of rows are.",
        )
    if abs(facts.drift_seconds) > max(0.05, facts.watched_seconds * 0.1):
        return Check(
            "clock",
            Verdict.WARN,
            f"the wall clock moved {facts.drift_seconds:+.3f} s in {facts.watched_seconds:.2f} s",
            "It was set just now, or it is unstable; check the time service. Leases do not depend on it.",
        )
    seen = "year plausible, wall and monotonic clock agree"
    if facts.is_kept is False:
        return Check(
            "clock",
            Verdict.WARN,
            f"{seen}, but no time service is running",
            "Run one (chrony, systemd-timesyncd), unless this machine's host runs one.",
        )
    return Check("clock", Verdict.OK, seen)


def judge_files(facts: MachineFacts) -> Check:
    soft = "unlimited" if facts.open_files_soft is None else f"{facts.open_files_soft:,}"
    if facts.open_files_soft is not None and facts.open_files_soft < _OPEN_FILES_WANTED:
        return Check("open files", Verdict.WARN, soft, f"Raise it: `ulimit -n {_OPEN_FILES_WANTED * 4}`.")
    return Check("open files", Verdict.OK, soft)


def judge_limits(facts: MachineFacts, guest_bytes: int, file_bytes: int) -> Check:
    """Limits of this process, which daemon, workers and guests inherit. `file_bytes`: a segment of the log."""
    if facts.file_bytes is not None and facts.file_bytes < file_bytes:
        why = f"files are limited to {size(facts.file_bytes)}, a segment of the log needs {size(file_bytes)}"
        return Check("limits", Verdict.FAIL, why, "Raise it: `ulimit -f unlimited`.")
    if facts.address_space_bytes is not None and facts.address_space_bytes < guest_bytes:
        why = f"{size(facts.address_space_bytes)} of address space, guests should have {size(guest_bytes)}"
        return Check("limits", Verdict.WARN, why, "Raise it: `ulimit -v unlimited`; guests get less otherwise.")
    if facts.processes is not None and facts.processes < _PROCESSES_WANTED:
        why = f"{facts.processes:,} processes and threads"
        return Check("limits", Verdict.WARN, why, f"Raise it: `ulimit -u {_PROCESSES_WANTED * 4}`.")
    return Check("limits", Verdict.OK, "file size, address space and number of processes are sufficient")


def judge_machine(facts: MachineFacts, worker_count: int) -> Check:
    available = "unknown" if facts.available_bytes is None else size(facts.available_bytes)
    seen = f"{facts.cores} cores, {available} of {size(facts.memory_bytes)} memory available, {worker_count} workers"
    if facts.available_bytes is not None and facts.available_bytes < _MEMORY_WANTED_BYTES:
        return Check("machine", Verdict.WARN, seen, "Run fewer workers (daemon.max_concurrent_workers) or free memory.")
    if worker_count > 2 * facts.cores:
        return Check("machine", Verdict.WARN, seen, "More than two workers per core only wait for each other.")
    return Check("machine", Verdict.OK, seen)


def judge_sandbox(facts: SandboxFacts, minimum: str) -> Check:
    """`minimum`: the level below which the settings have every job refused."""
    layers = [
        f"Landlock ABI {facts.landlock_abi}" if facts.landlock_abi else "no Landlock",
        "a filter of system calls" if facts.has_filter else "no filter of system calls",
        *(["a user of their own"] if facts.changes_user else []),
        *(["a network of their own"] if facts.owns_network else []),
    ]
    seen = f"guests get level {facts.level}: {', '.join(layers)}"
    if missing := facts.missing[minimum]:
        why = f"{seen}; sandbox.minimum is {minimum}, so every job is refused"
        lower = f'or set sandbox.minimum = "{facts.level}", if you trust your parsers that far'
        return Check("sandbox", Verdict.FAIL, why, f"Missing: {'; '.join(missing)}. Supply it, {lower}.")
    if missing := facts.missing["strong"]:
        return Check("sandbox", Verdict.WARN, seen, f"For level strong this machine lacks {'; '.join(missing)}.")
    if facts.user_problem:
        remedy = "Run Casparian as a user without privileges, or give its container a range of user ids."
        return Check("sandbox", Verdict.WARN, f"{seen}; {facts.user_problem}", remedy)
    return Check("sandbox", Verdict.OK, seen)


def judge_log(objection: CasparianError | None) -> Check:
    if objection is not None:
        return Check("log", Verdict.FAIL, objection.problem, objection.remedy)
    return Check(
        "log",
        Verdict.OK,
        "at least as long as the tables, snapshots and seals recorded; `casparian log verify` checks all of it",
    )


def judge_published(facts: PublishedFacts) -> Check:
    if facts.why_not:
        remedy = "Run `casparian sql 'select 1'`, which rebuilds the catalog, then doctor once more."
        return Check("outputs", Verdict.WARN, f"not checked: catalog.duckdb cannot be used: {facts.why_not}", remedy)
    if facts.damaged:
        named = ", ".join(facts.damaged)
        remedy = (
            f"`casparian verify {facts.damaged[0]}` names them and their jobs. Restore them from a backup, or rerun the "
            "jobs that wrote them: `casparian job rerun ID`."
        )
        return Check("outputs", Verdict.FAIL, f"published files of {named} are missing or truncated", remedy)
    seen = f"{facts.files:,} published files exist; `casparian verify OUTPUT` compares their digests"
    return Check("outputs", Verdict.OK, seen)


def judge_orphans(count: int, folder: str) -> Check:
    if not count:
        return Check("orphans", Verdict.OK, "no published file was moved aside")
    seen = f"{count:,} files that belong to no commit were moved to {folder}"
    remedy = "They date from before a repair, and their inputs were processed again. Compare if you like, then delete the folder."
    return Check("orphans", Verdict.WARN, seen, remedy)


def judge_daemon(pid: int | None, why: str, pid_in_file: int | None) -> Check:
    if pid is not None:
        return Check("daemon", Verdict.OK, f"running, pid {pid}")
    if pid_in_file is not None:
        return Check(
            "daemon",
            Verdict.WARN,
            f"process {pid_in_file} exists but does not answer: {why}",
            "Read logs/daemon.log in the home; `casparian stop` ends it.",
        )
    return Check("daemon", Verdict.OK, "not running; commands open the home themselves")


def judge_trouble(status: StatusResult | None) -> Check:
    """Failures of a running daemon that it survived."""
    if status is None:
        return Check("trouble", Verdict.OK, "no daemon is running")
    parked = wording.say_parked(status.parked)
    if parked:
        why = "Let the daemon's user write there, or free some space; the daemon then continues by itself."
        return Check("trouble", Verdict.FAIL, "; ".join(parked), why)
    poison = wording.say_poison(status.projection.poison_events)
    if poison:
        why = "Restore missing blobs from a copy of the home; please report any other cause."
        return Check("trouble", Verdict.FAIL, poison[0], why)
    internal = wording.say_internal(status.internal_errors)
    if internal:
        return Check("trouble", Verdict.WARN, internal[0], "Please report it, with `casparian support-bundle FILE`.")
    return Check("trouble", Verdict.OK, "none: no commit waits, no event is left out, no internal errors")


def _is_too_old(name: str, found: Mapping[str, str]) -> bool:
    text = found.get(name, "")
    if not text:
        return True
    try:
        return Version(text) < Version(MINIMUM.get(name, "0"))
    except InvalidVersion:
        return False


def examine(home: Home) -> list[Check]:
    """Every check, the most important first."""
    since = measure.now_pair()
    settings, settings_check = _settings(home)
    disk = measure.measure_disk(home)
    machine = measure.measure_machine()
    pid, why = measure.daemon_of(home)
    return [
        judge_home(measure.measure_home(home), str(home.root), os.getuid()),
        settings_check,
        judge_log(measure.objection_to_log(home) if home.root.is_dir() else None),
        judge_published(measure.measure_published(home)),
        judge_orphans(measure.count_orphans(home), str(home.orphans)),
        judge_space(disk, settings.log.low_disk_bytes, settings.log.reserve_bytes),
        judge_sync(disk),
        judge_versions(measure.versions()),
        judge_zones(*measure.time_zones()),
        judge_sockets(*measure.socket_path_bytes(home), directory=str(home.sockets)),
        judge_files(machine),
        judge_limits(machine, settings.limits.address_space_bytes, settings.log.segment_bytes),
        judge_machine(machine, settings.daemon.max_concurrent_workers),
        judge_clock(measure.measure_clock(home, since)),
        judge_sandbox(measure.measure_sandbox(), settings.sandbox.minimum),
        judge_daemon(pid, why, measure.pid_of_file(home)),
        judge_trouble(measure.status_of(home) if pid is not None else None),
    ]


def _settings(home: Home) -> tuple[Settings, Check]:
    """The effective settings; or the built-in ones, and why the others could not be read."""
    try:
        settings = load(home, dict(os.environ)).settings
    except SettingsError as wrong:
        return Settings(), Check("settings", Verdict.FAIL, wrong.problem, wrong.remedy)
    return settings, Check("settings", Verdict.OK, "valid")
