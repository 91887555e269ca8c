"""All settings: their defaults, units and ranges, and the origins of effective values.

Layers, lowest to highest: built-in, `$CASPARIAN_HOME/config.toml`, environment (`CASPARIAN_<GROUP>__<KEY>`), flags. An
unknown key is an error that names the nearest known one. A test compares this module with `config/casparian.toml`,
which documents each key. It reads the configuration file and writes nothing.
"""

from __future__ import annotations

import difflib
import json
import os
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, field_validator

from casparian_protocol.bounds import COUNT_MAX, ShortText
from casparian_protocol.errors import CasparianError
from casparian_protocol.home import Home

GIB = 1024**3
MIB = 1024**2
ENVIRONMENT_PREFIX = "CASPARIAN_"
#: Variables with the prefix `CASPARIAN_` that are not settings.
NOT_SETTINGS = frozenset({"CASPARIAN_HOME", "CASPARIAN_LOG_LEVEL"})
#: Names that older programs used.
ALIASES = {
    "CASPARIAN_MAX_CONCURRENT_WORKERS": "daemon.max_concurrent_workers",
    "MAX_CONCURRENT_WORKERS": "daemon.max_concurrent_workers",
}


#: Removed keys that had no effect: their only allowed value, and why they were removed. A key with that value is reported and
#: ignored, because an upgrade must not prevent a daemon from starting; any other value is refused.
REMOVED = {"sandbox.mode": ("auto", "guests always get the strongest level that this version and machine have")}


#: Why `sandbox.minimum = "full"` is refused.
FULL_REFUSED = "guests have no level full in this version, which does not use bubblewrap; the strongest level is strong"


class SettingsError(CasparianError):
    """A setting is unknown, or its value is not allowed."""


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


Positive = Annotated[int, Field(gt=0, le=COUNT_MAX)]
_YEAR_SECONDS = 86_400 * 365
Seconds = Annotated[float, Field(gt=0, le=_YEAR_SECONDS)]


class DaemonSettings(_Group):
    max_concurrent_workers: Annotated[int, Field(ge=0, le=256)] = Field(default_factory=lambda: os.cpu_count() or 1)
    slots_per_worker: Annotated[int, Field(ge=1, le=64)] = 1
    drain_seconds: Seconds = 30.0
    log_bytes: Annotated[int, Field(ge=64 * 1024, le=GIB)] = 10_000_000
    log_files: Annotated[int, Field(ge=1, le=100)] = 5


class LivenessSettings(_Group):
    heartbeat_seconds: Annotated[float, Field(ge=0.05, le=60)] = 1.0
    stalled_after_seconds: Seconds = 30.0
    lease_timeout_seconds: Annotated[float, Field(ge=1, le=86_400)] = 60.0
    rejoin_seconds: Annotated[float, Field(ge=0.1, le=3600)] = 30.0


class RetrySettings(_Group):
    max_retries: Annotated[int, Field(ge=0, le=100)] = 3
    backoff_seconds: Annotated[
        list[Annotated[float, Field(ge=0, le=_YEAR_SECONDS)]], Field(min_length=1, max_length=20)
    ] = [
        1.0,
        4.0,
        16.0,
    ]
    max_worker_losses: Annotated[int, Field(ge=1, le=100)] = 3


class BreakerSettings(_Group):
    consecutive_failures: Annotated[int, Field(ge=1, le=100)] = 5
    cooldown_seconds: Annotated[float, Field(ge=0, le=_YEAR_SECONDS)] = 600.0


class QuarantineSettings(_Group):
    allow: bool = True
    max_pct: Annotated[float, Field(ge=0, le=100)] = 10.0
    max_count: Annotated[int, Field(ge=0, le=COUNT_MAX)] | None = None


class SandboxSettings(_Group):
    #: Below this level a job is refused (docs/explanation/security.md). Commands that only try a parser do not ask it.
    minimum: Literal["none", "basic", "strong"] = "strong"

    @field_validator("minimum", mode="before")
    @classmethod
    def _refuse_full(cls, value: object) -> object:
        if value == "full":
            raise ValueError(FULL_REFUSED)
        return value


class WarmSettings(_Group):
    """Processes that are kept to fork guests from."""

    enabled: bool = True
    max_jobs: Positive = 1000
    idle_seconds: Seconds = 300.0


