"""The assistant at the side: asking, streaming, tools that look, requests that a person decides, and bounds for all of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from casparian_console.assistant import tools
from casparian_console.assistant.sidebar import wrapped
from casparian_console.assistant.turns import (
    CALLS,
    ROUND_CHARACTERS,
    SENT_CHARACTERS,
    TOOL_CHARACTERS,
    TURNS,
    Conversation,
)
from casparian_console.canvas import width_of
from casparian_console.messages import (
    Chat,
    Click,
    Effects,
    Ended,
    Failed,
    LoadPast,
    Output,
    Paste,
    PastEvents,
    RunCommand,
    RunOperation,
    Scroll,
    StopCommand,
    ToolCalls,
)
from casparian_protocol.feed import FeedEvent
from casparian_protocol.wire.operations.jobs import RETRY
from tests.console.driving import Driver, fail, job_id, matches_snapshot, queued, run_job


class Talk(Driver):
    """A console with an assistant; `say` answers its last turn."""

    def __init__(self, **settings: bool) -> None:
        super().__init__(has_assistant=True, **settings)
        self.snapshot()
        self.press("alt-a")

    def ask(self, question: str) -> Effects:
        self.write(question)
        return self.press("enter")

    def last(self, kind: type) -> Any:
        return [effect for effect in self.effects if isinstance(effect, kind)][-1]

    def say(self, *texts: str, calls: tuple[tuple[str, str, str], ...] = ()) -> Effects:
        chat = self.last(Chat)
        self.send(*(Output(chat.tag, text) for text in texts))
        if calls:
            self.send(ToolCalls(chat.tag, calls))
        return self.send(Ended(chat.tag, 0))

    def call(self, name: str, **arguments: Any) -> Effects:
        return self.say(calls=(("c1", name, json.dumps(arguments)),))

    def came_to(self, text: str, code: int = 0, stderr: str = "", *, is_cut: bool = False) -> Effects:
        command = self.last(RunCommand)
        return self.send(Output(command.tag, text), Ended(command.tag, code, stderr, is_cut))

    @property
    def told(self) -> str:
        """What the model was told of its last call."""
        message = self.last(Chat).messages[-1]
        assert message["role"] == "tool"
        content: str = message["content"]
        return content

    def side(self, width: int = 120, height: int = 40) -> str:
        """The sidebar's columns."""
        left = self.shell.sidebar.main_width(width)
        return "\n".join(line[left:].rstrip() for line in self.lines(width, height)[1:-2])


def test_without_an_endpoint_the_sidebar_says_how_to_set_one_up() -> None:
    driver = Driver()
    driver.snapshot()
    driver.press("alt-a")
    driver.write("hello")
    assert driver.press("enter") == []
    text = driver.text(200, 60)
    assert "[assistant]" in text and 'endpoint = "http://127.0.0.1:11434/v1"' in text and "hello" not in text
    driver.press("esc")
    assert not driver.shell.sidebar.is_focused
    driver.press("alt-a")
    assert "[assistant]" not in driver.text(120, 40)


def test_a_question_goes_to_the_model_with_what_the_person_sees() -> None:
    talk = Talk()
    (chat,) = talk.ask("what is this?")
    assert isinstance(chat, Chat)
    assert chat.messages[-1] == {"role": "user", "content": "what is this?"}
    assert chat.messages[0]["role"] == "system" and "The user looks at: Home." in chat.messages[0]["content"]
    assert {tool["function"]["name"] for tool in chat.tools} >= {"query", "list_jobs", "show_job", "request_retry"}
    talk.say("It is ", "quiet.")
    assert "It is quiet." in talk.side()
    assert not talk.shell.sidebar.turns.is_busy


def test_an_answer_is_shown_while_it_is_written() -> None:
    talk = Talk()
    talk.ask("why?")
    assert "thinking" in talk.side()
    talk.send(Output(talk.last(Chat).tag, "Because"))
    assert "Because" in talk.side() and "answering" in talk.side()


def test_the_next_question_carries_what_was_said_before() -> None:
    talk = Talk()
    talk.ask("one?")
    talk.say("two")
    talk.ask("three?")
    said = [(message["role"], message["content"]) for message in talk.last(Chat).messages[1:]]
    assert said == [("user", "one?"), ("assistant", "two"), ("user", "three?")]


