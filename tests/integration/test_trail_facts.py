"""What `trail` reads from PostgreSQL."""

import uuid

import pytest
from django.utils import timezone

from notify.domain.engine.lanes import lane_of, partition_of
from notify.domain.records import ids
from notify.domain.records import plan as plans
from notify.domain.records.decide import SKIPPED, Decision
from notify.models import DeadLetter, Lane, Link, Parent, Plan, PlanLog, Skipped, Stream, Topic
from notify.operations.streams import NoTopic
from notify.operations.trail.facts import ROWS_MAX, of_record, of_updates

pytestmark = pytest.mark.django_db

APP = "6f1d2c1e-9a3b-4a55-8c7e-0d9d3b8f1a11"
CHILD, PARENT, USER = (str(uuid.UUID(int=number)) for number in (1, 2, 3))
LANES = 4
PARTITION = partition_of(APP, 2)


@pytest.fixture
def stream() -> Stream:
    """The app's partition, planned up to 60 and applied up to 50, and an older topic's."""
    Topic.objects.create(id=uuid.uuid4(), name="old", partitions=2, active=False)
    old = Stream.objects.create(
        topic_id=uuid.uuid4(), partition=PARTITION, lanes=1, lanes_wanted=1, planned=99, frontier=99
    )
    Skipped.objects.create(
        stream=old.id, app=APP, record=CHILD, reason=SKIPPED, rule=1, first=1, last=90, n=90
    )
    topic = Topic.objects.create(id=uuid.uuid4(), name="t", partitions=2)
    made = Stream.objects.create(
        topic_id=topic.id,
        partition=PARTITION,
        lanes=LANES,
        lanes_wanted=LANES,
        planned=60,
        frontier=50,
    )
    Lane.objects.bulk_create(Lane(stream=made.id, lane=n, last=50 + n) for n in range(LANES))
    for first, decisions in ((40, {}), (50, {52: Decision(mirrors=(PARENT,))})):
        PlanLog.objects.create(
            stream=made.id, first=first, next=first + 10, policy_version=first, at=timezone.now()
        )
        if first == 50:
            encoded = plans.encode(first, decisions)
            Plan.objects.create(stream=made.id, first=first, next=60, decisions=encoded)
    return made


def link(child: str, label: str, parent: str, *, generation: int = 0) -> None:
    """The child's parent by this label."""
    Link.objects.create(app=APP, child=child, label=label, parent=parent, parent_gen=generation)


def test_a_recorded_decision_one_that_is_gone_and_one_that_is_not_made(stream: Stream) -> None:
    facts = of_updates([(PARTITION, offset, APP, CHILD) for offset in (45, 51, 52, 60, 39)])
    assert facts.streams[PARTITION].lasts == {n: 50 + n for n in range(LANES)}
    assert facts.lane(PARTITION, APP, CHILD) == lane_of(APP, CHILD, LANES)
    found = {offset: chunk for (_, offset), chunk in facts.chunks.items()}
    assert found.keys() == {45, 51, 52}
    assert (found[45].policy, found[45].decision) == (40, None)
    assert found[51].decision == Decision()
    assert found[52].decision == Decision(mirrors=(PARENT,))


def test_a_plan_of_another_version_is_no_error(stream: Stream) -> None:
    Plan.objects.filter(stream=stream.id).update(decisions=b"\xff")
    facts = of_updates([(PARTITION, 52, APP, CHILD)])
    assert facts.chunks[PARTITION, 52].decision is None


def test_losses_of_the_offset_and_no_other(stream: Stream) -> None:
    link(CHILD, "email", PARENT)
    for record, first, last in ((CHILD, 40, 45), (PARENT, 45, 45), (CHILD, 46, 49), (USER, 45, 45)):
        Skipped.objects.create(
            stream=stream.id,
            app=APP,
            record=record,
            reason=SKIPPED,
            rule=7,
            first=first,
            last=last,
            n=2,
        )
    for offset in (44, 45):
        DeadLetter.objects.create(
            stream=stream.id, offset=offset, app=APP, record=CHILD, error="e", message=b""
        )
    facts = of_updates([(PARTITION, 45, APP, CHILD)])
    assert {(row.record, row.first, row.is_all) for row in facts.dropped} == {
        (CHILD, 40, False),
        (PARENT, 45, False),
    }
    assert [letter.offset for letter in facts.dead] == [45]


def test_where_a_record_is_linked_now(stream: Stream) -> None:
    Parent.objects.create(app=APP, id=PARENT, gen=1)
    link(CHILD, "email", PARENT, generation=1)
    link(CHILD, "sms", PARENT, generation=0)  # of before it was detached
    link(CHILD, "user", USER)  # does not mirror
    facts = of_record(APP, CHILD)
    assert facts.linked.target == CHILD
    assert facts.linked.parents == (("email", PARENT),)


def test_what_an_alias_stands_for(stream: Stream) -> None:
    alias = ids.alias_id(APP, "user", "external_id", "jo")
    assert of_record(APP, alias).linked.target == ids.named_user(APP, alias, 0)
    link(alias, "alias", USER)
    link(USER, "merged", PARENT)
    facts = of_record(APP, alias)
    assert facts.linked.target == PARENT
    assert facts.lane == lane_of(APP, PARENT, LANES)


def test_the_newest_losses_of_a_record_in_this_topic(stream: Stream) -> None:
    for number in range(ROWS_MAX + 5):
        Skipped.objects.create(
            stream=stream.id, app=APP, record=CHILD, reason=SKIPPED, first=number, last=number, n=1
        )
    facts = of_record(APP, CHILD)
    assert [row.first for row in facts.dropped] == list(range(ROWS_MAX + 4, 4, -1))
    assert (facts.partition, facts.dead) == (PARTITION, [])


def test_without_a_topic_it_says_what_to_do() -> None:
    with pytest.raises(NoTopic, match="topic create"):
        of_record(APP, CHILD)
