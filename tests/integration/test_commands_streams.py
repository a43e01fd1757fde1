"""Making, moving, resuming and widening streams: the Django side of rules 10 and 11."""

import threading
import uuid
from collections.abc import Callable, Iterable, Mapping

import pytest
from django.db import connection, transaction
from django.utils import timezone
from kafka import KafkaProducer

from ingest.ledger import PostgresLedger
from notify.databases import postgres
from notify.domain.engine import digest as digests
from notify.domain.engine.task import Segment
from notify.kafka.topic import Described, Extent, Topics
from notify.models import Lane, Plan, PlanLog, Stream, Topic
from notify.operations import streams
from notify.operations.streams import Adopted, Lost, NotInRange, NoTopic, StreamsRefused, Undrained
from tests.waiting import wait_for
from workers.apply import StreamLane
from workers.lanes import PostgresLanes

pytestmark = pytest.mark.django_db


def adopt(
    name: str = "first",
    *,
    topic_id: uuid.UUID | None = None,
    logs: Mapping[int, tuple[int, int]] | None = None,
    old_ends: Mapping[int, int] | None = None,
    abandon: bool = False,
    lanes: int = 4,
    replaced: Mapping[int, int] | None = None,
) -> Adopted:
    extents = {n: Extent(*log) for n, log in (logs or {0: (0, 0), 1: (7, 9)}).items()}
    found = Described(topic_id or uuid.uuid5(uuid.NAMESPACE_DNS, name), name, len(extents))
    return streams.adopt_found(
        found,
        extents,
        old_ends=old_ends or {},
        replaced=replaced or {},
        lanes=lanes,
        abandon=abandon,
    )


def stream(partition: int = 1) -> Stream:
    return Stream.objects.get(topic_id=streams.active_topic().id, partition=partition)


def lasts(stream: Stream) -> dict[int, int]:
    return dict(Lane.objects.filter(stream=stream.id).values_list("lane", "last"))


def chunk(stream: Stream, first: int, next_: int) -> None:
    Plan.objects.create(stream=stream.id, first=first, next=next_, decisions=b"\1")
    PlanLog.objects.create(
        stream=stream.id, first=first, next=next_, policy_version=0, at=timezone.now()
    )


def test_streams_begin_where_the_log_begins() -> None:
    adopted = adopt()
    assert adopted.changed == (0, 1)
    assert adopted.lost == ()
    made = stream(1)
    assert (made.frontier, made.planned, made.halted) == (7, 7, None)
    assert (made.lanes, made.lanes_wanted) == (4, 4)
    assert lasts(made) == {0: 6, 1: 6, 2: 6, 3: 6}
    assert lasts(stream(0)) == dict.fromkeys(range(4), -1)
    topic = streams.active_topic()
    assert (topic.name, topic.partitions) == ("first", 2)


def test_adopting_the_active_topic_again_changes_nothing() -> None:
    adopt()
    before = list(Stream.objects.order_by("id").values())
    assert adopt().changed == ()
    assert list(Stream.objects.order_by("id").values()) == before


def test_a_drained_topic_is_replaced_and_its_streams_end() -> None:
    adopt()
    old = stream(1)
    Stream.objects.filter(id=old.id).update(token=5, planned=9, frontier=9)
    adopt("second", old_ends={0: 0, 1: 9}, logs={0: (0, 3)})
    assert streams.active_topic().name == "second"
    old.refresh_from_db()
    assert old.token not in (0, 5)
    assert old.halted is not None
    assert "replaced by the topic second" in old.halted
    assert (old.frontier, old.planned) == (9, 9)


@pytest.mark.parametrize(
    ("planned", "old_ends", "lost_to"),
    [(9, {}, 9), (7, {1: 12}, 12), (9, {1: 12}, 12), (9, {1: 8}, 9)],
    ids=["planned, topic gone", "not planned", "both", "log cut"],
)
def test_an_undrained_topic_is_not_replaced_unless_abandoned(
    planned: int, old_ends: dict[int, int], lost_to: int
) -> None:
    adopt()
    Stream.objects.filter(id=stream(1).id).update(planned=planned, frontier=7)
    before = list(Stream.objects.order_by("id").values())
    with pytest.raises(Undrained, match=r"up to \d+ updates") as refused:
        adopt("second", old_ends=old_ends)
    assert refused.value.lost == [Lost("first", 1, 7, lost_to)]
    assert f"first partition 1: offsets 7-{lost_to - 1}" in str(refused.value)
    assert list(Stream.objects.order_by("id").values()) == before
    assert streams.active_topic().name == "first"
    assert adopt("second", old_ends=old_ends, abandon=True).lost == (Lost("first", 1, 7, lost_to),)
    assert streams.active_topic().name == "second"