def test_a_second_question_waits_until_the_first_is_answered() -> None:
    talk = Talk()
    talk.ask("one?")
    assert talk.ask("two?") == []
    assert talk.shell.sidebar.editor.text == "two?" and "still answering the last question" in talk.text()
    talk.say("yes")
    assert isinstance(talk.press("enter")[0], Chat)


def test_a_tool_is_carried_out_as_a_command_that_is_shown_and_its_output_goes_back() -> None:
    talk = Talk()
    talk.ask("what failed?")
    (command,) = talk.call("list_jobs", status="failed", limit=5)
    assert isinstance(command, RunCommand)
    assert command.args == ("jobs", "--json", "--limit", "5", "--status", "FAILED")
    assert command.is_logged and command.limit_bytes == TOOL_CHARACTERS
    assert "$ casparian jobs --json" in talk.side(200, 60)
    (chat,) = talk.came_to('[{"id": "ab"}]\n')
    assert isinstance(chat, Chat) and talk.told == '[{"id": "ab"}]\n'
    assert chat.messages[-2]["tool_calls"][0]["function"]["name"] == "list_jobs"
    talk.say("One job failed.")
    assert "One job failed." in talk.side()


def test_a_tool_that_fails_is_told_to_both() -> None:
    talk = Talk()
    talk.ask("look")
    talk.call("show_job", job_id="abcd1234")
    talk.came_to("", 3, "as of event 35\ncasparian: There is no job abcd1234.\n  casparian jobs lists them.\n")
    assert "failed: There is no job abcd1234." in talk.side(200, 60)
    assert "It ended with 3." in talk.told and "There is no job abcd1234" in talk.told


def test_output_that_was_cut_is_said_to_be_cut() -> None:
    talk = Talk()
    talk.ask("look")
    talk.call("query", sql="select 1")
    talk.came_to("x" * (TOOL_CHARACTERS + 5), is_cut=True)
    assert len(talk.told) < TOOL_CHARACTERS + 100 and "(cut:" in talk.told
    assert "(cut)" in talk.side()


@pytest.mark.parametrize(
    ("name", "arguments", "problem"),
    [
        ("rm", "{}", "There is no tool 'rm'"),
        ("query", "{", "not JSON"),
        ("query", "[1]", "must be an object"),
        ("query", "{}", "sql is missing"),
        ("show_job", '{"job_id": "--help"}', "is not a job's id"),
        ("show_job", '{"job_id": "abcd\\n"}', "is not a job's id"),
        ("list_jobs", '{"status": "--watch"}', "status must be one of"),
        ("list_jobs", '{"parser": "-x"}', "is not a parser"),
        ("list_jobs", '{"limit": "many"}', "limit must be a number"),
        ("tail_log", '{"lines": NaN}', "lines must be a number"),
        ("tail_log", '{"lines": 1e999}', "lines must be a number"),
        ("query", '{"sql": "select \\u0000"}', "sql holds control characters"),
        ("query", '{"sql": "select \\ud800"}', "sql holds control characters"),
        ("list_jobs", '{"home": "/"}', "there is no argument 'home'"),
        ("request_approval", '{"selector": "--reason"}', "is not a contract"),
        ("query", "[" * 100_000, "not JSON"),
    ],
)
def test_a_call_that_does_not_fit_is_refused_with_its_reason(name: str, arguments: str, problem: str) -> None:
    talk = Talk()
    talk.ask("do it")
    (chat,) = talk.say(calls=(("c1", name, arguments),))
    assert isinstance(chat, Chat) and problem in talk.told


def test_what_a_model_writes_never_becomes_an_option() -> None:
    command = tools.plan("query", json.dumps({"sql": "--out /tmp/x"}))
    assert isinstance(command, tools.Command) and command.args[-2:] == ("--", "--out /tmp/x")


def test_counts_are_kept_within_bounds() -> None:
    command = tools.plan("tail_log", '{"lines": 1000000}')
    assert isinstance(command, tools.Command) and command.args[-1] == "200"


