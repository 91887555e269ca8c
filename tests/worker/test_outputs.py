"""Row numbers over accepted and rejected rows."""

from hypothesis import given
from hypothesis import strategies as st

from casparian_worker.execute.outputs import RowNumbers


def listed(given_numbers: object, count: int) -> list[int]:
    if isinstance(given_numbers, int):
        return list(range(given_numbers, given_numbers + count))
    return list(given_numbers.to_pylist())  # type: ignore[attr-defined]


@given(st.lists(st.booleans(), max_size=60), st.integers(1, 7))
def test_every_row_gets_the_number_of_its_turn(is_rejected: list[bool], batch_rows: int) -> None:
    numbers, accepted = RowNumbers(), [place for place, bad in enumerate(is_rejected) if not bad]
    got: list[int] = []
    sent_until = 0
    for start in range(0, len(accepted), batch_rows):
        batch = accepted[start : start + batch_rows]
        numbers.take([place for place in range(sent_until, batch[-1]) if is_rejected[place]])
        sent_until = batch[-1]
        got += listed(numbers.give(len(batch)), len(batch))
    assert got == accepted


def test_a_long_run_of_rejected_rows_costs_no_memory() -> None:
    numbers = RowNumbers()
    for start in range(0, 100_000, 1000):
        numbers.take(range(start + 1, start + 1001))
    assert len(numbers._runs) == 1
    assert listed(numbers.give(2), 2) == [0, 100_001]


def test_repeated_and_late_numbers_of_a_hostile_guest_do_no_harm() -> None:
    numbers = RowNumbers()
    assert numbers.give(3) == 0
    numbers.take([1, 1, 4, 4, 2**62])
    assert listed(numbers.give(3), 3) == [3, 5, 6]
