"""The shell: modes, overlays, search, messages, the command log. No terminal."""

from __future__ import annotations

from casparian_console.canvas import line_width
from casparian_console.messages import Click, Copy, Gone, Paste, Quit, RunOperation, Suspend
from casparian_console.overlays import Choose, TextView
from casparian_protocol.wire.operations.registry import PAUSE, RESUME
from tests.console.driving import Driver, matches_snapshot


def live() -> Driver:
    driver = Driver()
    driver.snapshot()
    return driver


def test_alt_keys_change_the_mode_and_escape_leads_home() -> None:
    driver = live()
    for key, mode in (
        ("alt-d", "discover"),
        ("alt-p", "bench"),
        ("alt-j", "jobs"),
        ("alt-i", "inspect"),
        ("alt-h", "home"),
    ):
        driver.press(key)
        assert driver.shell.mode == mode

    driver.press("alt-j", "esc")

    assert driver.shell.mode == "home"


def test_q_quits_at_home_and_nowhere_else() -> None:
    driver = live()
    assert Quit() not in driver.press("alt-j", "q")
    assert driver.press("esc", "esc", "alt-h", "q") == [Quit()]


def test_ctrl_c_asks_only_when_something_typed_would_be_lost() -> None:
    driver = live()
    assert driver.press("ctrl-c") == [Quit()]

    driver = live()
    driver.press("alt-i", "q")
    driver.write("select 1")
    assert driver.press("ctrl-c") == []
    assert "is not saved" in driver.text()
    assert driver.press("y") == [Quit()]


def test_help_lists_every_key_of_the_screen_and_of_the_shell() -> None:
    driver = live()
    driver.press("?")
    shown = driver.text(120, 60)

    for action in driver.shell.actions():
        assert action.help[:40] in shown, action.id


def test_the_palette_finds_an_action_by_its_letters_and_does_it() -> None:
    driver = live()
    driver.press("ctrl-p")
    driver.write("gotojobs")
    driver.press("enter")

    assert driver.shell.mode == "jobs"
    assert driver.shell.overlay is None


def test_an_action_of_another_screen_is_listed_and_says_where_it_belongs() -> None:
    driver = live()
    driver.press("alt-j", ":")
    driver.write("contracts that wait for appr")
    driver.press("enter")

    assert "belongs to Home" in driver.text()


def test_there_is_only_ever_one_overlay_and_escape_closes_it_first() -> None:
    driver = live()
    driver.press("alt-j", "?", "?", ":", "esc")

    assert driver.shell.overlay is None
    assert driver.shell.mode == "jobs"


def test_text_that_is_pasted_is_never_taken_for_keys() -> None:
    from casparian_console.messages import Paste

    driver = live()
    assert driver.send(Paste("q\x03")) == []
    assert not driver.shell.is_over


def test_an_action_shows_its_command_line_its_outcome_and_a_way_back() -> None:
    driver = live()
    back = RunOperation(("home", "x"), RESUME(parser="fix"), "casparian parser resume fix")
    ask = RunOperation(("home", "x"), PAUSE(parser="fix"), "casparian parser pause fix", "fix is paused", back)
    driver.shell._noted([ask])
    driver.done(ask)
    assert "fix is paused   (U takes it back)" in driver.text()

    assert driver.press("U") == [back]

    driver.fail(back.tag, "There is no parser fix.", "`casparian parser list` shows them.")
    assert "There is no parser fix." in driver.text()
    driver.press("esc", "!")
    shown = driver.text(120, 40)
    assert "casparian parser pause fix  ok" in shown
    assert "casparian parser resume fix  failed: There is no parser fix." in shown
    assert driver.press("y") == [Copy("casparian parser pause fix\ncasparian parser resume fix")]