def test_a_request_waits_for_the_person_and_is_carried_out_in_their_name() -> None:
    talk = Talk()
    failed = run_job(talk, 7, path="/data/venue.log")
    fail(talk, failed)
    talk.ask("try it again")
    assert talk.call("request_retry", job_id=failed) == []
    assert "Ctrl-Y decide" in talk.side() and "asks you" in talk.side()

    assert talk.press("ctrl-y") == []
    text = talk.text(120, 40)
    assert f"casparian job retry {failed}" in text and "/data/venue.log" in text

    (ask,) = talk.press("y")
    assert isinstance(ask, RunOperation)
    assert (ask.call, ask.cli) == (RETRY(job_id=failed), f"casparian job retry {failed}")
    (chat,) = talk.done(ask, job_id=failed, state="QUEUED")
    assert isinstance(chat, Chat) and "it is done" in talk.told and "QUEUED" in talk.told


def test_a_refusal_is_told_to_the_model_and_nothing_is_done() -> None:
    talk = Talk()
    talk.ask("cancel it")
    talk.call("request_cancel", job_id="abcd1234", reason="wrong file")
    talk.press("ctrl-y")
    assert "--reason 'wrong file'" in talk.text(120, 40)
    (chat,) = talk.press("n")
    assert isinstance(chat, Chat) and talk.told == "The user refused."
    assert not [effect for effect in talk.effects if isinstance(effect, RunOperation)]


def test_esc_leaves_a_request_open_to_be_decided_later() -> None:
    talk = Talk()
    talk.ask("approve")
    talk.call("request_approval", selector="fix@1.0/fix_orders")
    assert talk.press("ctrl-y", "esc") == []
    assert talk.shell.overlay is None and talk.shell.sidebar.turns.request is not None
    talk.press("ctrl-y")
    (ask,) = talk.press("enter")
    assert isinstance(ask, RunOperation) and ask.op == "decide_contract" and ask.call.packed()["approve"] is True


def test_a_request_that_fails_is_told() -> None:
    talk = Talk()
    talk.ask("retry")
    talk.call("request_retry", job_id="abcd")
    talk.press("ctrl-y")
    (ask,) = talk.press("y")
    assert isinstance(ask, RunOperation)
    talk.send(Failed(ask.tag, "There is no job abcd.", "List them."))
    assert "it failed: There is no job abcd." in talk.told


def test_letters_typed_while_a_request_comes_decide_nothing() -> None:
    talk = Talk()
    talk.ask("retry")
    talk.call("request_retry", job_id="abcd")
    assert talk.press("y", "enter") == []
    assert talk.shell.sidebar.turns.request is not None and talk.shell.overlay is None


def test_without_a_sentinel_no_changes_are_offered_and_none_is_taken() -> None:
    talk = Talk()
    talk.shell.present.gone("it stopped")
    talk.ask("retry")
    assert not [tool for tool in talk.last(Chat).tools if tool["function"]["name"].startswith("request_")]
    talk.call("request_retry", job_id="abcd")
    assert "Nothing can be changed now" in talk.told


def test_in_the_past_tools_look_at_the_past() -> None:
    talk = Talk()
    talk.event("JobQueued", **queued(job_id(1)))
    (asked,) = talk.press("ctrl-t")
    assert isinstance(asked, LoadPast)
    event = FeedEvent(1, talk.now_us, "JobQueued", 1, "test", queued(job_id(1)))
    talk.send(PastEvents(asked.tag, (event,)), Ended(asked.tag, 0))
    talk.ask("what was?")
    assert "as it was after event 1" in talk.last(Chat).messages[0]["content"]
    (command,) = talk.call("query", sql="select 1")
    assert isinstance(command, RunCommand) and command.args[-4:] == ("--as-of", "1", "--", "select 1")


def test_a_question_has_only_so_many_rounds_of_tools() -> None:
    talk = Talk()
    talk.ask("loop")
    for _ in range(TURNS):
        assert talk.last(Chat).tools
        talk.call("tail_log")
        talk.came_to("{}")
    assert talk.last(Chat).tools == ()
    assert talk.call("tail_log") == []
    assert "more than 8 rounds" in talk.side(200, 60) and not talk.shell.sidebar.turns.is_busy


def test_one_turn_has_only_so_many_calls() -> None:
    talk = Talk()
    talk.ask("many")
    talk.say(calls=tuple((f"c{n}", "rm", "{}") for n in range(CALLS + 3)))
    messages = talk.last(Chat).messages
    assert len([message for message in messages if message["role"] == "tool"]) == CALLS
    assert len(messages[2]["tool_calls"]) == CALLS
    assert "wanted 11 tools, more than 8 at once" in talk.side(200, 60)


