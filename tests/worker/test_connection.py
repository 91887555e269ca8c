"""What a worker that a person started says about its sentinel."""

from casparian_worker.connection import LEFT, NO_SENTINEL, REFUSED, Contact


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_it_announces_that_it_waits_and_for_whom_and_gives_up_with_3() -> None:
    said: list[str] = []
    clock = Clock()
    contact = Contact("home /h", said.append, 30.0, clock)
    waits = []
    for _ in range(31):
        waits.append(contact.keeps_waiting())
        clock.now_s += 1.0

    assert waits == [True] * 30 + [False]
    assert said == [
        "waiting up to 30 s for a daemon: home /h",
        "No daemon answered for 30 s: home /h. `casparian start` starts one.",
    ]
    assert contact.status == NO_SENTINEL


def test_a_lost_sentinel_is_told_once_and_waited_for_without_end() -> None:
    said: list[str] = []
    clock = Clock()
    contact = Contact("home /h", said.append, 30.0, clock)
    contact.welcomed()
    for _ in range(3):
        contact.lost()
        clock.now_s += 3600.0
        assert contact.keeps_waiting()
    contact.welcomed()

    gone = "the daemon is gone; this worker keeps trying until it is back (Ctrl-C ends it)"
    assert said == ["joined", gone, "joined again"]
    assert contact.status == LEFT


def test_a_terminal_or_disk_that_takes_no_text_ends_no_worker() -> None:
    def refuse(text: str) -> None:
        raise OSError(28, "No space left on device")

    contact = Contact("home /h", refuse, 30.0, Clock())
    contact.welcomed()
    contact.lost()
    assert contact.keeps_waiting()


def test_a_managed_worker_says_nothing_to_anybody() -> None:
    clock = Clock()
    contact = Contact("home /h", None, 0.0, clock)
    clock.now_s += 3600.0
    assert contact.keeps_waiting()
    contact.refused("its name is taken")
    assert contact.status == REFUSED
