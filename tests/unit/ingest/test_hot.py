"""The sketch of hot records: what it misses is small, what it tells is bounded."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ingest.hot import BUCKET_MS, MERGED_KEYS, HotRecords, SpaceSaving
from ingest.ports import HotRow

Key = tuple[str, str]
_KEYS = st.sampled_from([("app", name) for name in "abcdefg"])
_UPDATES = st.dictionaries(_KEYS, st.integers(1, 9), max_size=5)
_CHUNKS = st.lists(st.tuples(_UPDATES, _UPDATES), max_size=12)
A, B, C = ("app", "a"), ("app", "b"), ("app", "c")


def _sketch(
    chunks: list[tuple[dict[Key, int], dict[Key, int]]], size: int
) -> tuple[SpaceSaving, Counter[Key]]:
    """The sketch of these chunks, and the truth."""
    sketch, truth = SpaceSaving(size), Counter[Key]()
    for direct, mirrored in chunks:
        sketch.merge(direct, mirrored)
        truth.update(direct)
        truth.update(mirrored)
    return sketch, truth


@given(_CHUNKS, st.integers(1, 4))
def test_no_record_above_its_share_is_missed(
    chunks: list[tuple[dict[Key, int], dict[Key, int]]], size: int
) -> None:
    sketch, truth = _sketch(chunks, size)
    share = truth.total() / size
    assert {key for key, n in truth.items() if n > share} <= sketch.counts.keys()
    assert len(sketch.counts) <= size


@given(_CHUNKS, st.integers(1, 4))
def test_a_total_is_at_least_the_truth_and_high_by_its_error_at_most(
    chunks: list[tuple[dict[Key, int], dict[Key, int]]], size: int
) -> None:
    sketch, truth = _sketch(chunks, size)
    for key, count in sketch.counts.items():
        assert count.total - count.error <= truth[key] <= count.total
        assert count.error <= truth.total() / size


@given(_CHUNKS)
def test_with_room_for_all_every_count_is_exact(
    chunks: list[tuple[dict[Key, int], dict[Key, int]]],
) -> None:
    sketch, _ = _sketch(chunks, 7)
    direct, mirrored = Counter[Key](), Counter[Key]()
    for chunk in chunks:
        direct.update(chunk[0])
        mirrored.update(chunk[1])
    for key, count in sketch.counts.items():
        assert (count.direct, count.mirrored, count.error) == (direct[key], mirrored[key], 0)
    assert sketch.counts.keys() == direct.keys() | mirrored.keys()


def test_a_newcomer_may_have_had_as_many_as_the_least() -> None:
    sketch = SpaceSaving(2)
    sketch.merge({A: 5, B: 3}, {})
    sketch.merge({C: 1}, {C: 1})
    assert sketch.counts.keys() == {A, C}
    newcomer = sketch.counts[C]
    assert (newcomer.direct, newcomer.mirrored, newcomer.error, newcomer.total) == (1, 1, 3, 5)


def test_a_flush_gives_what_is_new() -> None:
    hot = HotRecords(7, size=3)
    assert hot.add({A: 2}, {B: 1}, BUCKET_MS + 1) == []
    assert hot.flush() == [
        HotRow(BUCKET_MS, 7, *A, direct=2, mirrored=0, error=0),
        HotRow(BUCKET_MS, 7, *B, direct=0, mirrored=1, error=0),
    ]
    assert hot.flush() == []
    hot.add({A: 1}, {}, BUCKET_MS + 2)
    assert hot.flush() == [HotRow(BUCKET_MS, 7, *A, direct=1, mirrored=0, error=0)]


def test_what_waits_for_a_merge_is_bounded() -> None:
    hot = HotRecords(7, size=2)
    for number in range(MERGED_KEYS):
        hot.add({("app", f"{number}"): 1}, {("app", f"{number}"): 1}, BUCKET_MS)
        assert len(hot._direct) + len(hot._mirrored) < MERGED_KEYS
    assert len(hot.flush()) == 2


def test_totals_have_what_waits_for_a_merge() -> None:
    hot = HotRecords(7, size=2)
    hot.add({A: 2}, {A: 1}, BUCKET_MS)
    assert hot.totals() == [3]
    hot.add({B: 1}, {}, BUCKET_MS)
    assert sorted(hot.totals()) == [1, 3]


def test_a_bucket_that_ends_gives_its_rows_and_the_next_starts_empty() -> None:
    hot = HotRecords(7, size=1)
    hot.add({A: 2}, {}, BUCKET_MS)
    ended = hot.add({B: 1}, {}, 2 * BUCKET_MS)
    assert ended == [HotRow(BUCKET_MS, 7, *A, direct=2, mirrored=0, error=0)]
    assert hot.flush() == [HotRow(2 * BUCKET_MS, 7, *B, direct=1, mirrored=0, error=0)]


def test_what_was_flushed_is_not_given_again_when_the_bucket_ends() -> None:
    hot = HotRecords(7, size=1)
    hot.add({A: 2}, {}, BUCKET_MS)
    hot.flush()
    assert hot.add({A: 1}, {}, 2 * BUCKET_MS) == []


def test_a_record_that_comes_back_is_given_with_its_new_error() -> None:
    hot = HotRecords(7, size=1)
    given: dict[str, int] = {}
    for chunk in ({"a": 1}, {"b": 5}, {"a": 1}):
        hot.add({("app", record): n for record, n in chunk.items()}, {}, 10_000)
        for row in hot.flush():
            given[row.record] = given.get(row.record, 0) + row.direct + row.error
    assert given["a"] >= 2
    assert given["b"] >= 5