def test_a_topic_that_was_replaced_does_not_come_back() -> None:
    adopt()
    adopt("second")
    with pytest.raises(StreamsRefused, match="was active before"):
        adopt("first")
    assert streams.active_topic().name == "second"


def test_a_topic_made_again_under_its_name_is_another() -> None:
    adopt()
    adopt("first", topic_id=uuid.uuid4(), logs={0: (0, 0)})
    assert (
        list(Topic.objects.filter(name="first").values_list("active", flat=True)).count(True) == 1
    )
    assert Stream.objects.count() == 3


def test_a_log_that_lost_its_start_is_read_on_from_its_new_start() -> None:
    adopt()
    moved = stream(1)
    Stream.objects.filter(id=moved.id).update(
        planned=20, frontier=10, halted="the log starts at 15",
        last_offset=18, last_digest=7, last_planned=20,
    )  # fmt: skip
    Lane.objects.filter(stream=moved.id, lane=2).update(last=19)
    chunk(moved, 10, 20)
    logs = {0: (0, 0), 1: (15, 30)}
    with pytest.raises(Undrained) as refused:
        adopt(logs=logs)
    assert refused.value.lost == [Lost("first", 1, 10, 15)]
    adopted = adopt(logs=logs, abandon=True)
    assert adopted.changed == (1,)
    moved.refresh_from_db()
    assert (moved.frontier, moved.planned, moved.halted) == (15, 20, None)
    assert (moved.last_offset, moved.last_digest, moved.last_planned) == (18, 7, 20)
    assert moved.token != 0
    assert lasts(moved) == {0: 6, 1: 6, 2: 19, 3: 6}
    assert Plan.objects.get().next == 20


def test_a_log_that_starts_after_all_that_was_planned_is_read_from_there() -> None:
    adopt()
    assert adopt(logs={0: (0, 0), 1: (40, 41)}, abandon=True).lost == (Lost("first", 1, 7, 40),)
    assert (stream(1).frontier, stream(1).planned) == (40, 40)


def test_a_log_that_lost_its_end_forgets_what_was_planned_of_it() -> None:
    adopt()
    moved = stream(1)
    Stream.objects.filter(id=moved.id).update(planned=30, frontier=10)
    Lane.objects.filter(stream=moved.id, lane=2).update(last=29, isolate=28)
    for first in (10, 20, 25):
        chunk(moved, first, first + 10 if first == 10 else first + 5)
    adopted = adopt(logs={0: (0, 0), 1: (7, 22)}, abandon=True)
    assert adopted.lost == (Lost("first", 1, 22, 30),)
    moved.refresh_from_db()
    assert (moved.frontier, moved.planned) == (10, 22)
    assert lasts(moved)[2] == 21
    assert Lane.objects.get(stream=moved.id, lane=2).isolate == 21
    for table in (Plan, PlanLog):
        assert list(table.objects.order_by("first").values_list("first", "next")) == [
            (10, 20),
            (20, 22),
        ]


def test_messages_that_took_the_offsets_of_others_are_planned_in_their_place() -> None:
    adopt()
    moved = stream(1)
    Stream.objects.filter(id=moved.id).update(
        planned=20, frontier=10, halted="others", last_offset=19, last_digest=1, last_planned=20
    )
    Lane.objects.filter(stream=moved.id, lane=1).update(last=12)
    Lane.objects.filter(stream=moved.id, lane=2).update(last=19)
    chunk(moved, 7, 12)
    chunk(moved, 12, 20)
    logs = {0: (0, 0), 1: (7, 25)}
    with pytest.raises(Undrained) as refused:
        adopt(logs=logs, replaced={1: 15})
    assert refused.value.lost == [Lost("first", 1, 15, 20)]
    assert adopt(logs=logs, replaced={1: 15}, abandon=True).changed == (1,)
    moved.refresh_from_db()
    assert (moved.frontier, moved.planned, moved.halted) == (10, 15, None)
    assert (moved.last_offset, moved.last_digest, moved.last_planned) == (None, None, None)
    assert lasts(moved) == {0: 6, 1: 12, 2: 14, 3: 6}
    assert list(Plan.objects.order_by("first").values_list("first", "next")) == [(7, 12), (12, 15)]


