"""What web reads of users from PostgreSQL, over links as the planner writes them."""

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import connection
from pytest_django import Settings

from ingest.ledger import PostgresLedger
from ingest.planner import Message, plan_chunk
from notify import models
from notify.admin import record_find
from notify.databases import queries
from notify.domain.records import ids
from notify.domain.records import links as linking
from notify.domain.records.ids import alias_id
from notify.domain.records.patch import SET, Op, Patch
from notify.domain.records.policy import Limit, Policy
from notify.domain.records.update import DELETE, USER, Update, encode, read
from notify.operations.trail.facts import linked_now
from notify.web import reads as web_reads
from notify.web.reads import PostgresReads
from tests.fake_producer import FakeProducer, FakeReads

pytestmark = pytest.mark.django_db(transaction=True)

APP, OTHER_APP = (f"00000000-0000-0000-0000-0000000000a{n}" for n in range(2))
ANN, BOB, PUSH, EMAIL = (f"00000000-0000-0000-0000-0000000000b{n}" for n in range(4))
E1 = alias_id(APP, USER, "external_id", "e1")
CRM = alias_id(APP, USER, "crm", "c")
NOW = datetime(2026, 11, 1, tzinfo=UTC)
Name = tuple[str, bool]
QUERIES = queries.read(Path(web_reads.__file__).parent / "sql" / "queries.sql")


class Planned:
    """Links as a tick writes them, a row for each record that was written to, and a fake that was
    sent the same."""

    def __init__(self) -> None:
        self.ledger = PostgresLedger()
        self.producer = FakeProducer()
        self.fake = FakeReads(self.producer)
        self.stream = models.Stream.objects.create(
            topic_id=ids.random_id(), partition=0, lanes=1, lanes_wanted=1, planned=0, frontier=0
        )
        models.Lane.objects.create(stream=self.stream.id, lane=0, last=-1)

    def take(self, *updates: Update) -> None:
        first = models.Stream.objects.get(id=self.stream.id).planned
        messages = [
            Message(at, encode(each), read(encode(each))) for at, each in enumerate(updates, first)
        ]
        with self.ledger.tick([self.stream.id]) as tick:
            named = linking.named(updates)
            planned = plan_chunk(
                messages,
                first=first,
                end=first + len(messages),
                links=linking.gather(tick.links, named),
                policy=tick.policy(),
                seen=set(),
                is_routed=lambda app: True,
            )
            end = planned.chunk.plan.next
            tick.write(self.stream.id, frontier=0, planned=end, chunk=planned.chunk)
        for update in updates:
            self.producer.send(
                update.app, [encode(update)], partitions=self.producer.has, traceparent=""
            )
        states, _ = self.fake._applied()
        for (app, record), state in states.items():
            row = self.fake.record(app, record)
            models.Record.objects.filter(app=app, id=record).delete()
            created_at = NOW + timedelta(milliseconds=int(state["created_at"]))
            models.Record.objects.create(
                app=app,
                id=record,
                kind=None if row is None else row.kind,
                identifier=None if row is None else row.identifier,
                tags={} if row is None else row.tags,
                properties={} if row is None else row.properties,
                created_at=created_at,
                updated_at=created_at,
                deleted=bool(state.get("deleted")),
            )


@pytest.fixture
def planned() -> Iterator[Planned]:
    """An empty stream."""
    planned = Planned()
    with closing(planned.ledger):
        yield planned


@pytest.fixture
def reads() -> Iterator[PostgresReads]:
    """Web's reads of the same database."""
    with closing(PostgresReads(sessions=1)) as reads:
        yield reads


def user(record: str, *, app: str = APP, op: str = "update", **names: str | None) -> Update:
    kind = USER if op == "update" else None
    return Update(app, record, 1, "m", op=op, kind=kind, aliases=names)


def device(record: str, owner: str | None, at: int = 1) -> Update:
    return Update(APP, record, at, "m", kind="push", links={USER: owner})


def seen(found: Any) -> Any:
    """What is compared of a user that was read."""
    if found is None:
        return None
    return found.id, found.aliases, sorted(each.id for each in found.subscriptions)


def agree(planned: Planned, reads: PostgresReads) -> dict[Name, Any]:
    """What every id means, by PostgreSQL, which must be what the fake says."""
    names = [(each, False) for each in (ANN, BOB, E1, CRM)] + [(PUSH, True), (EMAIL, True)]
    found = {name: seen(reads.user(APP, name[0], owner=name[1])) for name in names}
    assert found == {name: seen(planned.fake.user(APP, name[0], owner=name[1])) for name in names}
    return found


