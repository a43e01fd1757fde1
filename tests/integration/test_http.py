"""The views on real PostgreSQL and Kafka: what is cached, what is read, what outlives an outage."""

import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from kafka import KafkaConsumer, TopicPartition
from pytest_django import Settings

from notify.domain.engine.lanes import partition_of
from notify.domain.records import nobody
from notify.domain.records import update as updates
from notify.kafka.topic import Topics
from notify.models import App, Record, Stream
from notify.operations import app_keys, streams
from notify.web import wiring
from notify.web.access.apps_cache import AppsCache
from notify.web.reads import PostgresReads, ReadsAway
from notify.web.resources.deleted import DeletedRecords
from tests import sampled_incident
from tests.fake_web import PLAYER, Answer, Requests
from tests.waiting import wait_for

pytestmark = pytest.mark.django_db(transaction=True)
PARTITIONS = 3


@dataclass
class Real(Requests):
    """The API on the services themselves."""

    app: App
    topic: str
    servers: list[str]

    def put(self, app: str, key: str = "") -> Answer:
        """An update of PLAYER."""
        return self.call("PUT", f"/players/{PLAYER}", {"app_id": app, "tags": {"a": "b"}}, key=key)

    def soon(self, holds: Callable[[], bool]) -> None:
        """Wait for the cache's next reads."""
        wait_for(holds, every_s=0.01)


@pytest.fixture
def web(
    kafka: list[str], namespace: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Real]:
    """A topic, an app with a key, and the services that a web process makes of its settings."""
    settings.MIDDLEWARE = ["notify.web.http.edge.ApiFirst"]
    settings.KAFKA_BOOTSTRAP_SERVERS = kafka
    settings.NOTIFY_TOPIC = namespace
    settings.NOTIFY_APPS_REFRESH_MS = 20
    # Nothing here is to end because the machine is slow.
    settings.NOTIFY_ACK_TIMEOUT_MS = settings.NOTIFY_READ_DEADLINE_MS = 60_000
    settings.NOTIFY_STALLED_AFTER_MS = 120_000
    settings.NOTIFY_START_GRACE_S = 600
    with Topics(kafka, timeout_ms=60_000) as topics:
        topics.create(namespace, partitions=PARTITIONS, replication=1)
        streams.adopt(topics, namespace, lanes=2, abandon=False)
    app, key = app_keys.create_app("shop", requires_key=False)
    with ExitStack() as at_end:
        services = wiring.build(at_end)
        monkeypatch.setattr(wiring, "services", lambda: services)
        yield Real(services, key.secret, app=app, topic=namespace, servers=kafka)


def values(web: Real) -> list[bytes]:
    """The messages in the app's partition."""
    at = TopicPartition(web.topic, partition_of(str(web.app.id), PARTITIONS))
    consumer = KafkaConsumer(bootstrap_servers=web.servers, group_id=None, enable_auto_commit=False)
    consumer.assign([at])
    end = consumer.end_offsets([at])[at]
    consumer.seek(at, 0)
    found: list[bytes] = []
    deadline = time.monotonic() + 180
    while len(found) < end and time.monotonic() < deadline:
        for batch in consumer.poll(timeout_ms=100).values():
            found += [message.value for message in batch]
    consumer.close(autocommit=False)
    return found


def test_what_is_answered_200_stands_in_kafka(web: Real) -> None:
    assert web.call("GET", "/healthz/ready").status == 200
    assert web.put(str(web.app.id)).status == 200
    items = [{"record": str(uuid.uuid4()), "tags": {"n": n}} for n in range(200)]
    path = f"/apps/{web.app.id}/batch"
    assert web.call("POST", path, {"updates": items}, key=web.secret).status == 202
    read = [updates.parse(value) for value in values(web)]
    assert [update.record for update in read] == [PLAYER, *(item["record"] for item in items)]


def test_apps_and_keys_are_learnt_and_forgotten_within_a_refresh(web: Real) -> None:
    app = str(web.app.id)
    assert web.put(app, web.secret).status == 200
    rotated = app_keys.rotate(web.app)
    web.soon(lambda: web.put(app, rotated.secret).status == 200)
    assert web.put(app, web.secret).status == 200
    app_keys.revoke(web.app.keys.order_by("created_at")[0])
    web.soon(lambda: web.put(app, web.secret).status == 403)
    assert web.put(app, rotated.secret).status == 200
    other, key = app_keys.create_app("strict", requires_key=True)
    web.soon(lambda: web.put(str(other.id), key.secret).status == 200)
    assert web.put(str(other.id)).status == 401
    assert web.put(str(other.id), rotated.secret).status == 403
    App.objects.filter(id=other.id).update(enabled=False)
    web.soon(lambda: web.put(str(other.id), key.secret).status == 403)


def test_postgresql_being_away_does_not_stop_updates(
    web: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = str(web.app.id)
    assert web.put(app).status == 200
    monkeypatch.setitem(connection.settings_dict, "PORT", "1")
    _end_sessions_of_web()
    web.soon(lambda: web.services.apps._problem != "")
    assert web.put(app).status == 200
    assert web.call("GET", "/healthz/ready").status == 200
    assert web.call("GET", "/healthz/pipeline").status == 503
    assert web.call("GET", f"/players/{PLAYER}?app_id={app}").status == 503
    monkeypatch.undo()


def test_a_session_that_postgresql_ended_is_made_anew(web: Real) -> None:
    path = f"/players/{PLAYER}?app_id={web.app.id}"
    for _ in range(2):
        assert web.call("GET", path).status == 404
        _end_sessions_of_web()


def _end_sessions_of_web() -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE application_name = 'notify-web' AND datname = current_database()"
        )


