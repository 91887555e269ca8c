"""What is queued and what is not: by content, once, and never half a file."""

import os

from tests.end_to_end.world import World, advice, lines, wait_for


def test_content_decides_what_is_queued(story: World) -> None:
    story.run("init")
    story.serve(2)
    story.register(advice())
    one = story.write("one.txt", lines(3))
    story.scan()
    assert story.ask("process")["jobs"]["completed"] == 1

    os.utime(one)  # touched
    story.scan()
    assert story.ask("process")["queued"] == 0

    one.write_text(lines(3).replace("A0", "B0"))  # one byte
    story.scan()
    assert story.ask("process")["queued"] == 1

    story.register(advice("1.1.0"))
    story.scan()
    assert story.ask("process")["queued"] == 0
    assert len(story.ask("jobs")) == 2


def test_of_identical_files_one_is_processed(story: World) -> None:
    first = story.write("same_1.txt", lines(4, start=50))
    story.write("same_2.txt", lines(4, start=50))
    story.scan()

    summary = story.ask("process")

    assert (summary["queued"], summary["rows"]) == (1, 4)
    copies = {os.path.basename(one["path"]): one["duplicate_of"] for one in story.ask("files")}
    assert copies["same_2.txt"] == str(first)
    assert copies["same_1.txt"] is None


def test_a_file_that_grows_while_it_is_read_is_not_published_half(story: World) -> None:
    story.stop()
    before = story.sql("select count(*) as n from advices")
    growing = story.write("growing.txt", "!grow\n" + lines(5, start=70))
    story.scan()
    story.run("start", "--workers", "1", "--detach")
    wait_for(lambda: bool(list((story.home / ".scratch").iterdir())), "the guest starts")

    with growing.open("a") as log:
        log.write(lines(2, start=80) + "!grown\n")

    def changed() -> list[str]:
        return [job["id"] for job in story.ask("jobs") if job["error_code"] == "INPUT_CHANGED"]

    wait_for(lambda: bool(changed()), "the change is noticed")
    assert story.sql("select count(*) as n from advices") == before
    (old,) = changed()
    story.run("job", "cancel", old)  # what it was to read is no longer there
    story.scan()  # the new content is a job of its own, which the daemon queues unasked
    summary = "select count(*) as n, count(distinct id) as ids from advices where id between 'A70' and 'A81'"
    wait_for(lambda: story.sql(summary) == [{"n": 7, "ids": 7}], "the whole file is published")
    story.stop()
