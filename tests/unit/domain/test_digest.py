"""Digests of planned messages: what a Load must find again, and what it need not."""

import pytest

from notify.domain.engine import digest as digests
from notify.domain.engine.digest import Digests, Expected, Last, last_before
from notify.domain.errors import PlanUnreadable

BODIES = {offset: b"message %d" % offset for offset in range(3, 9)}
PLANNED = {offset: digests.of_message(body) for offset, body in BODIES.items()}


def _chunk(first: int, end: int, *holes: int) -> Digests:
    found = {n: PLANNED[n] for n in range(first, end) if n not in holes}
    return Digests(first, end, digests.encode(first, end, found))


def _expected(
    *chunks: Digests, last: Last | None = None, frontier: int = 3, planned: int = 7, start: int = 0
) -> Expected:
    return Expected(chunks, last, frontier=frontier, planned=planned, log_start=start)


def _replaced(expected: Expected, *offsets: int, other: int | None = None) -> int | None:
    """What is found where these messages are read, one of them another one."""
    for offset in offsets:
        expected.meet(offset, BODIES[offset] + (b"!" if offset == other else b""))
    return expected.replaced()


@pytest.mark.parametrize("holes", [(), (4,), (3, 6), (3, 4, 5, 6)])
def test_digests_are_read_as_they_were_written(holes: tuple[int, ...]) -> None:
    chunk = _chunk(3, 7, *holes)
    assert chunk.encoded is not None
    assert digests.decode(3, chunk.encoded) == {
        n: PLANNED[n] for n in range(3, 7) if n not in holes
    }


def test_a_chunk_without_holes_needs_four_bytes_a_message() -> None:
    assert len(_chunk(3, 9).encoded or b"") == 1 + 6 * 4


@pytest.mark.parametrize("encoded", [b"", b"\2", b"\0\1\2\3", b"\1\1\1\1\1"])
def test_what_is_no_digests_cannot_be_read(encoded: bytes) -> None:
    with pytest.raises((PlanUnreadable, ValueError)):
        digests.decode(0, encoded)


def test_all_that_was_planned_is_there() -> None:
    assert _replaced(_expected(_chunk(3, 5), _chunk(5, 7)), 3, 4, 5, 6) is None


@pytest.mark.parametrize("other", range(3, 7))
def test_the_first_other_message_is_named(other: int) -> None:
    expected = _expected(_chunk(3, 7))
    for offset in range(3, 7):
        expected.meet(offset, BODIES[offset] if offset < other else b"another")
    assert expected.replaced() == other


def test_a_missing_message_is_named_and_one_in_a_hole_too() -> None:
    assert _replaced(_expected(_chunk(3, 7)), 3, 4, 6) == 5
    assert _replaced(_expected(_chunk(3, 7, 5)), 3, 4, 5, 6) == 5
    assert _replaced(_expected(_chunk(3, 7)), 3, 6, other=6) == 4


def test_only_what_is_not_applied_is_expected_and_nothing_of_a_chunk_that_was_cut() -> None:
    expected = _expected(_chunk(3, 9)._replace(next=7), frontier=5)
    assert expected.first == 5
    assert _replaced(expected, 5, 6) is None


def test_the_last_message_is_expected_where_all_is_applied() -> None:
    last = Last(6, PLANNED[6], 7)
    assert _expected(last=last, frontier=7).first == 6
    assert _replaced(_expected(last=last, frontier=7), 6) is None
    assert _replaced(_expected(last=last, frontier=7), 6, other=6) == 6
    assert _replaced(_expected(last=last, frontier=7)) == 6


def test_a_message_after_the_last_one_was_never_planned() -> None:
    last = Last(4, PLANNED[4], 7)  # 5 and 6 were holes
    assert _replaced(_expected(last=last, frontier=7), 4, 5) == 5


def test_a_last_message_that_is_in_a_chunk_is_read_once() -> None:
    assert _expected(_chunk(3, 7), last=Last(6, 1, 7), frontier=6).first == 6
    assert _replaced(_expected(_chunk(3, 7), last=Last(6, 1, 7), frontier=6), 6) is None


def test_a_last_message_of_another_planned_or_deleted_since_is_not_expected() -> None:
    assert _expected(last=Last(4, 1, 6), frontier=7).first == 7
    assert _expected(last=Last(4, 1, 7), frontier=7, start=4).first == 4
    assert _expected(last=Last(4, 1, 7), frontier=7, start=9).first == 7
    assert _replaced(_expected(last=Last(4, 1, 7), frontier=7, start=5)) is None


def test_nothing_may_stand_after_a_last_message_that_retention_has_deleted() -> None:
    last = Last(4, PLANNED[4], 7)  # 5 and 6 were holes
    assert _expected(last=last, frontier=7, start=6).first == 6
    assert _replaced(_expected(last=last, frontier=7, start=6), 6) == 6


def _before(end: int, *chunks: Digests, last: Last | None = None, planned: int = 7) -> Last | None:
    return last_before(end, chunks, last, planned=planned)


def test_what_was_planned_may_end_earlier_and_its_last_message_is_known() -> None:
    chunks = _chunk(3, 5), _chunk(5, 7)
    assert _before(7, *chunks) == Last(6, PLANNED[6], 7)
    assert _before(6, *chunks) == Last(5, PLANNED[5], 6)
    assert _before(4, *chunks) == Last(3, PLANNED[3], 4)
    assert _before(3, *chunks) is None
    assert _before(6, _chunk(3, 7, 5)) == Last(4, PLANNED[4], 6)  # 5 was a hole


def test_the_last_message_stays_where_all_is_applied() -> None:
    last = Last(6, PLANNED[6], 7)
    assert _before(7, last=last) == last
    assert _before(8, last=last) is None
    assert _before(6, last=last) is None
    assert _before(7, last=last._replace(planned=6)) is None
    assert _before(7, Digests(3, 7, None), last=last) == last


def test_what_an_older_bridge_planned_without_digests_is_not_compared() -> None:
    expected = _expected(_chunk(3, 5), Digests(5, 7, None))
    assert _replaced(expected, 3, 4, 5, 6, other=5) is None
    expected = _expected(_chunk(3, 5), Digests(5, 7, None))
    assert _replaced(expected, 3, 4, 5, 6, other=4) == 4