def test_all_tools_of_a_question_together_tell_only_so_much() -> None:
    talk = Conversation()
    talk.ask("much")
    for number in range(20):
        talk.add_result(f"c{number}", "x" * 100_000)
    assert sum(len(message["content"]) for message in talk.rounds[-1]) < ROUND_CHARACTERS + 20 * 60


def test_every_call_is_answered_in_what_the_model_is_sent_whatever_is_stopped() -> None:
    talk = Talk()
    talk.ask("many")
    talk.say(calls=(("a", "tail_log", "{}"), ("b", "tail_log", "{}"), ("c", "request_retry", '{"job_id": "abcd"}')))
    (stop,) = talk.press("ctrl-x")
    assert stop == StopCommand(talk.last(RunCommand).tag)
    talk.ask("and now?")
    messages = talk.last(Chat).messages
    called = [call["id"] for message in messages for call in message.get("tool_calls", [])]
    assert [message["tool_call_id"] for message in messages if message["role"] == "tool"] == called == ["a", "b", "c"]


def test_a_stalled_answer_is_stopped_by_esc_and_the_next_esc_leaves_the_chat() -> None:
    talk = Talk()
    talk.ask("why?")
    chat = talk.last(Chat)
    talk.send(Output(chat.tag, "Beca"))
    assert talk.press("esc") == [StopCommand(chat.tag)]
    assert talk.shell.sidebar.is_focused and "(stopped)" in talk.side()
    talk.send(Output(chat.tag, "use"), Ended(chat.tag, 0))
    assert "Because" not in talk.side()
    talk.press("esc")
    assert not talk.shell.sidebar.is_focused and talk.shell.sidebar.is_open


def test_a_request_can_be_stopped_like_an_answer() -> None:
    talk = Talk()
    talk.ask("retry")
    talk.call("request_retry", job_id="abcd")
    assert talk.press("ctrl-x") == []
    assert talk.shell.sidebar.turns.request is None
    assert talk.press("ctrl-y") == [] and talk.shell.overlay is None


def test_an_error_of_the_server_is_said_and_the_next_question_works() -> None:
    talk = Talk()
    talk.ask("hello?")
    talk.send(
        Failed(talk.last(Chat).tag, "The assistant at http://127.0.0.1:9 does not answer: refused.", "Is it running?")
    )
    assert "does not answer" in talk.side(200, 60)
    (chat,) = talk.ask("again")
    assert isinstance(chat, Chat)


def test_an_endless_answer_is_cut() -> None:
    talk = Talk()
    talk.ask("talk")
    tag = talk.last(Chat).tag
    for _ in range(50):
        talk.send(Output(tag, "blah " * 1000))
    talk.send(Ended(tag, 0))
    assert len(talk.shell.sidebar.talk.rounds[-1][-1]["content"]) == 32_000
    assert sum("is left out" in entry.text for entry in talk.shell.sidebar.talk.entries) == 1


def test_a_long_conversation_drops_whole_rounds_from_its_beginning() -> None:
    talk = Conversation()
    for number in range(40):
        talk.ask(f"question {number}")
        talk.answered("", (("c", "tail_log", "{}"),))
        talk.add_result("c", "x" * 10_000)
        talk.answered("done", ())
    messages = talk.messages("Home")
    assert sum(len(message["content"]) for message in messages) <= SENT_CHARACTERS
    assert messages[1]["role"] == "user" and messages[1]["content"] != "question 0"
    assert messages[-4]["content"] == "question 39"


@pytest.mark.parametrize("width", [1, 7, 22, 60])
def test_hostile_answers_are_wrapped_cleaned_and_never_styled(width: int) -> None:
    text = "\x1b[31mred\x1b[0m \u202eevil\u202c 日本語テキスト " + "x" * 5000 + "\r\n\tend\x07\n" * 3
    rows = list(wrapped(text, max(2, width)))
    assert all(width_of(row) <= max(2, width) for row in rows)
    assert not set("\x1b\u202e\u202c\x07\r\t") & set("".join(rows))


def test_a_hostile_answer_leaves_the_frame_whole() -> None:
    talk = Talk()
    talk.ask("\U0001f600 why?")
    talk.say("\x1b]52;c;aGk=\x07 日本語 " * 30, "\n" * 50, "class:bad <b>bold</b>")
    for size in ((80, 24), (120, 40), (200, 60)):
        assert "\x1b" not in talk.text(*size)


