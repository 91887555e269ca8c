"""A question's way to its answer: turns of the model, the tools it calls, the requests that a person decides. Pure.

One thing at a time: a turn of the model, or one command, or one request. All of it can be stopped; what was asked for and
not done is then told to the model as such, so that the conversation can go on.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from casparian_console.assistant import tools
from casparian_console.assistant.conversation import ANSWER_CHARACTERS, TOOL_CHARACTERS, Conversation, Entry
from casparian_console.assistant.decision import Decision, hits
from casparian_console.assistant.seen import seen
from casparian_console.effects import Ask, Chat, Effects, RunCommand, StopCommand, Tag
from casparian_console.messages import Done, Ended, Failed, Output, ToolCalls
from casparian_console.shell_actions import command_line
from casparian_console.text import clean, count, size

#: Turns of the model with tools for one question; the next one has to answer without.
TURNS = 8
#: Calls of one turn that are carried out.
CALLS = 8
_NAME_CHARACTERS = 80
_STOPPED = "The person stopped this."


@dataclass(slots=True)
class _Call:
    """A call that is under way."""

    id: str
    entry: Entry
    text: list[str] = field(default_factory=list)
    length: int = 0


class Turns:
    def __init__(self, talk: Conversation) -> None:
        self.talk = talk
        #: What waits for the person's decision.
        self.request: tools.Request | None = None
        self._tag: Tag | None = None
        self._number = 0
        self._turn = 0
        self._answer: Entry | None = None
        self._written = 0
        self._wanted: list[tuple[str, str, str]] = []
        self._call: _Call | None = None

    @property
    def is_busy(self) -> bool:
        return self._tag is not None or self.request is not None

    @property
    def state(self) -> str:
        """What is going on, in a word."""
        if self.request is not None:
            return "asks you"
        if self._tag is None:
            return ""
        return {"chat": "answering" if self._written else "thinking", "tool": "looking", "ask": "doing"}[self._tag[1]]

    # --- the model ----------------------------------------------------------------------------------------------------

    def ask(self, question: str, context: Any) -> Effects:
        self.talk.ask(question)
        self._turn = 0
        return self._next_turn(context)

    def _next_turn(self, context: Any) -> Effects:
        self._turn += 1
        self._answer, self._written, self._wanted, self._call = None, 0, [], None
        offered = tools.offered(may_change=context.can_change) if self._turn <= TURNS else ()
        tag = self._new_tag("chat")
        return [Chat(tag, self.talk.messages(seen(context)), offered)]

    def took(self, message: Any, context: Any) -> Effects:
        if message.tag != self._tag:
            return []  # of something that was stopped
        what = message.tag[1]
        if what == "chat":
            return self._chat(message, context)
        return self._tool(message, context) if what == "tool" else self._asked(message, context)

    def _chat(self, message: Any, context: Any) -> Effects:
        match message:
            case Output(text=text):
                self._write(text)
            case ToolCalls(calls=calls):
                self._wanted = list(calls)
            case Failed(problem=problem, remedy=remedy):
                self.talk.show("problem", f"{problem} {remedy}".strip())
                self._end_turn(())
            case Ended(code=0):
                return self._answered(context)
            case Ended(code=code, stderr=stderr):
                self.talk.show("problem", stderr or f"The answer ended with code {code}.")
                self._end_turn(())
        return []

    def _write(self, text: str) -> None:
        if self._answer is None:
            if not text.strip():
                return
            self._answer = self.talk.show("model", "")
        room = max(0, ANSWER_CHARACTERS - self._written)
        self._answer.text += text[:room]
        self._written += len(text)
        if len(text) >= room > 0:
            self.talk.show(
                "note", f"(the answer is longer than {ANSWER_CHARACTERS:,} characters; the rest is left out)"
            )

    def _answered(self, context: Any) -> Effects:
        wanted = self._wanted[:CALLS] if self._turn <= TURNS else []
        if len(wanted) < len(self._wanted):
            most = f"{CALLS} at once" if wanted else f"{TURNS} rounds of them"
            self.talk.show("note", f"(it wanted {count(len(self._wanted), 'tool')}, more than {most})")
        elif not wanted and self._answer is None:
            self.talk.show("note", "(no answer)")
        self._wanted = [
            (
                call[:_NAME_CHARACTERS] or f"call-{self._number}-{at}",
                name[:_NAME_CHARACTERS],
                arguments[:TOOL_CHARACTERS],
            )
            for at, (call, name, arguments) in enumerate(wanted)
        ]
        self._end_turn(tuple(self._wanted))
        return self._next_call(context) if self._wanted else []

    def _end_turn(self, calls: tuple[tuple[str, str, str], ...]) -> None:
        self._tag = None
        self.talk.answered(self._answer.text if self._answer is not None else "", calls)

    # --- its tools ----------------------------------------------------------------------------------------------------

    def _next_call(self, context: Any) -> Effects:
        """Carry out the next call, or give the model what all came to."""
        while self._wanted:
            call, name, arguments = self._wanted.pop(0)
            try:
                planned = tools.plan(name, arguments, as_of=str(context.past_seq or ""))
            except tools.BadCall as problem:
                self.talk.show("tool", f"{name}: {problem}")
                self.talk.told(call, str(problem))
                continue
            if isinstance(planned, tools.Command):
                return self._run(call, planned)
            if context.can_change:
                self._call = _Call(call, self.talk.show("request", planned.cli))
                self.request = planned
                return []
            self.talk.show("tool", f"{planned.cli}: nothing can be changed now")
            self.talk.told(call, "Nothing can be changed now: the console shows the past, or no sentinel answers.")
        return self._next_turn(context)

    def _run(self, call: str, command: tools.Command) -> Effects:
        tag = self._new_tag("tool")
        effect = RunCommand(tag, command.args, limit_bytes=TOOL_CHARACTERS)
        self._call = _Call(call, self.talk.show("tool", f"$ {command_line(command.args)}"))
        return [effect]

    def _tool(self, message: Any, context: Any) -> Effects:
        assert self._call is not None
        match message:
            case Output(text=text):
                self._call.text.append(text)
                self._call.length += len(text.encode("utf-8", "replace"))
                return []
            case Ended(code=code, stderr=stderr, is_cut=is_cut):
                told = "".join(self._call.text)
                cut = "\n(cut: the output is longer)" if is_cut else ""
                if code:
                    said = _last_line(stderr) or f"it ended with {code}"
                    self._call.entry.text += f"\n  failed: {said}"
                    told = f"It ended with {code}.\n{stderr}\n{told}"
                else:
                    self._call.entry.text += f"\n  {size(self._call.length)}{' (cut)' if is_cut else ''}"
                return self._told(told + cut, context)
            case Failed(problem=problem, remedy=remedy):
                self._call.entry.text += f"\n  failed: {problem}"
                return self._told(f"{problem} {remedy}", context)
        return []

    def _told(self, text: str, context: Any) -> Effects:
        assert self._call is not None
        self._tag = None
        self.talk.told(self._call.id, text)
        return self._next_call(context)

    # --- what a person decides ----------------------------------------------------------------------------------------

    def decide(self, context: Any) -> Effects:
        """Show the request as a question."""
        request = self.request
        if request is None:
            return []

        def accept() -> Effects:
            return self._accepted(request)

        def decline() -> Effects:
            return self._declined(request, context)

        details = ["The assistant asks for this:", f"  {request.cli}", *hits(request, context.facts)]
        effects: Effects = context.open(Decision(request.question, details, accept, decline))
        return effects

    def _accepted(self, request: tools.Request) -> Effects:
        if self.request is not request:
            return []
        self.request = None
        tag = self._new_tag("ask")
        return [Ask(tag, request.op, request.args, request.cli, said="Done, as the assistant asked.")]

    def _declined(self, request: tools.Request, context: Any) -> Effects:
        if self.request is not request or self._call is None:
            return []
        self.request = None
        self._call.entry.text += "\n  you refused"
        return self._told("The person refused.", context)

    def _asked(self, message: Any, context: Any) -> Effects:
        assert self._call is not None
        if isinstance(message, Done):
            self._call.entry.text += "\n  done"
            return self._told(f"The person agreed; it is done: {json.dumps(message.result, default=str)}", context)
        if isinstance(message, Failed):
            self._call.entry.text += f"\n  failed: {message.problem}"
            return self._told(f"The person agreed, but it failed: {message.problem} {message.remedy}", context)
        return []

    # --- stopping -----------------------------------------------------------------------------------------------------

    def stop(self) -> Effects:
        """End what is under way; what was not done is told as such with the next question."""
        if not self.is_busy:
            return []
        tag, self._tag = self._tag, None
        if tag is not None and tag[1] == "chat":
            self._wanted = []
            self.talk.answered(self._answer.text if self._answer is not None else "", ())
        if self._call is not None:
            self.talk.told(
                self._call.id, _STOPPED if tag is None or tag[1] != "ask" else "Asked for; its outcome was not awaited."
            )
        for call, _name, _arguments in self._wanted:
            self.talk.told(call, _STOPPED)
        self.request, self._call, self._wanted = None, None, []
        self.talk.show("note", "(stopped)")
        return [StopCommand(tag)] if tag is not None and tag[1] != "ask" else []

    def _new_tag(self, what: str) -> Tag:
        self._number += 1
        self._tag = ("assistant", what, str(self._number))
        return self._tag


def _last_line(stderr: str) -> str:
    lines = [line for line in stderr.splitlines() if line.strip()]
    return clean(lines[0]) if lines else ""
