"""Operations on the daemon itself: is it there, its settings, its end. How it stands is `views`'.

Settings are loaded when a process starts. Some are read at every use, so that a running daemon can take them over
(`settings.RELOADABLE`); all others are named and stay until the next start.
"""

from __future__ import annotations

import logging
import os

from casparian_protocol.settings import READ_BY_COMMANDS, RELOADABLE, by_key, load, with_keys
from casparian_protocol.wire.messages import PROTOCOL_VERSION
from casparian_protocol.wire.operations.base import Done, NoArgs
from casparian_protocol.wire.operations.daemon import PingResult, ReloadResult, SettingChange, SettingsResult, StopArgs
from casparian_sentinel.operations.steps import AdoptSettings, Context, EndDaemon, InThread, Steps

logger = logging.getLogger(__name__)


def settings(context: Context, args: NoArgs, actor: str) -> Steps:
    """What is in force here."""
    yield from ()
    return SettingsResult(settings=by_key(context.settings))


def reload(context: Context, args: NoArgs, actor: str) -> Steps:
    """Take over what may change while the daemon runs. Raises `SettingsError`, and changes nothing, for a bad file."""
    wanted = (yield InThread(lambda: load(context.home, os.environ, context.flags))).settings
    before, after = by_key(context.settings), by_key(wanted)
    changed = [key for key in after if after[key] != before[key]]
    taken = [key for key in changed if key in RELOADABLE]
    if taken:
        yield AdoptSettings(with_keys(context.settings, wanted, taken))
        told = ", ".join(f"{key} {before[key]} → {after[key]}" for key in taken)
        logger.info("Settings taken over, asked by %s: %s.", actor, told)
    fixed = [key for key in changed if key not in RELOADABLE | READ_BY_COMMANDS]
    changes = {key: SettingChange(before=before[key], now=after[key]) for key in taken}
    return ReloadResult(changed=changes, needs_restart=fixed, seq=context.durable_seq())


def ping(context: Context) -> PingResult:
    return PingResult(pid=context.pid, version=context.version, protocol=PROTOCOL_VERSION, seq=context.durable_seq())


def drain(context: Context, args: NoArgs, actor: str) -> Steps:
    yield EndDaemon(now=False, is_drain_only=True)
    return Done(seq=context.durable_seq())


def stop(context: Context, args: StopArgs, actor: str) -> Steps:
    yield EndDaemon(now=args.now)
    return Done(seq=context.durable_seq())