def test_nobody_is_read_before_anything_was_sent(planned: Planned, reads: PostgresReads) -> None:
    assert set(agree(planned, reads).values()) == {None}


def test_a_user_is_read_by_every_name(planned: Planned, reads: PostgresReads) -> None:
    planned.take(user(E1, external_id="e1", crm="c"), device(PUSH, E1), device(EMAIL, CRM))
    found = agree(planned, reads)
    own = ids.named_user(APP, E1, 0)
    expected = (own, {"external_id": "e1", "crm": "c"}, [PUSH, EMAIL])
    assert found[E1, False] == found[CRM, False] == found[PUSH, True] == expected
    assert found[ANN, False] is None


def test_an_alias_that_was_given_to_another_leads_to_it(
    planned: Planned, reads: PostgresReads
) -> None:
    planned.take(user(ANN, external_id="e1"))
    planned.take(user(ANN, external_id=None), user(BOB, external_id="e1"))
    found = agree(planned, reads)
    assert found[E1, False][0] == BOB
    assert found[ANN, False] == (ANN, {}, [])


def test_who_logged_in_is_who_it_is_now(planned: Planned, reads: PostgresReads) -> None:
    planned.take(device(PUSH, BOB), user(BOB), user(ANN, external_id="e1"), device(EMAIL, ANN))
    planned.take(user(BOB, external_id="e1"))
    found = agree(planned, reads)
    expected = (ANN, {"external_id": "e1"}, [PUSH, EMAIL])
    assert found[BOB, False] == found[PUSH, True] == found[E1, False] == expected


def test_a_login_that_newer_ones_ended_is_nobodys(planned: Planned, reads: PostgresReads) -> None:
    models.LinkLimit(app_id=None, label="merged", children=2, reason="test").save()
    planned.fake.policy = Policy(limits={(None, "merged"): Limit(2)})
    others = [ids.random_id() for _ in range(2)]
    planned.take(user(ANN, external_id="e1"), user(BOB), device(PUSH, BOB))
    planned.take(user(BOB, external_id="e1"))
    assert agree(planned, reads)[PUSH, True] == (ANN, {"external_id": "e1"}, [PUSH])
    for n, other in enumerate(others):
        planned.take(user(other, external_id="e1"))
        owner = (ANN, {"external_id": "e1"}, [PUSH]) if n == 0 else (BOB, {}, [PUSH])
        assert agree(planned, reads)[PUSH, True] == owner
    assert agree(planned, reads)[E1, False] == (ANN, {"external_id": "e1"}, [])
    target = linked_now(APP, BOB).target
    assert (target, linked_now(APP, others[1]).target) == (BOB, ANN)
    (found,) = record_find.find(UUID(APP), BOB)
    assert str(found.record) == BOB
    planned.take(user(BOB, external_id="e1"))
    assert agree(planned, reads)[PUSH, True] == (ANN, {"external_id": "e1"}, [PUSH])


def test_a_deleted_user_is_not_read_nor_its_subscriptions(
    planned: Planned, reads: PostgresReads
) -> None:
    planned.take(user(ANN, external_id="e1"), device(PUSH, ANN))
    planned.take(user(E1, op=DELETE))
    assert set(agree(planned, reads).values()) == {None}
    planned.take(user(ANN))
    assert agree(planned, reads)[ANN, False] == (ANN, {}, [])


def test_another_apps_users_are_not_read(planned: Planned, reads: PostgresReads) -> None:
    planned.take(user(ANN, app=OTHER_APP, external_id="e1"))
    assert set(agree(planned, reads).values()) == {None}
    assert reads.user(OTHER_APP, ANN, owner=False) is not None


# -- many ------------------------------------------------------------------------------------------


def test_the_newest_subscriptions_of_a_user_and_of_its_logins_are_read_first(
    planned: Planned, reads: PostgresReads, settings: Settings
) -> None:
    own, of_login = [ids.random_id() for _ in range(3)], ids.random_id()
    planned.take(user(ANN, external_id="e1"), user(BOB, external_id="e1"))
    for each, owner in ((own[0], ANN), (own[1], ANN), (of_login, BOB), (own[2], E1)):
        planned.take(device(each, owner))
    newest = [own[2], of_login, own[1], own[0]]
    for most, more in ((5, False), (4, False), (3, True), (1, True)):
        settings.NOTIFY_READ_SUBSCRIPTIONS = most
        found = reads.user(APP, ANN, owner=False)
        assert found is not None
        assert [each.id for each in found.subscriptions] == newest[:most]
        assert found.more is more
    planned.take(device(own[0], None))
    planned.take(device(own[0], ANN))
    found = reads.user(APP, ANN, owner=False)
    assert found is not None
    assert [each.id for each in found.subscriptions] == [own[0]], "linked again: the newest"


