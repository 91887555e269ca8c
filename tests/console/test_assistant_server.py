"""The assistant with a server at the other end of a socket: the terminal layer's chats carry what the sidebar says."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from casparian_console.messages import Chat, Effects, Ended, Message, Output, RunCommand, StopCommand
from casparian_console.terminal.chat import Assistant, Chats
from tests.console.driving import Driver
from tests.console.fake_model import FakeModel, Turn, serving

_SECONDS = 20.0


class Conversation:
    """A console whose chats go to a server; the commands that it wants are answered with `output`."""

    def __init__(self, model: FakeModel, output: str = "") -> None:
        self.driver = Driver(has_assistant=True)
        self.driver.snapshot()
        self.chats = Chats(Assistant(model.endpoint, "tiny"), self._on_answer)
        self.commands: list[RunCommand] = []
        self._output = output
        self._news = asyncio.Event()
        self.do(self.driver.press("alt-a"))

    def press(self, *keys: str) -> None:
        self.do(self.driver.press(*keys))

    def do(self, effects: Effects) -> None:
        for effect in effects:
            if isinstance(effect, Chat):
                self.chats.start(effect)
            elif isinstance(effect, StopCommand):
                self.chats.stop(effect.tag)
            elif isinstance(effect, RunCommand):
                self.commands.append(effect)
                self.do(self.driver.send(Output(effect.tag, self._output), Ended(effect.tag, 0)))

    def _on_answer(self, message: Message) -> None:
        self.do(self.driver.send(message))
        self._news.set()

    @property
    def text(self) -> str:
        return self.driver.text(200, 60)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(_SECONDS):
            while not condition():
                self._news.clear()
                await self._news.wait()


def converse(model: FakeModel, story: Callable[[Conversation], Awaitable[None]], output: str = "") -> None:
    async def run() -> None:
        talk = Conversation(model, output)
        try:
            await story(talk)
        finally:
            talk.chats.close()

    asyncio.run(run())


def test_a_question_is_answered_after_the_model_has_looked_with_a_tool() -> None:
    looks = Turn(texts=["I will ", "look."], calls=[("c1", "query", '{"sql": "select count(*) from cf_jobs"}')])

    async def story(talk: Conversation) -> None:
        talk.driver.write("How many jobs?")
        talk.press("enter")
        await talk.until(lambda: "Three jobs." in talk.text)
        assert "I will look." in talk.text
        assert [command.args[-1] for command in talk.commands] == ["select count(*) from cf_jobs"]

    with serving(looks, Turn(texts=["Three", " jobs."])) as model:
        converse(model, story, output='[{"count_star()": 3}]\n')
        first, second = model.asked

    assert (first["path"], first["model"], first["stream"]) == ("/v1/chat/completions", "tiny", True)
    assert [message["role"] for message in second["messages"]] == ["system", "user", "assistant", "tool"]
    assert second["messages"][-1] == {"role": "tool", "tool_call_id": "c1", "content": '[{"count_star()": 3}]\n'}
    assert {tool["function"]["name"] for tool in first["tools"]} >= {"query", "request_cancel"}


def test_a_server_that_falls_silent_is_left_and_the_next_question_is_answered() -> None:
    async def story(talk: Conversation) -> None:
        talk.driver.write("Well?")
        talk.press("enter")
        await talk.until(lambda: "Let me" in talk.text)
        talk.press("esc")
        assert "(stopped)" in talk.text and not talk.chats.running
        talk.driver.write("And now?")
        talk.press("enter")
        await talk.until(lambda: "Here I am." in talk.text)

    with serving(Turn(texts=["Let me"], is_stalled=True), Turn(texts=["Here I am."])) as model:
        converse(model, story)
        assert [m["content"] for m in model.asked[1]["messages"][1:]] == ["Well?", "Let me", "And now?"]


def test_what_a_server_refuses_is_said() -> None:
    async def story(talk: Conversation) -> None:
        talk.driver.write("Hello?")
        talk.press("enter")
        await talk.until(lambda: "refused" in talk.text)
        assert "no model of that name" in talk.text

    with serving(Turn(refusal="no model of that name")) as model:
        converse(model, story)
