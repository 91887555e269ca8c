"""Signals that a starter ignored or blocked, memory that is not there, and decimals and text as people read them."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casparian_shim import process
from casparian_shim.errors import ErrorCode
from casparian_shim.process import OomRisk, available_bytes, ensure_room
from casparian_shim.safe import PLAIN_EXPONENT_MAX, plain_decimal, scrub, shortest_decimal

# --- signals

SHOW = """
import signal, sys
from casparian_shim import process
process.reset_signals(keep={keep})
print([n.name for n in sorted(signal.pthread_sigmask(signal.SIG_BLOCK, ()))])
print(sorted(s.name for s in signal.valid_signals() if hasattr(s, "name") and signal.getsignal(s) is signal.SIG_IGN))
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""


def started_with(ignored: set[signal.Signals], blocked: set[signal.Signals], keep: str = "()") -> list[str]:
    """What a process sees after the reset, whose starter ignored and blocked these."""

    def prepare() -> None:
        for number in process.TERMINAL:  # a suite in the background ignores some of them itself
            signal.signal(number, signal.SIG_DFL)
        for number in ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, blocked)

    done = subprocess.run(
        [sys.executable, "-c", SHOW.format(keep=keep)],
        preexec_fn=prepare,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.splitlines()


def test_nothing_is_blocked_or_ignored_but_what_would_end_a_process_by_a_write() -> None:
    every = {signal.SIGCHLD, signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGUSR1}

    assert started_with(every, every) == ["[]", "['SIGPIPE', 'SIGXFSZ']", "True"]
    assert started_with(set(), set()) == ["[]", "['SIGPIPE', 'SIGXFSZ']", "True"]


def test_what_a_shell_arranged_for_a_command_may_stay() -> None:
    found = started_with({signal.SIGHUP, signal.SIGINT, signal.SIGCHLD}, {signal.SIGHUP}, "process.TERMINAL")

    assert found == ["[]", "['SIGHUP', 'SIGINT', 'SIGPIPE', 'SIGXFSZ']", "False"]
    assert {signal.SIGHUP, signal.SIGINT, signal.SIGQUIT} < process.TERMINAL


# --- memory


def test_a_small_batch_is_never_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("casparian_shim.process.available_bytes", lambda: 0)

    ensure_room(1024 * 1024 - 1)
    with pytest.raises(OomRisk):
        ensure_room(1024 * 1024)


@pytest.mark.parametrize(
    ("batch", "available", "fits"),
    [(10 << 20, 30 << 20, True), (10 << 20, (30 << 20) - 1, False), (1 << 40, None, True)],
)
def test_a_batch_needs_three_times_its_size(
    monkeypatch: pytest.MonkeyPatch, batch: int, available: int | None, fits: bool
) -> None:
    monkeypatch.setattr("casparian_shim.process.available_bytes", lambda: available)
    if fits:
        ensure_room(batch)
        return
    with pytest.raises(OomRisk) as refused:
        ensure_room(batch)
    assert refused.value.code is ErrorCode.OOM_RISK
    assert "Stream" in refused.value.remedy


def test_the_lesser_of_machine_and_address_space_is_available() -> None:
    code = (
        "import resource, os\n"
        "from casparian_shim import process\n"
        "machine = process.available_bytes()\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * os.sysconf('SC_PAGE_SIZE')\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20), resource.RLIM_INFINITY))\n"
        "print(machine, process.available_bytes())"
    )
    machine, limited = map(
        int, subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert limited <= 64 << 20 < machine
    found = available_bytes()
    assert found is not None
    assert resource.getrlimit(resource.RLIMIT_AS)[0] != resource.RLIM_INFINITY or found > 0


# --- decimals


@pytest.mark.parametrize(
    ("value", "plain", "shortest"),
    [
        ("0", "0", "0"),
        ("-0", "0", "0"),
        ("0E-10", "0.0000000000", "0"),
        ("-0.00", "0.00", "0"),
        ("1E+2", "100", "100"),
        ("185.60", "185.60", "185.6"),
        ("100", "100", "100"),
        ("0.0000000001", "0.0000000001", "0.0000000001"),
        ("-1.500", "-1.500", "-1.5"),
        ("NaN", "NaN", "NaN"),
        ("-Infinity", "-Infinity", "-Infinity"),
        (f"1E+{PLAIN_EXPONENT_MAX}", "1" + "0" * PLAIN_EXPONENT_MAX, "1" + "0" * PLAIN_EXPONENT_MAX),
        (f"1E+{PLAIN_EXPONENT_MAX + 1}", f"1E+{PLAIN_EXPONENT_MAX + 1}", f"1E+{PLAIN_EXPONENT_MAX + 1}"),
        (f"1E-{PLAIN_EXPONENT_MAX + 1}", f"1E-{PLAIN_EXPONENT_MAX + 1}", f"1E-{PLAIN_EXPONENT_MAX + 1}"),
        ("1E+999999", "1E+999999", "1E+999999"),  # a few bytes do not become megabytes of zeros
    ],
)
def test_a_decimal_reads_as_people_write_it(value: str, plain: str, shortest: str) -> None:
    assert plain_decimal(Decimal(value)) == plain
    assert shortest_decimal(Decimal(value)) == shortest


@given(st.decimals(allow_nan=False, allow_infinity=False, places=6), st.integers(-30, 30))
def test_every_spelling_says_the_same_number(value: Decimal, shift: int) -> None:
    with localcontext() as context:
        context.prec = 200
        shifted = value.scaleb(shift)
        assert Decimal(plain_decimal(shifted)) == Decimal(shortest_decimal(shifted)) == shifted
        assert shortest_decimal(shifted) == shortest_decimal(shifted * Decimal("1.000"))
    assert "E" not in plain_decimal(shifted)


# --- text


@pytest.mark.parametrize(
    ("text", "scrubbed"),
    [
        ("plain é €", "plain é €"),
        ("a\tb\nc\rd", "a\\tb\\nc\\rd"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\x00\x7f\x9b", "\\x00\\x7f\\x9b"),
        ("\u202eabc", "\\u202eabc"),
        ("a\u200bb\ufeff", "a\\u200bb\\ufeff"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("👍🏽", "👍🏽"),
    ],
)
def test_what_a_terminal_might_obey_is_shown(text: str, scrubbed: str) -> None:
    assert scrub(text) == scrubbed


@given(st.text(max_size=40))
def test_line_breaks_may_be_kept_and_nothing_else(text: str) -> None:
    assert scrub(text, keep_newlines=True) == "\n".join(scrub(line) for line in text.split("\n"))
