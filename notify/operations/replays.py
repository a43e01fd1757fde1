"""Replays: dead letters and skipped updates, sent again as new messages.

What is sent says by its message id what it replays (`notify.domain.records.replay`), and is noted as sent
only after Kafka's ack. So a crash between the two sends it twice and counters count it once, for as
long as message ids are remembered (NOTIFY_SEEN_HOURS).
"""

import secrets
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models import F, Sum
from django.utils import timezone

from notify.domain.records import links as linking
from notify.domain.records import replay
from notify.domain.records.decide import MALFORMED, MISROUTED, SKIPPED
from notify.domain.records.replay import CannotReplay, Source
from notify.domain.records.update import Newer, Unreadable, Update
from notify.domain.records.update import read as read_update
from notify.kafka.producer import KafkaUnavailable, Overloaded, Producer, TopicProducer
from notify.kafka.topic import Head, TopicError, Topics
from notify.models import (
    App,
    DeadLetter,
    PlanLog,
    Replay,
    Skipped,
    SkipRule,
    Stream,
    Topic,
)
from notify.operations.stored_links import links_now

#: Rows of `skipped` of one record that a page adds up.
WAITING_ROWS_MAX: Final = 100_000
#: Rows of `skipped` that one step reads; a row covers at most a chunk of the log.
ROWS_MAX: Final = 10
#: Any number that nothing else in this database locks: one step at a time.
_LOCK: Final = 7_018_353_672_006_002
_BUILDING: Final = threading.Lock()
_BUILT: Final[list[TopicProducer]] = []

LIFT_FIRST: Final = "lift the rule first: it would skip the replayed updates too"


class NotOrdered(Exception):
    """The replay was not ordered. The text says why, and what to do first."""


def producer() -> Producer:
    """The producer of this process. It connects when it first sends."""
    with _BUILDING:
        if not _BUILT:
            _BUILT.append(
                TopicProducer(
                    settings.KAFKA_BOOTSTRAP_SERVERS,
                    settings.NOTIFY_TOPIC,
                    bytes_max=settings.NOTIFY_PRODUCER_BYTES,
                    ack_timeout_ms=settings.NOTIFY_ACK_TIMEOUT_MS,
                )
            )
        return _BUILT[0]


def close() -> None:
    """Closes the producer of this process; sending again builds another one."""
    with _BUILDING:
        while _BUILT:
            _BUILT.pop().close()


def send(app: str, messages: Sequence[bytes]) -> None:
    """Put the messages of an app into its partition. Returns after Kafka's ack.

    Raises CannotReplay without a topic, and Overloaded or KafkaUnavailable if Kafka did not take them.
    """
    topic = Topic.objects.filter(active=True).first()
    if topic is None:
        raise CannotReplay("there is no topic: run `manage.py topic create`")
    trace = f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-01"
    producer().send(app, messages, partitions=topic.partitions, traceparent=trace)


def now_ms() -> int:
    """The time of a replay's updates, in milliseconds since 1970."""
    return time.time_ns() // 1_000_000


def of_letter(letter: DeadLetter) -> Update:
    """The update that replays a dead letter. Raises CannotReplay."""
    message = replay.read(bytes(letter.message))
    source = Source(letter.stream, letter.offset)
    is_undecided = letter.error.startswith(f"{MALFORMED}:")
    if is_undecided:
        record = message.record
    elif letter.error.startswith(f"{MISROUTED}:"):
        record = replay.undecided(message)
    elif letter.record is None:
        raise CannotReplay("it names no record: delete it")
    else:
        record = str(letter.record)
    if not App.objects.filter(id=message.app).exists():
        raise CannotReplay(f"there is no app {message.app}: nobody may send under this id")
    if is_undecided:
        return replay.whole(message, now_ms(), source=source)
    links = linking.gather(links_now, replay.names(message, record))
    return replay.again(message, record, now_ms(), source=source, links=links)


def order(app: UUID, record: UUID, *, author: str, reason: str) -> Replay:
    """Order what was skipped of the record to be sent again: all that no order covers yet.

    Raises NotOrdered while a rule drops its updates, while another order is under way, and where
    nothing is left to replay.
    """
    if SkipRule.now_of(app, record) is not None:
        raise NotOrdered(LIFT_FIRST)
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_advisory_xact_lock(%s, %s)", [_LOCK % 2**31, record.int % 2**31]
            )
        before = Replay.objects.filter(app=app, record=record).order_by("-id").first()
        if before is not None and before.finished_at is None:
            raise NotOrdered("a replay of this record is running: wait until it is done")
        position = 0 if before is None else before.until
        rows = _skipped(app, record).filter(id__gt=position)
        newest = rows.order_by("-id").values_list("id", flat=True).first()
        if newest is None:
            raise NotOrdered(
                "there is nothing to replay: all skipped updates were replayed already"
            )
        return Replay.objects.create(
            app=app, record=record, author=author, reason=reason, until=newest, position=position
        )


def _skipped(app: UUID, record: UUID) -> Any:
    return Skipped.objects.filter(app=app, record=record, reason=SKIPPED)


@dataclass(frozen=True, slots=True)
class Step:
    """The result of a step, in messages; `orders` is the number of orders that are still open."""

    orders: int = 0
    found: int = 0
    sent: int = 0
    lost: int = 0
    error: str = ""


