"""Processes of web tell each other of deletions by a real Redis, and do without it."""

import uuid
from collections.abc import Iterator
from contextlib import closing
from urllib.parse import urlsplit

import pytest
import redis
from pytest_django import Settings

from notify.web.resources import deletions
from notify.web.resources.deleted import APPLIED_S, ASK_S, PAUSE_S, DeletedRecords
from notify.web.resources.deletions import KEPT_S, RedisDeletions
from tests.fake_producer import FakeProducer, FakeReads
from tests.fake_web import APP, STRICT_APP
from tests.qa.faults.wire import Wire

RECORD, OTHER = str(uuid.uuid4()), str(uuid.uuid4())


class _Rows(FakeReads):
    """Counts look-ups; `gone` are the deleted records."""

    def __init__(self) -> None:
        super().__init__(FakeProducer())
        self.gone: set[str] = set()
        self.asked = 0

    def is_deleted(self, app: str, record: str) -> bool:
        self.asked += 1
        return record in self.gone


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rows() -> _Rows:
    return _Rows()


@pytest.fixture
def key(redis_url: str, settings: Settings) -> Iterator[str]:
    """Where the words stand: a key of this test's own."""
    settings.REDIS_URL = redis_url
    settings.NOTIFY_NAMESPACE = f"t{uuid.uuid4().hex[:10]}"
    settings.NOTIFY_LIMIT_REDIS_TIMEOUT_MS = 5_000
    yield f"{settings.NOTIFY_NAMESPACE}.deletions"
    with redis.Redis.from_url(redis_url) as client:
        client.delete(f"{settings.NOTIFY_NAMESPACE}.deletions")


@pytest.fixture
def told(key: str) -> Iterator[RedisDeletions]:
    with closing(deletions.of_settings()) as told:
        yield told


def test_another_process_hears_of_a_deletion(
    told: RedisDeletions, rows: _Rows, clock: Clock
) -> None:
    one, other = (DeletedRecords(rows, told, clock=clock) for _ in range(2))
    assert not other.is_known(APP, RECORD)
    rows.gone.add(RECORD)
    one.note(APP)
    assert one.is_known(APP, RECORD)
    assert not other.is_known(APP, RECORD)  # it was there a moment ago, and nobody has asked since
    clock.now += ASK_S
    assert other.is_known(APP, RECORD)


def test_until_a_deletion_is_applied_the_record_is_not_remembered_as_there(
    told: RedisDeletions, rows: _Rows, clock: Clock
) -> None:
    one, other = (DeletedRecords(rows, told, clock=clock) for _ in range(2))
    for deleted in (one, other):
        assert not deleted.is_known(APP, RECORD)
    one.note(APP)
    clock.now += ASK_S
    for deleted in (one, other):
        assert not deleted.is_known(APP, RECORD)
    rows.gone.add(RECORD)
    for deleted in (one, other):
        assert deleted.is_known(APP, RECORD)


def test_each_deletion_is_another_word_and_other_apps_have_their_own(
    told: RedisDeletions, rows: _Rows, clock: Clock
) -> None:
    one, other = (DeletedRecords(rows, told, clock=clock) for _ in range(2))
    for _ in range(2):
        one.note(APP)
        clock.now += ASK_S
        assert not other.is_known(APP, RECORD)
        assert not other.is_known(STRICT_APP, RECORD)
        before = rows.asked
        assert not other.is_known(APP, RECORD)
        assert not other.is_known(STRICT_APP, RECORD)
        assert rows.asked == before + 1  # the other app's is remembered
        clock.now += APPLIED_S
    before = rows.asked
    for _ in range(2):
        assert not other.is_known(APP, RECORD)
    assert rows.asked == before + 1  # and this app's again, since its word is an old one


def test_words_end_by_themselves(told: RedisDeletions, key: str, redis_url: str) -> None:
    told.tell(APP)
    with redis.Redis.from_url(redis_url) as client:
        assert 0 < client.ttl(key) <= KEPT_S


def test_without_redis_updates_go_on_and_one_request_in_a_while_asks(
    key: str, redis_url: str, settings: Settings, rows: _Rows, clock: Clock
) -> None:
    settings.NOTIFY_LIMIT_REDIS_TIMEOUT_MS = 3_000
    at = urlsplit(redis_url)
    with closing(Wire(at.port or 6379)) as wire:
        netloc = at.netloc.removesuffix(f":{at.port}") + f":{wire.port}"
        settings.REDIS_URL = at._replace(netloc=netloc).geturl()
        with closing(deletions.of_settings()) as told:
            deleted = DeletedRecords(rows, told, clock=clock)
            assert not deleted.is_known(APP, RECORD)
            wire.cut()
            deleted.note(APP)  # raises nothing
            rows.gone.add(RECORD)
            assert deleted.is_known(APP, RECORD)  # this process knows by itself
            wire.heal()
            assert not deleted.is_known(STRICT_APP, OTHER)
            DeletedRecords(rows, RedisDeletions(told._client, key)).note(STRICT_APP)
            rows.gone.add(OTHER)
            clock.now += ASK_S
            assert not deleted.is_known(STRICT_APP, OTHER)
            clock.now += PAUSE_S
            assert deleted.is_known(STRICT_APP, OTHER)