def test_nothing_is_changed_without_a_sentinel() -> None:
    from casparian_console.messages import Gone

    driver = live()
    driver.event(
        "ContractProposed",
        contract_id="c1",
        scope_id="",
        parser="fix",
        version="1",
        output="o",
        contract_hash="",
        logic_hash="",
        columns=3,
    )
    driver.press("A")
    driver.send(Gone("No daemon answers for /home/op (no answer in time)."))

    assert driver.press("x") == []
    assert "nothing can be changed" in driver.text()
    assert "no daemon" in driver.text()


def test_a_choice_filters_while_one_types() -> None:
    driver = live()
    taken: list[str] = []

    def then(value: str) -> list[Copy]:
        taken.append(value)
        return []

    driver.shell.open(Choose("Which file?", [(f"/d/{n}", f"file {n}") for n in range(50)], then))  # type: ignore[arg-type]
    driver.write("file 4")
    driver.press("down", "enter")

    assert taken == ["/d/40"]


def test_hostile_text_in_a_message_is_made_visible() -> None:
    driver = live()
    driver.shell.say("evil\x1b[2J\u202ename", "bad")

    assert "evil\\x1b[2J\\u202ename" in driver.text()


def test_a_click_on_the_tabs_and_on_the_footer_is_a_key() -> None:
    from casparian_console.messages import Click

    driver = live()
    column = driver.lines()[0].index("Jobs")
    driver.send(Click(0, column))
    assert driver.shell.mode == "jobs"

    column = driver.lines()[-1].index("help")
    driver.send(Click(23, column))
    assert driver.shell.overlay is not None


def test_a_terminal_that_is_too_small_says_so() -> None:
    driver = live()
    assert "Too small" in driver.text(40, 10)


def test_help_and_palette_look_right() -> None:
    driver = live()
    driver.press(":")
    driver.write("quit the")
    matches_snapshot(driver.text(80, 24), "palette-80x24")


def test_what_was_said_while_no_sentinel_answered_goes_when_one_does() -> None:
    driver = live()
    driver.send(Gone("No daemon answers."))
    driver.fail(("inspect", "sql"), "Connection refused.")
    assert "Connection refused" in driver.text()

    driver.snapshot()

    assert "Connection refused" not in driver.text()


def test_a_failure_is_not_typed_away_and_does_not_stay_for_ever() -> None:
    driver = live()
    driver.fail(("inspect", "sql"), "It broke.")
    driver.press("j")
    assert "It broke." in driver.text()

    driver.tick(10)
    driver.press("j")

    assert "It broke." not in driver.text()


def test_help_is_never_cut_and_dims_what_does_not_work_right_now() -> None:
    for mode in ("home", "discover", "bench", "jobs", "inspect"):
        driver = live()
        driver.shell.go(mode)
        driver.press("?")
        assert isinstance(driver.shell.overlay, TextView)
        drawn = driver.shell.overlay.draw(76, 20, driver.shell.glyphs)
        assert len(drawn) == 20
        assert all(line_width(line) <= 72 for line in driver.shell.overlay.lines)
        keys = [line[1] for line in driver.shell.overlay.lines if len(line) > 1]
        styles = {text: style for style, text in keys}
        assert styles["U"] == "dim"
        assert styles["q"] == ("key" if mode == "home" else "dim")  # the last of them: quitting


def test_help_is_left_by_its_own_key_and_by_going_elsewhere() -> None:
    driver = live()
    driver.press("?", "?")
    assert driver.shell.overlay is None

    driver.press("?", "alt-j")

    assert (driver.shell.overlay, driver.shell.mode) == (None, "jobs")


def test_ctrl_z_gives_the_terminal_back_whatever_is_open() -> None:
    driver = live()
    for before in ((), ("?",), ("/", "x"), ("esc", "esc", "alt-i", "q")):
        driver.press(*before)
        assert driver.press("ctrl-z") == [Suspend()]


def test_the_palette_puts_first_what_is_called_so() -> None:
    driver = live()
    driver.press("alt-j", ":")
    driver.write("retr")
    lines = driver.lines(120, 40)
    first = next(at for at, line in enumerate(lines) if "retr " in line) + 2

    assert "Retry the job" in lines[first]