def test_where_all_is_applied_the_message_that_took_the_last_ones_place_is_planned() -> None:
    adopt()
    moved = stream(1)
    Stream.objects.filter(id=moved.id).update(planned=20, frontier=20)
    adopted = adopt(logs={0: (0, 0), 1: (7, 25)}, replaced={1: 19}, abandon=True)
    assert adopted.lost == (Lost("first", 1, 19, 20),)
    moved.refresh_from_db()
    assert (moved.frontier, moved.planned) == (19, 19)


def test_a_log_that_holds_other_messages_than_were_planned_is_found(
    kafka: list[str], namespace: str
) -> None:
    bodies = [b"message %d" % n for n in range(5)]
    planned = {n: digests.of_message(bodies[n]) for n in range(2, 5)}
    with Topics(kafka, timeout_ms=60_000) as topics:
        topics.create(namespace, partitions=2, replication=1)
        streams.adopt(topics, namespace, lanes=1, abandon=False)
        producer = KafkaProducer(bootstrap_servers=kafka)
        for partition in (0, 1):
            for body in bodies:
                producer.send(namespace, body, partition=partition).get(10)
        producer.close()
        for each in streams.streams_of(streams.active_topic()):
            chunk(each, 2, 5)
            Plan.objects.filter(stream=each.id).update(digests=digests.encode(2, 5, planned))
        Stream.objects.update(planned=5, frontier=3)
        assert streams.check(topics, namespace).problems == ()
        other = digests.encode(2, 5, planned | {4: 1})
        Plan.objects.filter(stream=stream(1).id).update(digests=other)
        (problem,) = streams.check(topics, namespace).problems
        assert problem.startswith(
            "partition 1 cannot continue: from offset 4 on the log holds other"
        )
        with pytest.raises(Undrained):
            streams.adopt(topics, namespace, lanes=1, abandon=False)
        assert streams.adopt(topics, namespace, lanes=1, abandon=True).changed == (1,)
        assert (stream(1).frontier, stream(1).planned) == (3, 4)
        assert streams.check(topics, namespace).problems == ()