def test_logins_past_the_limit_are_said_to_be_there(
    planned: Planned, reads: PostgresReads, settings: Settings
) -> None:
    settings.NOTIFY_READ_SUBSCRIPTIONS = 2
    planned.take(user(ANN, external_id="e1"), device(PUSH, ANN))
    for n, more in ((1, False), (2, False), (3, True)):
        planned.take(user(ids.random_id(), external_id="e1"))
        found = reads.user(APP, ANN, owner=False)
        assert found is not None
        assert found.more is more, n


def test_a_read_has_one_tag_more_than_are_shown(
    planned: Planned, reads: PostgresReads, settings: Settings
) -> None:
    tags: dict[str, Op] = {f"tags.{name}": (SET, "x") for name in ("b", "Z", "aa", "a")}
    planned.take(Update(APP, PUSH, 1, "m", kind="push", patch=Patch(False, tags)))
    for most, names in ((1, ["Z", "a"]), (2, ["Z", "a", "aa"]), (9, ["Z", "a", "aa", "b"])):
        settings.NOTIFY_READ_TAGS = most
        row = reads.record(APP, PUSH)
        assert row is not None
        assert sorted(row.tags) == names


# Rows of a table of links, and what a read of them may touch.
LINKS = 20_000
ROWS_MAX = 3 * (100 + 1)


def test_a_read_of_a_big_user_reads_no_more_links_than_it_shows(
    planned: Planned, reads: PostgresReads
) -> None:
    """Of 20,000 links that count and 20,000 of an earlier generation."""
    planned.take(user(ANN, external_id="e1"))
    with connection.cursor() as cursor:
        for gen, label in ((0, "user"), (1, "user"), (0, "merged"), (1, "merged")):
            cursor.execute(
                """INSERT INTO link (app, child, label, parent, parent_gen, linked_at)
                SELECT %s, gen_random_uuid(), %s, %s, %s, now() - n * interval '1 second'
                FROM generate_series(1, %s) AS n""",
                [APP, label, ANN, gen, LINKS],
            )
        cursor.execute("INSERT INTO parent (app, id, gen) VALUES (%s, %s, 1)", [APP, ANN])
        cursor.execute("ANALYZE link")
    for name in ("logins", "subscriptions"):
        parameters: dict[str, Any] = {"app": APP, "id": ANN, "ids": [ANN, BOB], "most": 101}
        with connection.cursor() as cursor:
            sql = f"EXPLAIN (ANALYZE, FORMAT JSON) {QUERIES[name]}"
            cursor.execute(sql, parameters)
            ((plan,),) = cursor.fetchall()
        touched = _touched(plan if isinstance(plan, list) else json.loads(plan))
        # EXPLAIN rounds the rows of a loop.
        assert 100 <= touched["link"] <= ROWS_MAX, (name, touched)


def _touched(plans: list[Any]) -> Counter[str]:
    """Rows that scans returned or threw away, by table."""
    found: Counter[str] = Counter()
    waiting = [each["Plan"] for each in plans]
    while waiting:
        node = waiting.pop()
        waiting += node.get("Plans", ())
        if table := node.get("Relation Name"):
            rows = node["Actual Rows"] + node.get("Rows Removed by Filter", 0)
            found[table] += int(rows * node["Actual Loops"])
    return found


# -- warnings --------------------------------------------------------------------------------------


def test_what_is_dropped_is_known_with_the_aliases_that_lead_to_it(
    planned: Planned, reads: PostgresReads
) -> None:
    models.Topic.objects.create(id=ids.random_id(), name="t", partitions=1)
    models.App.objects.create(id=APP, name="a")
    planned.take(user(ANN, external_id="e1"))
    for record, active, minutes in ((ANN, True, None), (BOB, False, None), (PUSH, True, -1)):
        end = None if minutes is None else datetime.now(UTC) + timedelta(minutes=minutes)
        models.SkipRule(
            app_id=APP, record=record, active=active, expires_at=end, reason="test"
        ).save()
    for record, reason, minutes in ((EMAIL, "link_limit", 1), (EMAIL, "alias_taken", 99)):
        models.Skipped.objects.create(
            stream=1, app=APP, record=record, reason=reason, first=0, last=0, n=1,
            at=datetime.now(UTC) - timedelta(minutes=minutes),
        )  # fmt: skip
    assert reads.known("t").dropping == {
        (APP, ANN): ("skip_rule",),
        (APP, E1): ("skip_rule",),
        (APP, EMAIL): ("link_limit",),
    }
