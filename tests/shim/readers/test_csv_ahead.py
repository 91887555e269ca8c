"""Blocks that threads read before it is their turn: the same rows and rejects, and no thread is left."""

from __future__ import annotations

import gc
import io
import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from casparian_shim import read_csv
from casparian_shim.readers.csv.ahead import Beforehand
from casparian_shim.readers.csv.block import Ordinary
from tests.shim.readers.test_segments import blocks_of

GOOD = b"".join(b'%d,"x, %d",y\n' % (number, number) for number in range(4_000))
FILES: dict[str, tuple[bytes, dict[str, Any]]] = {
    "clean": (b"a,b,c\n" + GOOD, {}),
    "bad record": (b"a,b,c\n" + GOOD + b"1,2\n" + GOOD, {}),
    "open quote": (b"a,b,c\n" + GOOD + b'1,"2,3\n' + GOOD + b'1,2",3\n' + GOOD, {}),
    "bad byte": (b"a,b,c\n" + GOOD + b"1,\xff,3\n" + GOOD, {}),
    "lines in a field": (b"a,b,c\n" + GOOD + b'1,"2\n2",3\n' * 50 + GOOD, {}),
    "footer": (b"a,b,c\n" + GOOD + b"total,1\n", {"footer": 1}),
    "tables": (b"a,b,c\n" + GOOD + b"d,e\n" + b"1,2\n" * 3_000, {"tables": {"one": "a,b,c$", "two": "d,e$"}}),
    "no header": (GOOD, {"columns": ["a", "b", "c"], "header": False}),
    "padded": (b"a,b,c\n" + GOOD + b"\0" * 700, {}),
}


def everything(data: bytes, options: dict[str, Any]) -> tuple[list[Any], list[Any]]:
    reader = read_csv(io.BytesIO(data), offsets=True, **options)
    batches = (each if isinstance(each, tuple) else (None, each) for each in reader.batches())
    rows = [(output, batch.to_pylist()) for output, batch in batches]
    return rows, [(bad.line, bad.reason, bad.raw) for bad in reader.rejected.first]


def threads() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name.startswith("read_csv")]


@pytest.mark.parametrize("name", FILES)
def test_threads_change_nothing(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, options = FILES[name]
    ran_in: set[str] = set()
    whole = Ordinary.whole

    def noting(*arguments: Any) -> Any:
        ran_in.add(threading.current_thread().name)
        return whole(*arguments)

    monkeypatch.setattr(Ordinary, "whole", noting)
    monkeypatch.setattr(Beforehand, "has_processors", True)
    with blocks_of(4_096):
        found = everything(data, options)
        assert len(ran_in) > 1, "no thread has read anything"
        for thread in threads():
            thread.join(10)
        assert not threads()
        monkeypatch.setattr(Beforehand, "has_processors", False)
        ran_in.clear()
        assert everything(data, options) == found
        assert ran_in == {threading.current_thread().name}


def test_a_reading_that_is_given_up_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Beforehand, "has_processors", True)
    with blocks_of(4_096):
        batches = read_csv(io.BytesIO(FILES["clean"][0])).batches()
        for _ in range(10):
            next(batches)
        assert threads()
        batches.close()
        del batches
        gc.collect()  # an iterator over rows knows its reader
        for thread in threads():
            thread.join(10)
        assert not threads()


def test_a_reading_may_be_collected_in_a_thread_of_its_own() -> None:
    class Lines(list[Any]):
        first = 1

    beforehand = Beforehand()
    ordinary: Any = SimpleNamespace(whole=lambda *_: beforehand.end())
    beforehand.begin(ordinary, [lines := cast(Any, Lines())])
    assert beforehand.whole(ordinary, lines, 0, 0) is None


def test_an_input_that_fails_gives_what_came_before(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            if self.tell() > 60_000:
                raise OSError("the disk is gone")
            return super().read(size)

    monkeypatch.setattr(Beforehand, "has_processors", True)
    rows = 0
    with blocks_of(4_096), pytest.raises(OSError, match="the disk is gone"):
        for batch in read_csv(Failing(FILES["clean"][0])).batches():
            rows += batch.num_rows
    assert rows > 2_000