def step(limit: int | None = None) -> Step:
    """Carry out a part of the oldest order that can go on: about `limit` updates, one row at least.

    `limit` is NOTIFY_REPLAY_MESSAGES by default. Where Kafka does not answer, or a rule was made
    meanwhile, the order stays open and says so. One step at a time: another process's, at the same
    time, does nothing. Raises django.db.Error where PostgreSQL is away.
    """
    if not Replay.objects.filter(finished_at=None).exists():
        return Step()
    with _alone() as is_alone:
        if not is_alone:
            return Step(orders=Replay.objects.filter(finished_at=None).count())
        return _carry_on(limit or settings.NOTIFY_REPLAY_MESSAGES)


def _carry_on(limit: int) -> Step:
    error = ""
    for each in Replay.objects.filter(finished_at=None).order_by("id")[:ROWS_MAX]:
        if SkipRule.now_of(each.app, each.record) is not None:
            error = _say(each, LIFT_FIRST)
            continue
        try:
            done = _advance(each, limit)
        except (TopicError, CannotReplay, Overloaded, KafkaUnavailable) as problem:
            error = _say(each, f"{problem} It is tried again.")
            continue
        return Step(Replay.objects.filter(finished_at=None).count(), *done)
    return Step(Replay.objects.filter(finished_at=None).count(), error=error)


def _say(each: Replay, error: str) -> str:
    if each.error != error:
        Replay.objects.filter(id=each.id).update(error=error)
    return error


@contextmanager
def _alone() -> Iterator[bool]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [_LOCK])
        (got,) = cursor.fetchone()
    try:
        yield bool(got)
    finally:
        if got:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [_LOCK])


def _advance(each: Replay, limit: int) -> tuple[int, int, int]:
    """Sends the updates that the next rows dropped; after Kafka's ack, notes the order's progress."""
    rows = _next_rows(each, limit)
    again, found, lost = _read(each, rows)
    if again:
        send(str(each.app), again)
    position = rows[-1].id if rows else each.until
    is_done = position >= each.until
    now = timezone.now()
    Replay.objects.filter(id=each.id, position=each.position).update(
        position=position,
        started_at=each.started_at or now,
        finished_at=now if is_done else None,
        found=F("found") + found,
        sent=F("sent") + len(again),
        lost=F("lost") + lost,
        error="",
    )
    return found, len(again), lost


def _next_rows(each: Replay, limit: int) -> list[Skipped]:
    rows: list[Skipped] = []
    updates = 0
    wanted = _skipped(each.app, each.record).filter(id__gt=each.position, id__lte=each.until)
    for row in wanted.order_by("id")[:ROWS_MAX]:
        updates += row.n
        if rows and updates > limit:
            break
        rows.append(row)
    return rows


def _read(each: Replay, rows: Sequence[Skipped]) -> tuple[list[bytes], int, int]:
    """The new messages for what the rows dropped, how many were found, and how many Kafka no longer has."""
    if not rows:
        return [], 0, 0
    again: list[bytes] = []
    found = 0
    with Topics(settings.KAFKA_BOOTSTRAP_SERVERS) as topics:
        topic = topics.describe(settings.NOTIFY_TOPIC)
        streams = Stream.objects.filter(id__in={row.stream for row in rows}, topic_id=topic.id)
        partitions = dict(streams.values_list("id", "partition"))
        there = [row for row in rows if row.stream in partitions]
        wanted = [(partitions[row.stream], row.first, row.last) for row in there]
        for row, (_, messages) in zip(there, topics.ranges(topic.name, wanted), strict=True):
            updates = _again(each, row, messages)
            found += len(updates)
            for update in updates:
                try:
                    again.append(replay.encoded(update))
                except CannotReplay:
                    continue
    return again, found, max(0, sum(row.n for row in rows) - len(again))


def _again(each: Replay, row: Skipped, messages: Sequence[Head]) -> list[Update]:
    scope = _scope(row)
    app, record, now = str(each.app), str(each.record), now_ms()
    read: list[tuple[int, Update]] = []
    for head in messages:
        update: Update | Unreadable = read_update(head.value)
        if isinstance(update, Newer):
            raise CannotReplay(
                f"offset {head.offset}: {update.error}: upgrade what runs the replay (`manage.py watch`)."
            )
        if isinstance(update, Update) and update.app == app:
            read.append((head.offset, update))
    names = linking.named(update for _, update in read)
    links = linking.gather(links_now, names)
    if any(update.aliases for _, update in read):
        names.children.add((app, record))
        links = linking.gather(links_now, names)
    done = (
        replay.dropped(update, record, scope, now, source=Source(row.stream, offset), links=links)
        for offset, update in read
    )
    return [update for update in done if update is not None]


def _scope(row: Skipped) -> str:
    """The scope of the rule, in the version that was in force for the row's chunk."""
    versions = SkipRule.objects.filter(rule=-1 if row.rule is None else row.rule)
    chunk = (
        PlanLog.objects.filter(stream=row.stream, first__lte=row.first).order_by("-first").first()
    )
    if chunk is not None and row.first < chunk.next:
        versions = versions.filter(version__lte=chunk.policy_version)
    else:
        versions = versions.filter(at__lte=row.at)
    newest = versions.order_by("-version").first()
    if newest is None:
        raise CannotReplay(f"the rule {row.rule} of what was skipped is not known")
    return newest.scope


def waiting(app: UUID, record: UUID) -> int:
    """How many skipped updates in the record's newest rows are not covered by an order yet."""
    before = Replay.objects.filter(app=app, record=record).order_by("-id").first()
    rows = _skipped(app, record).filter(id__gt=0 if before is None else before.until)
    return int(rows.order_by("-id")[:WAITING_ROWS_MAX].aggregate(total=Sum("n"))["total"] or 0)