def test_every_mode_is_named_in_the_bar_of_a_narrow_terminal_and_can_be_clicked() -> None:
    driver = live()
    bar = driver.lines(80, 24)[0]
    for word, mode in (("Bench", "bench"), ("Jobs", "jobs"), ("Inspect", "inspect")):
        driver.send(Click(0, bar.index(word)))
        assert driver.shell.mode == mode


def test_a_lost_daemon_is_a_bar_over_the_screen_with_the_command_and_the_screen_is_pale() -> None:
    driver = live()
    before = driver.lines()
    driver.send(Gone("No daemon answers for /home/op (no answer in time)."))
    after = driver.lines()
    assert "The daemon does not answer." in after[1] and "`casparian start`" in after[1]
    assert after[2] == before[1]
    assert all("old" in style.split() for line in driver.shell.view(80, 24)[2:-2] for style, _ in line)

    driver.snapshot()
    assert driver.lines()[1] == before[1]


def test_a_daemon_that_was_stopped_is_not_said_to_be_lost() -> None:
    driver = live()
    driver.event("SentinelStopped", reason="asked to stop")
    driver.send(Gone("No daemon answers for /home/op (no answer in time)."))
    assert "The daemon was stopped." in driver.lines()[1]

    driver.snapshot()
    driver.send(Gone("No daemon answers for /home/op (no answer in time)."))
    assert "The daemon does not answer." in driver.lines()[1]


def test_a_lost_worker_is_announced() -> None:
    driver = live()
    driver.event("WorkerLost", worker_id="w2", reason="its process was killed by SIGKILL")

    assert "Worker w2 is lost: its process was killed by SIGKILL." in driver.text()


def test_help_begins_with_what_works_here_now() -> None:
    driver = Driver()
    driver.snapshot()
    driver.press("alt-j", "?")
    lines = [line.strip(" │") for line in driver.lines(100, 40)]
    begin = lines.index("Works here now")

    assert begin < 5
    assert any(line.startswith("f ") and "Filter by status" in line for line in lines[begin : begin + 20])
    assert not any("Cancel the job" in line for line in lines[begin : lines.index("Jobs  not right now")])


def test_a_slash_in_help_filters_the_keys_and_escape_shows_all_of_them_again() -> None:
    driver = Driver()
    driver.snapshot()
    driver.press("alt-j", "?", "/", *"pipeline")
    text = driver.text(100, 40)
    assert "Show or hide the pipeline header" in text
    assert "Filter by status" not in text
    driver.press("enter", "esc")
    assert "Filter by status" in driver.text(100, 40)
    driver.press("esc")
    assert driver.shell.overlay is None


def test_help_says_when_no_key_does_what_was_typed() -> None:
    driver = Driver()
    driver.press("?", "/", *"xyzzy")
    assert "No key does that." in driver.text(100, 40)


def test_a_dialog_shows_its_own_keys_in_the_lowest_line_and_says_what_is_done() -> None:
    driver = Driver()
    driver.snapshot()
    driver.shell.confirm("Cancel", "Cancel 2 jobs of fix 1.0.0?", [], details=["  a.log  00000001"])
    lines = driver.lines(100, 30)

    assert lines[-1].strip() == "Cancel: y or Enter: yes   n or Esc: no"
    assert any("a.log  00000001" in line for line in lines)
    assert "Sure?" not in "".join(lines)


def test_a_text_that_fits_offers_no_keys_for_scrolling() -> None:
    driver = Driver()
    driver.shell.open(TextView("Short", [[("", "one line")]]))
    assert "j/k" not in driver.text(100, 30)


def test_something_typed_that_no_operation_takes_is_said_and_nothing_is_asked() -> None:
    driver = live()
    driver.event("ContractProposed", contract_id="c" * 16, parser="fix", version="1.0.0", output="orders")
    driver.press("A", "x")
    driver.send(Paste("why " * 1000))

    assert driver.press("enter") == []
    assert "decide_contract: reason: String should have at most" in driver.text(200, 40)
