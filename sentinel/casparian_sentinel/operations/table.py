"""Each operation of the protocol with the handler that performs it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from casparian_protocol.wire.messages import PROTOCOL_VERSION
from casparian_protocol.wire.operations import OPERATIONS, UnknownOperation, parse_args
from casparian_protocol.wire.operations.base import NoArgs
from casparian_protocol.wire.operations.daemon import StopArgs
from casparian_sentinel.core.commands import Dispatch
from casparian_sentinel.operations import (
    handlers_files,
    handlers_jobs,
    handlers_registry,
    handlers_settings,
    planning,
    rerunning,
    views,
)
from casparian_sentinel.operations.steps import Context, Decide, EndDaemon, OperationRefused, Steps

#: An operation that `takes_bytes` gets them as its last argument.
Handler = Callable[..., Steps]


def _now(view: Callable[[Context], dict[str, Any]]) -> Handler:
    """An operation that only looks."""

    def handler(context: Context, args: NoArgs, actor: str) -> Steps:
        return view(context)
        yield  # a generator like all handlers, without a step

    return handler


def _ping(context: Context) -> dict[str, Any]:
    return {
        "pid": context.pid,
        "version": context.version,
        "protocol": PROTOCOL_VERSION,
        "seq": context.durable_seq(),
    }


def _snapshot(context: Context, args: NoArgs, actor: str) -> Steps:
    """The state may be ahead of the log; nobody hears of it before all that it tells is durable."""
    picture = views.snapshot(context)
    yield Decide(Dispatch())
    return picture


def _drain(context: Context, args: NoArgs, actor: str) -> Steps:
    yield EndDaemon(now=False, is_drain_only=True)
    return {"seq": context.durable_seq()}


def _stop(context: Context, args: StopArgs, actor: str) -> Steps:
    yield EndDaemon(now=args.now)
    return {"seq": context.durable_seq()}


HANDLERS: dict[str, Handler] = {
    "ping": _now(_ping),
    "status": _now(views.status),
    "snapshot": _snapshot,
    "queue": planning.queue,
    "cancel": handlers_jobs.cancel,
    "retry": handlers_jobs.retry,
    "close": handlers_jobs.close,
    "rerun": handlers_jobs.rerun,
    "replay": handlers_jobs.replay,
    "rerun_failed": rerunning.rerun_failed,
    "pause": handlers_registry.pause,
    "resume": handlers_registry.resume,
    "retire": handlers_registry.retire,
    "use_version": handlers_registry.use,
    "set_parameters": handlers_registry.set_parameters,
    "register": handlers_registry.register,
    "decide_contract": handlers_registry.decide_contract,
    "set_policy": handlers_registry.set_policy,
    "add_source": handlers_files.add_source,
    "remove_source": handlers_files.remove_source,
    "rescan": handlers_files.rescan,
    "upload": handlers_files.upload,
    "begin_scan": handlers_files.begin_scan,
    "observe": handlers_files.observe,
    "end_scan": handlers_files.end_scan,
    "revise": handlers_files.revise,
    "tag": handlers_files.tag,
    "add_rule": handlers_files.add_rule,
    "remove_rule": handlers_files.remove_rule,
    "settings": handlers_settings.settings,
    "reload": handlers_settings.reload,
    "drain": _drain,
    "stop": _stop,
}


def begin(context: Context, op: str, args: dict[str, Any], actor: str, attachments: Sequence[bytes] = ()) -> Steps:
    """The steps of a request. Raises what is wrong with it: `UnknownOperation`, `BadArguments`, `OperationRefused`."""
    parsed = parse_args(op, args)
    handler = HANDLERS.get(op)
    if handler is None:
        raise UnknownOperation(op)
    if OPERATIONS[op].is_daemon_only and context.mode != "daemon":
        raise OperationRefused(f"{op} needs a running sentinel.", "Start one with `casparian start`.", "NO_DAEMON")
    if len(attachments) != OPERATIONS[op].takes_bytes:
        wanted = "one attachment" if OPERATIONS[op].takes_bytes else "no attachment"
        raise OperationRefused(f"{op} takes {wanted}.", "docs/protocol.md describes each operation.", "BAD_ARGUMENTS")
    return handler(context, parsed, actor, *attachments)