class LimitSettings(_Group):
    address_space_bytes: Annotated[int, Field(ge=256 * MIB, le=COUNT_MAX)] = 4 * GIB
    cpu_seconds: Positive = 3600
    wall_seconds: Seconds = 3600.0
    scratch_bytes: Positive = 4 * GIB
    output_rows: Positive = 2_000_000_000
    output_bytes: Positive = 256 * GIB
    batch_bytes: Annotated[int, Field(ge=MIB, le=64 * MIB)] = 64 * MIB
    cell_bytes: Annotated[int, Field(ge=1024, le=64 * MIB)] = 16 * MIB
    columns: Annotated[int, Field(ge=1, le=4096)] = 4096


class LogSettings(_Group):
    segment_bytes: Annotated[int, Field(ge=64 * 1024, le=GIB)] = 64 * MIB
    low_disk_bytes: Annotated[int, Field(ge=0, le=COUNT_MAX)] = GIB
    reserve_bytes: Annotated[int, Field(ge=0, le=GIB)] = 64 * MIB


class ProjectionSettings(_Group):
    batch_events: Annotated[int, Field(ge=1, le=1_000_000)] = 5000
    batch_milliseconds: Annotated[int, Field(ge=1, le=10_000)] = 100


class JobLogSettings(_Group):
    max_bytes: Annotated[int, Field(ge=1024, le=COUNT_MAX)] = 10_000_000
    keep_days: Positive = 7
    keep_bytes: Positive = 1_000_000_000


class OutputSettings(_Group):
    row_group_rows: Annotated[int, Field(ge=1024, le=16 * MIB)] = 1_000_000
    compression: Literal["zstd", "snappy", "none"] = "zstd"


class ApprovalSettings(_Group):
    #: Whether a contract identical to an approved one of an earlier version is approved automatically.
    carry_over: Literal["identical", "never"] = "identical"


class GatekeeperSettings(_Group):
    mode: Literal["strict", "warn"] = "warn"


class ConsoleSettings(_Group):
    theme: Literal["auto", "dark", "light", "mono"] = "auto"
    ascii: bool = False
    escape_timeout_milliseconds: Annotated[int, Field(ge=1, le=2000)] = 50


class AssistantSettings(_Group):
    endpoint: Annotated[str, Field(pattern=r"^https?://[^\s/]+")] | None = None
    model: ShortText | None = None


class Settings(_Group):
    """All groups. `load` returns the effective settings; `Settings()` has the built-in values."""

    daemon: DaemonSettings = Field(default_factory=DaemonSettings)
    liveness: LivenessSettings = Field(default_factory=LivenessSettings)
    retry: RetrySettings = Field(default_factory=RetrySettings)
    breaker: BreakerSettings = Field(default_factory=BreakerSettings)
    quarantine: QuarantineSettings = Field(default_factory=QuarantineSettings)
    sandbox: SandboxSettings = Field(default_factory=SandboxSettings)
    warm: WarmSettings = Field(default_factory=WarmSettings)
    limits: LimitSettings = Field(default_factory=LimitSettings)
    log: LogSettings = Field(default_factory=LogSettings)
    projection: ProjectionSettings = Field(default_factory=ProjectionSettings)
    job_logs: JobLogSettings = Field(default_factory=JobLogSettings)
    outputs: OutputSettings = Field(default_factory=OutputSettings)
    approvals: ApprovalSettings = Field(default_factory=ApprovalSettings)
    gatekeeper: GatekeeperSettings = Field(default_factory=GatekeeperSettings)
    console: ConsoleSettings = Field(default_factory=ConsoleSettings)
    assistant: AssistantSettings = Field(default_factory=AssistantSettings)


@dataclass(frozen=True, slots=True)
class Loaded:
    """The effective settings, and for each key (`group.key`) where its value came from."""

    settings: Settings
    origins: dict[str, str]
    #: A sentence for each key of `REMOVED` that a layer still has.
    ignored: tuple[str, ...] = ()


#: Keys that a running daemon applies on `config reload`, because they are read at every plan, decision or check. All others
#: are read once, when a process starts.
RELOADABLE = frozenset(
    {
        *("retry.max_retries", "retry.backoff_seconds", "retry.max_worker_losses"),
        *("breaker.consecutive_failures", "breaker.cooldown_seconds"),
        *(f"quarantine.{name}" for name in QuarantineSettings.model_fields),
        *("liveness.stalled_after_seconds", "log.low_disk_bytes", "daemon.drain_seconds", "approvals.carry_over"),
    }
)
#: Keys that only commands and the console read when they start.
READ_BY_COMMANDS = frozenset(
    {
        *(f"console.{name}" for name in ConsoleSettings.model_fields),
        *(f"assistant.{name}" for name in AssistantSettings.model_fields),
        *(f"gatekeeper.{name}" for name in GatekeeperSettings.model_fields),
    }
)