def test_what_a_bridge_plans_meanwhile_is_not_taken_for_lost(
    kafka: list[str], namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Topics(kafka, timeout_ms=60_000) as topics:
        topics.create(namespace, partitions=2, replication=1)
        streams.adopt(topics, namespace, lanes=1, abandon=False)
        ask = topics.extents

        def then_plan(name: str, partitions: Iterable[int]) -> Mapping[int, Extent]:
            found = ask(name, partitions)
            if stream(1).planned == 0:
                chunk(stream(1), 0, 5)
                Plan.objects.update(digests=digests.encode(0, 5, {4: 1}))
                Stream.objects.filter(partition=1).update(planned=5)
            return found

        with monkeypatch.context() as patch:
            patch.setattr(topics, "extents", then_plan)
            adopted = streams.adopt(topics, namespace, lanes=1, abandon=True)
        assert adopted == Adopted(topics.describe(namespace), (), ())
        assert (stream(1).frontier, stream(1).planned) == (0, 5)
        # Planned before Kafka was asked: that is lost.
        assert streams.adopt(topics, namespace, lanes=1, abandon=True).lost == (
            Lost(namespace, 1, 0, 5),
        )


def test_a_topic_with_fewer_partitions_is_refused() -> None:
    adopt()
    with pytest.raises(StreamsRefused, match="1 partitions, 2 are stored"):
        adopt(logs={0: (0, 0)}, abandon=True)


def test_more_partitions_are_ignored() -> None:
    adopt()
    assert adopt(logs={0: (0, 0), 1: (7, 9), 2: (0, 0)}).changed == ()
    assert Stream.objects.count() == 2


@pytest.mark.parametrize("lanes", [0, 65, -1])
def test_lanes_without_a_queue_are_refused(lanes: int) -> None:
    with pytest.raises(NotInRange, match="1 to 64 lanes"):
        adopt(lanes=lanes)
    adopt()
    with pytest.raises(NotInRange, match="1 to 64 lanes"):
        streams.want_lanes(lanes)
    assert stream().lanes_wanted == 4


def test_wanted_lanes_leave_the_lanes_to_the_load() -> None:
    adopt()
    assert [tuple(each) for each in streams.want_lanes(6)] == [(0, 4, 6), (1, 4, 6)]
    assert (stream().lanes, stream().lanes_wanted) == (4, 6)
    assert len(lasts(stream())) == 4


def test_resume_clears_one_halt_or_all() -> None:
    adopt()
    Stream.objects.update(halted="why")
    assert [tuple(each) for each in streams.resume(1)] == [(1, "why")]
    assert stream(0).halted == "why"
    assert stream(1).halted is None
    assert [tuple(each) for each in streams.resume()] == [(0, "why")]
    assert streams.resume() == []
    with pytest.raises(NotInRange, match="no partition 2"):
        streams.resume(2)


def test_resume_leaves_streams_that_ended() -> None:
    adopt()
    old = stream(1)
    adopt("second")
    assert streams.resume() == []
    old.refresh_from_db()
    assert old.halted is not None


def test_without_a_topic_nothing_can_be_done() -> None:
    for do in (streams.active_topic, streams.resume, lambda: streams.want_lanes(2)):
        with pytest.raises(NoTopic, match=r"topic create"):
            do()


@pytest.mark.django_db(transaction=True)
def test_what_is_adopted_can_be_loaded_and_what_ended_cannot() -> None:
    adopt()
    first = stream(1)
    ledger = PostgresLedger()
    try:
        loaded = ledger.load(first.id, 77)
        assert loaded is not None
        assert {number: lane.last for number, lane in loaded.lanes.items()} == lasts(first)
        adopt("second")
        assert ledger.load(first.id, 78) is None
        with ledger.tick([first.id]) as tick:
            assert tick.streams[first.id].token != 77
    finally:
        ledger.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("change", [streams.resume, lambda: streams.want_lanes(6)])
def test_a_change_waits_for_a_tick_and_a_tick_for_a_change(
    change: Callable[[], object],
) -> None:
    adopt()
    done = threading.Event()

    def run() -> None:
        change()
        done.set()
        connection.close()

    waiting = threading.Thread(target=run)
    with postgres.connect(name="test-tick", lock_timeout_ms=1_000) as tick:
        with tick.transaction():
            tick.execute("SELECT id FROM stream ORDER BY id FOR UPDATE")
            waiting.start()
            assert not done.wait(0.3)
            tick.execute("UPDATE stream SET planned = planned + 1")
        assert done.wait(180)
    waiting.join()
    assert stream(1).planned == 8


@pytest.mark.django_db(transaction=True)
def test_what_a_tick_plans_meanwhile_is_not_lost() -> None:
    adopt()
    refused: list[Undrained] = []

    def run() -> None:
        try:
            adopt("second")
        except Undrained as error:
            refused.append(error)
        connection.close()

    waiting = threading.Thread(target=run)
    with postgres.connect(name="test-tick", lock_timeout_ms=1_000) as tick, tick.transaction():
        tick.execute("SELECT id FROM stream ORDER BY id FOR UPDATE")
        tick.execute("UPDATE stream SET planned = planned + 1")
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
    waiting.join()
    assert [error.lost for error in refused] == [[Lost("first", 0, 0, 1), Lost("first", 1, 7, 8)]]
    assert streams.active_topic().name == "first"


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("moves", [True, False], ids=["moved", "retired"])
def test_a_worker_that_waited_for_a_lane_finds_its_token_ended(moves: bool) -> None:
    """A statement that waits for a row keeps its old snapshot of all others, the stream's too."""
    adopt(logs={0: (0, 100)}, lanes=1)
    row = stream(0)
    Stream.objects.filter(id=row.id).update(token=5, planned=20)
    chunk(row, 0, 20)
    lanes = PostgresLanes(lambda: postgres.connect(name="late", lock_timeout_ms=600_000))
    applied: list[set[StreamLane]] = []
    segment = Segment(row.id, 0, 5, -1, 9, lane=0)
    thread = threading.Thread(target=lambda: applied.append(lanes.apply([segment], "[]")))
    with transaction.atomic():
        if moves:
            adopt(logs={0: (3, 5)}, lanes=1, abandon=True)
        else:
            adopt("second", logs={0: (0, 0)}, abandon=True)
        thread.start()
        _wait_for_lock("late")
    thread.join()
    lanes.close()
    assert applied == [set()]
    assert lasts(row) == {0: -1}


def _wait_for_lock(name: str) -> None:
    waiting = (
        "SELECT 1 FROM pg_stat_activity WHERE application_name = %s AND wait_event_type = 'Lock'"
    )
    with postgres.connect(name="looks", lock_timeout_ms=1_000) as looking:
        wait_for(lambda: looking.execute(waiting, (name,)).fetchone() is not None)
