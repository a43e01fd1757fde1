"""Web learns which records were deleted, from a real PostgreSQL and a real Redis."""

import time
import uuid
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from django.db import connection
from pytest_django import Settings

from notify.domain.records import ids
from notify.models import Record, Topic
from notify.web import reads as module
from notify.web.reads import PostgresReads
from notify.web.resources import deletions
from notify.web.resources.deleted_list import DeletedList
from notify.web.resources.deletions import KEPT_S, DeletionsUnavailable, RedisDeletions
from tests.fake_web import APP, STRICT_APP
from tests.qa.faults.wire import Wire

RECORD, OTHER = str(uuid.uuid4()), str(uuid.uuid4())
NOW = datetime.now(UTC)


@pytest.fixture
def key(redis_url: str, settings: Settings) -> Iterator[str]:
    """The stream of this test alone."""
    settings.REDIS_URL = redis_url
    settings.NOTIFY_NAMESPACE = f"t{uuid.uuid4().hex[:10]}"
    settings.NOTIFY_LIMIT_REDIS_TIMEOUT_MS = 5_000
    key = f"{settings.NOTIFY_NAMESPACE}.deleted"
    yield key
    with redis.Redis.from_url(redis_url) as client:
        client.delete(key)


def test_processes_hear_each_deletion_once(key: str) -> None:
    with closing(deletions.of_settings()) as one, closing(deletions.of_settings()) as other:
        assert list(other.heard()) == []
        one.tell([(APP, RECORD), (STRICT_APP, RECORD)])
        one.tell([(APP, OTHER)])
        told = [(APP, RECORD), (STRICT_APP, RECORD), (APP, OTHER)]
        assert list(other.heard()) == told
        assert list(other.heard()) == []
        other.tell([(STRICT_APP, OTHER)])
        assert list(one.heard()) == [*told, (STRICT_APP, OTHER)]


def test_deletions_end_by_themselves_and_are_no_more_than_some(
    key: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deletions, "KEPT_MAX", 100)
    with closing(deletions.of_settings()) as told, redis.Redis.from_url(redis_url) as client:
        told.tell([(APP, RECORD)] * 1_000)
        assert 0 < client.ttl(key) <= KEPT_S
        assert KEPT_S > module.LIST_AGAIN_MAX_S
        assert 100 <= client.xlen(key) < 300  # Redis drops whole blocks of about a hundred


def test_the_version_of_rediss_protocol_does_not_matter(
    key: str, redis_url: str, settings: Settings
) -> None:
    with closing(deletions.of_settings()) as one:
        one.tell([(APP, RECORD)])
        one.tell([(APP, OTHER)])
    for version in (2, 3):
        settings.REDIS_URL = f"{redis_url}?protocol={version}"
        with closing(deletions.of_settings()) as told:
            assert list(told.heard()) == [(APP, RECORD), (APP, OTHER)]
            assert list(told.heard()) == []


def test_a_redis_that_is_away_raises(key: str, redis_url: str, settings: Settings) -> None:
    settings.NOTIFY_LIMIT_REDIS_TIMEOUT_MS = 3_000
    at = urlsplit(redis_url)
    with closing(Wire(at.port or 6379)) as wire:
        netloc = at.netloc.removesuffix(f":{at.port}") + f":{wire.port}"
        settings.REDIS_URL = at._replace(netloc=netloc).geturl()
        with closing(deletions.of_settings()) as told:
            told.tell([(APP, RECORD)])
            wire.cut()
            with pytest.raises(DeletionsUnavailable):
                told.tell([(APP, OTHER)])
            with pytest.raises(DeletionsUnavailable):
                told.heard()
            wire.heal()
            assert (APP, RECORD) in RedisDeletions(told._client, key).heard()


def record(*, deleted: bool) -> str:
    """The id of a new record."""
    id_ = str(uuid.uuid4())
    Record.objects.create(app=APP, id=id_, created_at=NOW, updated_at=NOW, deleted=deleted)
    return id_


def listed(reads: PostgresReads) -> DeletedList | None:
    """The list as of now."""
    reads._deleted_due = 0.0
    return reads.known("t").deleted


