"""What callers ask for and is refused is listed, but not without a bound."""

from ingest.hot import BUCKET_MS
from ingest.ports import SkippedRow
from ingest.refusals import Refusals
from notify.domain.records.decide import LINK_REFUSED, MIRROR_STOPPED, SKIPPED

APP, OTHER = "app", "other"
NOW = 5 * BUCKET_MS


def refused(record: str, *, app: str = APP, reason: str = LINK_REFUSED, at: int = 1) -> SkippedRow:
    return SkippedRow(app, record, reason, None, at, at, 1)


def test_records_up_to_the_bound_are_named_and_the_rest_is_counted() -> None:
    refusals = Refusals(2)
    kept = refusals.bounded([refused(record, at=n) for n, record in enumerate("abcd")], NOW)
    assert kept == [
        refused("a", at=0),
        refused("b", at=1),
        SkippedRow(APP, None, LINK_REFUSED, None, 2, 3, 2),
    ]


def test_a_record_that_is_named_stays_so_for_its_ten_seconds() -> None:
    refusals = Refusals(1)
    refusals.bounded([refused("a")], NOW)
    assert refusals.bounded([refused("b"), refused("a")], NOW + BUCKET_MS - 1) == [
        refused("a"),
        SkippedRow(APP, None, LINK_REFUSED, None, 1, 1, 1),
    ]
    assert refusals.bounded([refused("b")], NOW + BUCKET_MS) == [refused("b")]


def test_apps_have_a_bound_each_and_reasons_are_told_apart() -> None:
    refusals = Refusals(1)
    mine, others = refused("a"), refused("b", app=OTHER)
    assert refusals.bounded([mine, others], NOW) == [mine, others]
    rest = refusals.bounded([refused("c"), refused("c", reason=MIRROR_STOPPED)], NOW)
    assert [(row.record, row.reason, row.n) for row in rest] == [
        (None, LINK_REFUSED, 1),
        (None, MIRROR_STOPPED, 1),
    ]


def test_what_a_rule_drops_is_always_named() -> None:
    rows = [refused(record, reason=SKIPPED) for record in "abc"]
    assert Refusals(0).bounded(rows, NOW) == rows


def test_no_more_than_the_bound_is_remembered() -> None:
    refusals = Refusals(3)
    for n in range(1_000):
        refusals.bounded([refused(str(n))], NOW)
    assert len(refusals._named[APP]) == 3
