"""The table of operations: the handler of each operation of the protocol.

An actor is `user:<name>@<client>`. The name and the client are what the client says, restricted to this form.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from casparian_protocol.wire.operations import OPERATIONS, UnknownOperation, parse_args
from casparian_protocol.wire.operations.base import NoArgs, Result
from casparian_sentinel.core import Dispatch
from casparian_sentinel.operations import daemon, discovery, jobs, planning, registry
from casparian_sentinel.operations.steps import Context, DaemonNeeded, Decide, OperationRefused, Steps

UNKNOWN = "user:unknown@client"
_ACTOR = re.compile(r"user:[^\s@:\x00-\x1f\x7f]{1,64}@[a-z][a-z0-9_-]{0,31}")


def actor_of(claimed: str) -> str:
    """The actor as the client states it, if it has the right form; a client cannot speak as the sentinel or as a worker."""
    return claimed if _ACTOR.fullmatch(claimed) and claimed.isprintable() else UNKNOWN


#: The handler of an operation that `takes_bytes` gets the bytes as its last argument.
Handler = Callable[..., Steps]


def _now(view: Callable[[Context], Result]) -> Handler:
    """The handler of an operation that only reads."""

    def handler(context: Context, args: NoArgs, actor: str) -> Steps:
        return view(context)
        yield  # makes it a generator without steps

    return handler


def _snapshot(context: Context, args: NoArgs, actor: str) -> Steps:
    """The state may be ahead of the log, so the answer waits until everything that it shows is durable."""
    picture = daemon.snapshot(context)
    yield Decide(Dispatch())
    return picture


HANDLERS: dict[str, Handler] = {
    "ping": _now(daemon.ping),
    "status": _now(daemon.status),
    "snapshot": _snapshot,
    "queue": planning.queue,
    "cancel": jobs.cancel,
    "cancel_jobs": jobs.cancel_jobs,
    "retry": jobs.retry,
    "retry_jobs": jobs.retry_jobs,
    "close": jobs.close,
    "rerun": jobs.rerun,
    "rerun_jobs": jobs.rerun_jobs,
    "replay": jobs.replay,
    "rerun_failed": jobs.rerun_failed,
    "pause": registry.pause,
    "resume": registry.resume,
    "retire": registry.retire,
    "use_version": registry.use,
    "set_parameters": registry.set_parameters,
    "register": registry.register,
    "decide_contract": registry.decide_contract,
    "set_policy": registry.set_policy,
    "add_source": discovery.add_source,
    "remove_source": discovery.remove_source,
    "rescan": discovery.rescan,
    "upload": discovery.upload,
    "begin_scan": discovery.begin_scan,
    "observe": discovery.observe,
    "end_scan": discovery.end_scan,
    "revise": discovery.revise,
    "tag": discovery.tag,
    "add_rule": discovery.add_rule,
    "remove_rule": discovery.remove_rule,
    "settings": daemon.settings,
    "reload": daemon.reload,
    "drain": daemon.drain,
    "stop": daemon.stop,
}


def begin(context: Context, op: str, args: dict[str, object], actor: str, attachments: Sequence[bytes] = ()) -> Steps:
    """The steps of a request. Raises `UnknownOperation`, `BadArguments` or `OperationRefused` if the request is wrong."""
    parsed = parse_args(op, args)
    handler = HANDLERS.get(op)
    if handler is None:
        raise UnknownOperation(op)
    if OPERATIONS[op].is_daemon_only and context.mode != "daemon":
        raise DaemonNeeded(op)
    if len(attachments) != OPERATIONS[op].takes_bytes:
        wanted = "one attachment" if OPERATIONS[op].takes_bytes else "no attachment"
        raise OperationRefused(f"{op} takes {wanted}.", "docs/protocol.md describes each operation.", "BAD_ARGUMENTS")
    return handler(context, parsed, actor, *attachments)