def test_what_was_said_survives_closing_and_goes_on_meanwhile() -> None:
    talk = Talk()
    talk.ask("one?")
    talk.press("alt-a")
    assert "one?" not in talk.text(120, 40)
    talk.say("two")
    talk.press("alt-a")
    assert "one?" in talk.side() and "two" in talk.side()


def test_tab_goes_between_chat_and_main_and_letters_go_where_the_focus_is() -> None:
    talk = Talk()
    talk.write("ab")
    talk.press("tab")
    assert not talk.shell.sidebar.is_focused
    talk.press("j")
    assert talk.shell.sidebar.editor.text == "ab"
    talk.press("tab")
    talk.write("q")
    assert talk.shell.sidebar.editor.text == "abq" and not talk.shell.is_over
    talk.send(Scroll(5, 119, -1), Click(5, 2))
    talk.send(Click(5, 119))
    assert talk.shell.sidebar.is_focused


@pytest.mark.parametrize("key", ["alt-enter", "ctrl-j"])
def test_a_question_may_have_several_lines(key: str) -> None:
    talk = Talk()
    talk.write("a")
    talk.press(key)
    talk.write("b")
    (chat,) = talk.press("enter")
    assert isinstance(chat, Chat) and chat.messages[-1]["content"] == "a\nb"


def test_up_brings_the_last_question_back_and_paste_is_text() -> None:
    talk = Talk()
    talk.ask("first")
    talk.say("ok")
    talk.press("up")
    assert talk.shell.sidebar.editor.text == "first"
    talk.send(Paste("\x1b[Aq\nr"))
    assert "\x1b" not in talk.shell.sidebar.editor.text


def test_modes_can_be_changed_from_within_the_chat() -> None:
    talk = Talk()
    talk.press("alt-j")
    assert talk.shell.mode == "jobs" and not talk.shell.sidebar.is_focused and talk.shell.sidebar.is_open


def test_reading_back_is_not_disturbed_by_what_comes() -> None:
    talk = Talk()
    talk.ask("long")
    tag = talk.last(Chat).tag
    talk.send(Output(tag, "\n".join(f"row {n}" for n in range(100))))
    assert "row 99" in talk.side()
    talk.press("pgup")
    seen = talk.side()
    assert "row 99" not in seen
    talk.send(Output(tag, "\nmore"))
    assert talk.side() == seen
    talk.press("ctrl-up")
    assert talk.side() != seen
    talk.press("pgdn", "pgdn")
    assert "more" in talk.side()


def test_the_footer_shows_the_keys_of_the_chat_while_it_has_the_focus() -> None:
    talk = Talk()
    assert "send" in "".join(talk.lines(120, 40)[-2:])
    talk.press("tab")
    footer = "".join(talk.lines(120, 40)[-2:])
    assert "send" not in footer and "help" in footer
    talk.press("?")
    assert "See what the assistant asks for" in talk.text(120, 60)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40), (200, 60)])
def test_the_sidebar(width: int, height: int) -> None:
    talk = Talk()
    failed = run_job(talk, 7, path="/data/venue_nyse_20240115.log")
    fail(talk, failed)
    talk.ask("Why did the last job fail?")
    talk.call("show_job", job_id=failed)
    talk.came_to('{"error_code": "SCHEMA_MISMATCH"}')
    talk.say("Row 42 has a price that is no number, so the contract refused it. Shall I ask you to try it again?")
    talk.ask("Yes, please")
    talk.call("request_retry", job_id=failed)
    matches_snapshot(talk.side(width, height) + "\n", f"assistant_{width}x{height}")


@pytest.mark.parametrize(("width", "height"), [(80, 24), (120, 40)])
def test_the_sidebar_without_an_assistant(width: int, height: int) -> None:
    driver = Driver()
    driver.snapshot()
    driver.press("alt-a")
    left = driver.shell.sidebar.main_width(width)
    side = "\n".join(line[left:].rstrip() for line in driver.lines(width, height)[1:-2])
    matches_snapshot(side + "\n", f"assistant_none_{width}x{height}")


def test_the_sidebar_speaks_ascii_where_the_rest_does() -> None:
    talk = Talk(is_ascii=True)
    talk.ask("hello")
    assert talk.side().isascii()
