"""The cache of apps: one good read is needed, then the last one lasts."""

import threading

import pytest

from notify.telemetry import metrics
from notify.web.access.apps_cache import (
    AppsCache,
    AppsSnapshot,
    KnownApp,
    NotKnownYet,
    ReadFailed,
    TopicUnusable,
)
from tests.fake_web import APP


class Source:
    """What the cache reads; each read waits to be let through."""

    def __init__(self, *outcomes: AppsSnapshot | Exception) -> None:
        self._outcomes = list(outcomes)
        self._changed = threading.Condition()
        self._allowed = 0
        self.asked = 0

    def read(self) -> AppsSnapshot:
        """The next outcome; the last one from then on."""
        with self._changed:
            self.asked += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._allowed >= self.asked)
        outcome = self._outcomes.pop(0) if len(self._outcomes) > 1 else self._outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def allow(self, reads: int = 1) -> None:
        """Let so many reads happen, now or later."""
        with self._changed:
            self._allowed += reads
            self._changed.notify_all()

    def let(self, reads: int) -> None:
        """Let reads happen; returns when the cache has dealt with them and asks for the next."""
        self.allow(reads)
        with self._changed:
            assert self._changed.wait_for(lambda: self.asked > self._allowed, timeout=60)


GOOD = AppsSnapshot({APP: KnownApp(APP)}, 8)
OTHER = AppsSnapshot({}, 8)


def cache_of(source: Source) -> AppsCache:
    """A cache that reads as often as the source lets it."""
    return AppsCache(source.read, refresh_ms=1)


def stop(cache: AppsCache, source: Source) -> None:
    """End the cache's thread, which waits in a read."""
    source.allow(1_000)
    cache.close()


def test_nothing_is_read_before_the_first_use() -> None:
    source = Source(GOOD)
    cache_of(source)
    assert source.asked == 0


def test_the_first_request_waits_for_the_first_read() -> None:
    source = Source(GOOD)
    cache = cache_of(source)
    source.allow()
    assert cache.known() is GOOD
    stop(cache, source)


def test_without_a_good_read_nothing_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    source = Source(ReadFailed("away"), GOOD)
    cache = cache_of(source)
    source.allow()
    with pytest.raises(NotKnownYet, match="away"):
        cache.known()
    source.let(1)
    assert cache.known() is GOOD
    stop(cache, source)


def test_the_last_good_read_is_served_while_postgresql_is_away() -> None:
    source = Source(GOOD, ReadFailed("away"), ReadFailed("away"), OTHER)
    cache = cache_of(source)
    source.allow()
    assert cache.known() is GOOD
    before = metrics.WEB_APPS_READ_TIMESTAMP._value.get()
    source.let(2)
    assert cache.known() is GOOD
    assert metrics.WEB_APPS_READ_TIMESTAMP._value.get() == before
    source.let(1)
    assert cache.known() is OTHER
    assert metrics.WEB_APPS_READ_TIMESTAMP._value.get() > before
    stop(cache, source)


def test_a_topic_that_was_replaced_ends_it() -> None:
    """Updates sent to it would be lost, so the last good read must not be served."""
    source = Source(GOOD, TopicUnusable("the active topic is another"), GOOD)
    cache = cache_of(source)
    source.allow()
    assert cache.known() is GOOD
    source.let(1)
    with pytest.raises(NotKnownYet, match="another"):
        cache.known()
    stop(cache, source)
    assert cache.known() is GOOD
    stop(cache, source)
