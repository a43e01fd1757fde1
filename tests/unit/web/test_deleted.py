"""Which records are looked up: those in the list of deleted ones, and those deleted lately."""

import uuid
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.web.reads import LIST_AGAIN_MAX_S
from notify.web.resources import deleted as module
from notify.web.resources.deleted import ACCEPTED_S, ASK_S, PAUSE_S, DeletedRecords
from notify.web.resources.deleted_list import DeletedList
from notify.web.resources.deletions import Deleted, DeletionsUnavailable
from tests.fake_producer import FakeProducer, FakeReads
from tests.fake_web import APP, STRICT_APP

#: Of version 4, as devices have, and with different beginnings.
RECORD, OTHER, THIRD = (f"{digit * 8}-0000-4000-8000-000000000000" for digit in "abc")


class Rows(FakeReads):
    """`gone` are the deleted records, `asked` those that were looked up."""

    def __init__(self) -> None:
        super().__init__(FakeProducer())
        self.gone: set[str] = set()
        self.asked: list[str] = []

    def is_deleted(self, app: str, record: str) -> bool:
        self.asked.append(record)
        return record in self.gone


class Told:
    """`Deletions` of another process: `news` are those that were not heard yet."""

    def __init__(self) -> None:
        self.news: list[Deleted] = []
        self.told: list[Deleted] = []
        self.away = False
        self.heard_n = 0

    def tell(self, deleted: Sequence[Deleted]) -> None:
        if self.away:
            raise DeletionsUnavailable
        self.told += deleted

    def heard(self) -> Sequence[Deleted]:
        self.heard_n += 1
        if self.away:
            raise DeletionsUnavailable
        news, self.news = self.news, []
        return news


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def rows() -> Rows:
    return Rows()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
def clock() -> Clock:
    return Clock()


def listing(*records: str) -> Callable[[], DeletedList]:
    """A list of these records that does not change."""
    found = DeletedList(b"".join(sorted(uuid.UUID(each).bytes[:4] for each in records)))
    return lambda: found


@given(st.sets(st.uuids(), max_size=50), st.sets(st.uuids(), max_size=50))
def test_a_list_has_its_records_and_those_that_begin_alike(
    records: set[uuid.UUID], others: set[uuid.UUID]
) -> None:
    listed = listing(*map(str, records))()
    assert len(listed) == len(records)
    prefixes = {each.bytes[:4] for each in records}
    for each in records | others:
        assert listed.may_have(str(each)) == (each.bytes[:4] in prefixes)


def test_only_listed_records_are_looked_up_and_the_answer_decides(rows: Rows) -> None:
    deleted = DeletedRecords(rows, listed=listing(RECORD, OTHER))
    rows.gone = {RECORD, THIRD}
    assert deleted.is_known(APP, RECORD)
    assert not deleted.is_known(APP, OTHER)  # created again since the list was read
    assert not deleted.is_known(APP, THIRD)
    assert rows.asked == [RECORD, OTHER]


def test_a_record_is_looked_up_for_longer_than_the_list_may_be_old() -> None:
    assert ACCEPTED_S > LIST_AGAIN_MAX_S


def test_without_a_list_each_record_is_looked_up(rows: Rows) -> None:
    deleted = DeletedRecords(rows, listed=lambda: None)
    rows.gone = {RECORD}
    assert deleted.is_known(APP, RECORD)
    assert not deleted.is_known(APP, OTHER)
    assert rows.asked == [RECORD, OTHER]


def test_a_record_whose_deletion_was_accepted_here_is_looked_up_before_it_is_listed(
    rows: Rows, told: Told, clock: Clock
) -> None:
    deleted = DeletedRecords(rows, told, listed=listing(), clock=clock)
    deleted.note(APP, [RECORD])
    assert told.told == [(APP, RECORD)]
    assert not deleted.is_known(APP, RECORD)  # not applied yet
    rows.gone = {RECORD}
    assert deleted.is_known(APP, RECORD)
    assert not deleted.is_known(STRICT_APP, RECORD)
    clock.now += ACCEPTED_S
    deleted.note(APP, [])
    assert not deleted.is_known(APP, RECORD)  # by now it must be in the list
    assert rows.asked == [RECORD, RECORD]


def test_other_processes_are_asked_once_in_a_while(rows: Rows, told: Told, clock: Clock) -> None:
    deleted = DeletedRecords(rows, told, listed=listing(), clock=clock)
    rows.gone = {RECORD}
    assert not deleted.is_known(APP, RECORD)
    told.news = [(APP, RECORD)]
    assert not deleted.is_known(APP, RECORD)
    assert told.heard_n == 1
    clock.now += ASK_S
    assert deleted.is_known(APP, RECORD)
    assert told.heard_n == 2


@pytest.mark.parametrize("fails", ["tell", "heard"])
def test_without_redis_it_is_not_asked_for_a_while(
    rows: Rows, told: Told, clock: Clock, fails: str
) -> None:
    deleted = DeletedRecords(rows, told, listed=listing(), clock=clock)
    rows.gone = {RECORD, OTHER}
    told.away = True
    if fails == "tell":
        deleted.note(APP, [OTHER])
        assert deleted.is_known(APP, OTHER)  # this process knows by itself
    assert not deleted.is_known(APP, RECORD)
    told.away, told.news = False, [(APP, RECORD)]
    asked = told.heard_n
    clock.now += PAUSE_S - 0.1
    assert not deleted.is_known(APP, RECORD)
    assert told.heard_n == asked
    clock.now += 0.1
    assert deleted.is_known(APP, RECORD)


def test_so_many_accepted_deletions_are_kept_the_newest(
    rows: Rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "ACCEPTED_MAX", 2)
    deleted = DeletedRecords(rows, listed=listing())
    rows.gone = {RECORD, OTHER, THIRD}
    deleted.note(APP, [RECORD, OTHER])
    deleted.note(APP, [RECORD, THIRD])  # RECORD is newer than OTHER now
    known = [deleted.is_known(APP, each) for each in (RECORD, OTHER, THIRD)]
    assert known == [True, False, True]