def test_nothing_is_known_before_a_topic_is_active(web: Real, settings: Settings) -> None:
    assert web.put(str(web.app.id)).status == 200
    settings.NOTIFY_TOPIC = "another"
    web.soon(lambda: web.put(str(web.app.id)).status == 503)
    answer = web.call("GET", "/healthz/ready")
    assert answer.status == 503
    assert "another" in answer.body["errors"][0]


def test_a_record_is_shown(web: Real) -> None:
    at = datetime(2026, 1, 1, 0, 0, 0, 900_000, tzinfo=UTC)
    fields = {
        "app": web.app.id,
        "id": uuid.UUID(PLAYER),
        "kind": "push",
        "identifier": "token",
        "tags": {"plan": "gold", "n": 1},
        "properties": {"language": "de", "private": 1},
        "session_count": 3,
        "spent_micros": 1_500_000,
        "created_at": at,
        "updated_at": at,
    }
    Record.objects.create(**fields)
    path = f"/players/{PLAYER}?app_id={web.app.id}"
    assert web.call("GET", path).body == {"id": PLAYER, "tags": {"plan": "gold", "n": 1}}
    assert web.call("GET", path, key=web.secret).body == {
        "id": PLAYER,
        "identifier": "token",
        "language": "de",
        "tags": {"plan": "gold", "n": 1},
        "session_count": 3,
        "playtime": 0,
        "amount_spent": 1.5,
        "created_at": 1_767_225_600,
    }
    Record.objects.filter(id=PLAYER).update(deleted=True)
    assert web.call("GET", path, key=web.secret).status == 404


def test_the_pipeline_as_postgresql_shows_it(web: Real) -> None:
    answer = web.call("GET", "/healthz/pipeline")
    assert [error.split(":")[0] for error in answer.body["errors"]] == [
        f"partition {number} is starting" for number in range(PARTITIONS)
    ]
    Stream.objects.update(ticked_at=datetime.now(UTC))
    answer = web.call("GET", "/healthz/pipeline")
    assert [error.split(":")[0] for error in answer.body["errors"]] == [
        f"partition {number} is unknown" for number in range(PARTITIONS)
    ]
    for each in Stream.objects.all():
        sampled_incident.sampled(each)
    assert web.call("GET", "/healthz/pipeline").body == {"status": "ok", "partitions": PARTITIONS}
    Stream.objects.filter(partition=1).update(ticked_at=datetime.now(UTC) - timedelta(minutes=5))
    Stream.objects.filter(partition=2).update(halted="the topic id differs")
    answer = web.call("GET", "/healthz/pipeline")
    assert [error.split(":")[0] for error in answer.body["errors"]] == [
        "partition 1 is stalled",
        "partition 2 is halted",
    ]


def test_reads_that_hang_hold_few_threads(web: Real) -> None:
    reads = PostgresReads(sessions=0)
    with pytest.raises(ReadsAway, match="too many"):
        reads.streams()


def test_a_player_is_looked_up_and_refused_if_it_is_listed_as_deleted(
    web: Real, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = str(web.app.id)
    web.soon(lambda: web.services.apps.known().deleted is not None)
    asked: list[str] = []

    def is_deleted(reads: PostgresReads, app: str, record: str) -> bool:
        asked.append(record)
        return original(reads, app, record)

    original = PostgresReads.is_deleted
    monkeypatch.setattr(PostgresReads, "is_deleted", is_deleted)
    assert web.put(app).status == 200
    assert not asked
    row = {"app": app, "id": PLAYER, "created_at": datetime.now(UTC)}
    Record.objects.create(**row, updated_at=datetime.now(UTC), deleted=True)
    web.soon(lambda: web.put(app).status == 400)
    Record.objects.update(deleted=False)
    assert web.put(app).status == 200
    assert set(asked) == {PLAYER}


def test_a_look_up_of_what_was_deleted_has_a_deadline(web: Real) -> None:
    """Somebody holds the table: the update is taken."""
    row = {"app": web.app.id, "id": PLAYER, "created_at": datetime.now(UTC)}
    Record.objects.create(**row, updated_at=datetime.now(UTC), deleted=True)
    with closing(PostgresReads(sessions=1, deadline_ms=5_000)) as reads:
        assert DeletedRecords(reads).is_known(str(web.app.id), PLAYER)
        Record.objects.update(deleted=False)
        assert not DeletedRecords(reads).is_known(str(web.app.id), PLAYER)
        Record.objects.update(deleted=True)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("LOCK TABLE record IN ACCESS EXCLUSIVE MODE")
            assert not DeletedRecords(reads).is_known(str(web.app.id), PLAYER)
        assert DeletedRecords(reads).is_known(str(web.app.id), PLAYER)
    with closing(PostgresReads(sessions=0, deadline_ms=100)) as busy:
        assert not DeletedRecords(busy).is_known(str(web.app.id), PLAYER)


def test_an_apps_own_names_that_are_nobodys_are_read(web: Real) -> None:
    own, _ = app_keys.create_app("own", requires_key=False)
    App.objects.filter(id=own.id).update(nobody_names="guest\nnull")
    with closing(PostgresReads(sessions=1)) as reads:
        apps = reads.known(web.topic).apps
    assert apps[str(own.id)].nobody == {"guest", "null"}
    assert apps[str(web.app.id)].nobody == nobody.NAMES


def test_caches_of_two_processes_are_apart(web: Real) -> None:
    own = PostgresReads(sessions=1)
    cache = AppsCache(lambda: own.known(web.topic), refresh_ms=10)
    assert str(web.app.id) in cache.known().apps
    assert cache.known().partitions == PARTITIONS
    cache.close()
    own.close()