@pytest.fixture
def reads(transactional_db: None) -> Iterator[PostgresReads]:
    Topic.objects.create(id=uuid.uuid4(), name="t", partitions=4, active=True)
    with closing(PostgresReads(sessions=1)) as reads:
        yield reads


def test_deleted_records_are_listed(reads: PostgresReads) -> None:
    empty = listed(reads)
    assert empty is not None
    assert not empty.may_have(RECORD)
    gone, there = ({record(deleted=deleted) for _ in range(50)} for deleted in (True, False))
    found = listed(reads)
    assert found is not None
    assert len(found) == 50
    assert {each for each in gone | there if found.may_have(each)} == gone
    Record.objects.filter(id__in=gone).update(deleted=False)
    none = listed(reads)
    assert none is not None
    assert len(none) == 0


def test_more_deleted_records_than_the_limit_are_not_listed(
    reads: PostgresReads, settings: Settings
) -> None:
    settings.NOTIFY_DELETED_LISTED = 2
    for _ in range(2):
        record(deleted=True)
    found = listed(reads)
    assert found is not None
    assert len(found) == 2
    record(deleted=True)
    assert listed(reads) is None


def test_without_a_new_list_the_apps_are_known_and_the_last_list_is_used(
    reads: PostgresReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = record(deleted=True)
    last = listed(reads)
    broken = dict(module._QUERIES) | {"deleted": "SELECT pg_sleep(1/0), %(most)s"}
    monkeypatch.setattr(module, "_QUERIES", broken)
    assert listed(reads) is last
    assert last is not None
    assert last.may_have(gone)
    monkeypatch.undo()
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + module.LIST_FAILED_S - 1)
    assert reads.known("t").deleted is last
    monkeypatch.setattr(time, "monotonic", lambda: now + module.LIST_FAILED_S + 1)
    assert reads.known("t").deleted is not last


def test_the_first_read_of_the_apps_does_not_wait_for_the_list(reads: PostgresReads) -> None:
    assert reads.known("t").deleted is None
    assert reads.known("t").deleted is not None


def test_ids_that_follow_from_a_name_are_not_listed(reads: PostgresReads) -> None:
    named = (ids.record_id(APP, "email", "a@b.c"), ids.alias_id(APP, "user", "external_id", "u"))
    for each in named:
        assert ids.follows_from_a_name(each)
        Record.objects.create(app=APP, id=each, created_at=NOW, updated_at=NOW, deleted=True)
    other = record(deleted=True)
    found = listed(reads)
    assert found is not None
    assert len(found) == 1
    assert found.may_have(other)


def test_the_list_is_read_again_the_sooner_the_less_it_takes(
    reads: PostgresReads, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, takes_s = 1_000.0, 0.0
    original = reads._rows

    def rows(name: str, *args: Any) -> list[module.Row]:
        nonlocal now
        now += takes_s if name == "deleted" else 0
        return original(name, *args)

    monkeypatch.setattr(reads, "_rows", rows)
    monkeypatch.setattr(time, "monotonic", lambda: now)
    reads.known("t")  # the first one reads no list
    for tries_s, again_s in (
        (0.0, module.LIST_AGAIN_S),
        (0.1, 50.0),
        (9.0, module.LIST_AGAIN_MAX_S),
    ):
        takes_s = tries_s
        now += module.LIST_AGAIN_MAX_S
        began = now
        first = reads.known("t").deleted
        now = began + again_s - 0.01
        assert reads.known("t").deleted is first
        now = began + again_s
        assert reads.known("t").deleted is not first


def test_the_list_is_read_from_its_index(reads: PostgresReads) -> None:
    record(deleted=True)
    with connection.cursor() as cursor:
        cursor.execute("SET enable_seqscan = off")
        cursor.execute("EXPLAIN " + module._QUERIES["deleted"], {"most": 5})
        plan = "\n".join(row[0] for row in cursor.fetchall())
        cursor.execute("RESET enable_seqscan")
    assert "using record_deleted on record" in plan
    assert "Sort" not in plan