def by_key(settings: Settings) -> dict[str, JsonValue]:
    """`group.key` → value."""
    return {f"{group}.{key}": value for group, keys in settings.model_dump().items() for key, value in keys.items()}


def with_keys(settings: Settings, other: Settings, keys: Collection[str]) -> Settings:
    """`settings` with the values of `other` for these keys."""
    taken: dict[str, dict[str, object]] = settings.model_dump()
    for key in keys:
        group, _, name = key.partition(".")
        taken[group][name] = getattr(getattr(other, group), name)
    return Settings.model_validate(taken)


def known_keys() -> dict[str, JsonValue]:
    """Every key with its built-in value."""
    defaults = Settings().model_dump()
    return {f"{group}.{key}": value for group, keys in defaults.items() for key, value in keys.items()}


def load(home: Home, environment: Mapping[str, str], flags: Mapping[str, object] | None = None) -> Loaded:
    """Merge the layers. `flags` maps `group.key` to a value. Raises `SettingsError`."""
    values: dict[str, object] = {}
    origins = dict.fromkeys(known_keys(), "built-in")
    layers = ((_from_file(home)), _from_environment(environment), {k: (v, "flag") for k, v in (flags or {}).items()})
    ignored = []
    for layer in layers:
        for key, (value, origin) in layer.items():
            if key in REMOVED:
                ignored.append(_removed(key, value, origin))
                continue
            _require_known(key, origin)
            values[key] = value
            origins[key] = origin
    grouped: dict[str, dict[str, object]] = {}
    for key, value in values.items():
        group, _, name = key.partition(".")
        grouped.setdefault(group, {})[name] = value
    try:
        return Loaded(Settings.model_validate(grouped), origins, tuple(ignored))
    except ValidationError as invalid:
        first = invalid.errors(include_url=False)[0]
        key = ".".join(str(part) for part in first["loc"][:2])
        raise SettingsError(
            f"The setting {key} = {first['input']!r} (from {origins.get(key, 'unknown')}) is not allowed: {first['msg']}.",
            remedy="`casparian config show -v` explains every setting.",
        ) from invalid


def _removed(key: str, value: object, origin: str) -> str:
    """The message about a removed key. Raises when its value would have an effect that no longer exists."""
    only, why = REMOVED[key]
    message = f"The setting {key} (from {origin}) was removed: {why}."
    if value != only:
        raise SettingsError(message, remedy="Delete it there.")
    return f"{message} Delete it there."


def _require_known(key: str, origin: str) -> None:
    known = known_keys()
    if key in known:
        return
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f"Did you mean {near[0]}?" if near else "`casparian config show` lists every setting."
    raise SettingsError(f"There is no setting {key} (from {origin}).", remedy=hint)


def _from_file(home: Home) -> dict[str, tuple[object, str]]:
    try:
        text = home.config_file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as cause:
        raise SettingsError(
            f"{home.config_file} cannot be read: {cause}.",
            remedy="Check that it is UTF-8 text and that you may read it.",
        ) from cause
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as cause:
        raise SettingsError(f"{home.config_file} is not valid TOML: {cause}.", remedy="Correct that line.") from cause
    found: dict[str, tuple[object, str]] = {}
    for group, keys in document.items():
        if not isinstance(keys, dict):
            _require_known(group, str(home.config_file))
            continue
        for name, value in keys.items():
            found[f"{group}.{name}"] = (value, str(home.config_file))
    return found


def _from_environment(environment: Mapping[str, str]) -> dict[str, tuple[object, str]]:
    found: dict[str, tuple[object, str]] = {}
    for name, text in environment.items():
        if name in ALIASES:
            found[ALIASES[name]] = (_parsed(text), name)
        elif name.startswith(ENVIRONMENT_PREFIX) and name not in NOT_SETTINGS:
            key = name.removeprefix(ENVIRONMENT_PREFIX).lower().replace("__", ".", 1)
            found[key] = (_parsed(text), name)
    return found


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):  # not JSON, or with more digits or brackets than Python reads
        return text
