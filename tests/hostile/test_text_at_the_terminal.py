"""Names and texts that come out of data, files and parsers reach no terminal as anything but visible characters."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from casparian_shim.safe import scrub
from tests.end_to_end.world import World, run_here, wait_for

#: A title, colours, a cleared screen, C1, a line of its own, a carriage return, a right-to-left override, a zero-width space.
EVIL = "\x1b]0;owned\x07\x1b[31m\x1b[2J\x9b5m\r\u202eevil\u200b\x00"
NASTY = EVIL.replace("\x00", "")
PARSER = f"""
name, version, topics, dependencies = "evil", "1.0.0", ["evil"], []
outputs = {{"rows": {{"columns": [{{"name": "id", "type": "int64"}}], "mode": "allow_extra"}}}}

def parse(path, ctx):
    text = ctx.file.read().decode("utf-8", "replace")
    evil = {EVIL!r}
    print("says", evil)
    ctx.log.warning("logs %s", evil)
    ctx.skip("because " + evil)
    if "boom" in text:
        raise ValueError("fails with " + evil + "\\n  [CIRCUIT_BREAKER] a second line")
    ctx.reject("rows", {{"id": evil, evil: evil}}, "rejects " + evil, raw=evil)
    yield {{"id": "x" + evil, evil: evil}}
    for number in range(30):
        yield {{"id": number, evil: evil}}
"""


def require_harmless(said: str, what: str) -> None:
    """Newlines are the command's own: nothing of a stranger may begin a line. Tabs are those of `sql` in a pipe."""
    plain = said.replace("\t", " ") if what.startswith("sql") else said
    assert plain == scrub(plain, keep_newlines=True), f"{what}: {said!r}"
    for line in said.splitlines():
        assert not line.startswith(("evil", "  [CIRCUIT_BREAKER]")) or line.startswith("evil "), f"{what}: {line!r}"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> World:
    story = World(tmp_path_factory.mktemp("evil"))
    story.run("init")
    (story.root / "evil.py").write_text(PARSER)
    story.run("parser", "register", "--no-tests", story.root / "evil.py")
    story.run("contract", "approve", "evil")
    story.inbox.mkdir()
    for text, name in (("rows", f"good{NASTY}\n.txt"), ("boom", f"bad{NASTY}.txt")):
        (story.inbox / name).write_text(f"{text},{NASTY}\n1,2\n")
    (Path(os.fsdecode(os.fsencode(story.inbox) + b"/\xff\x1b[31m.txt"))).write_text("boom\n")
    story.run("scan", story.inbox, "--tag", "evil")
    story.run("process", status=1)
    return story


COMMANDS: list[list[str]] = [
    ["files"], ["jobs"], ["errors", "list"], ["quarantine", "list"], ["outputs", "list"], ["outputs", "show", "rows"],
    ["parser", "list"], ["parser", "show", "evil"], ["contract", "list"], ["source", "list"], ["rule", "list"], ["status"],
    ["log", "tail"], ["sql", "select * from rows"],
    ["sql", f'select 1 as "{NASTY}", \'{NASTY}\' as b'], ["sql", f'select "{NASTY}"'],
    ["sql", "--format", "table", f"""select 1 as "{NASTY}", '{NASTY}' as "b\nc" """],
    ["sql", "--format", "table", "select * from quarantine.rows"],
    ["files", "--tag", NASTY], ["parser", "show", NASTY], ["job", "show", NASTY], ["outputs", "show", NASTY],
    ["tag", NASTY, NASTY], ["rule", "add", NASTY, NASTY], ["source", "add", NASTY, NASTY], ["config", "show", NASTY],
]  # fmt: skip


def said_by(world: World, *arguments: str | Path) -> str:
    """Whatever the command says, and whatever its status is."""
    done = run_here("--home", world.home, *arguments)
    assert "Traceback" not in done.stderr, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: scrub(" ".join(command))[:60])
def test_no_command_hands_on_what_a_terminal_would_obey(scene: World, command: list[str]) -> None:
    require_harmless(said_by(scene, *command), " ".join(command))


def test_files_and_jobs_are_shown_with_every_character_visible(scene: World) -> None:
    jobs = scene.ask("jobs")
    for job in jobs["jobs"] if isinstance(jobs, dict) else jobs:
        for words in (["job", "show"], ["job", "logs"], ["story"]):
            require_harmless(said_by(scene, *words, job["id"]), " ".join(words))
    for path in scene.inbox.iterdir():
        for words in (
            ["preview"],
            ["preview", "--raw"],
            ["run", str(scene.root / "evil.py")],
            ["tag", str(path), "more"],
        ):
            arguments = words if words[0] == "tag" else [*words, str(path)]
            require_harmless(said_by(scene, *arguments), " ".join(words))
        require_harmless(
            said_by(scene, "new", "parser", "drafted", "--from", str(path), "--dir", str(scene.root / "new")), "new"
        )


def test_the_console_and_the_daemons_log_hold_no_such_character(scene: World) -> None:
    scene.run("start", "--workers", "1", "--detach")
    try:
        (scene.inbox / f"late{NASTY}.txt").write_text("boom late\n")
        scene.run("scan", scene.inbox, "--tag", "evil")
        wait_for(lambda: scene.ask("status")["queue"]["queued"] == 0, "the queue is empty")
        for screen in ("j", "d"):
            picture = scene.root / f"screen-{screen}.txt"
            script = f"wait:live alt-{screen} wait:idle"
            require_harmless(said_by(scene, "console", "--screenshot", picture, "--script", script), script)
            shown = picture.read_text()
            assert shown == scrub(shown, keep_newlines=True), script
    finally:
        scene.run("stop")
    for path in (scene.home / "logs").rglob("*.log"):
        text = path.read_text(errors="surrogateescape")
        assert text == scrub(text, keep_newlines=True), path
