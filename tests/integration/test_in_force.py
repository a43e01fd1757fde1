"""The views of the policy in force say what the bridge decides by, and are read by index."""

import random
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from devstack import ROOT
from notify.admin import skipped
from notify.databases import queries
from notify.domain.records.policy import Limit, Policy, Skip
from notify.models import App, LinkLimit, LinkLimitInForce, SkipRule, SkipRuleInForce
from notify.monitoring.link_limits import limits_of
from notify.monitoring.snapshot import _QUERIES as FINDINGS
from notify.operations import app_keys
from tests.staff import staff

pytestmark = pytest.mark.django_db

BRIDGE = queries.read(ROOT / "ingest" / "sql" / "queries.sql")
LABELS = ("user", "email")


@pytest.fixture
def apps() -> list[App]:
    return [app_keys.create_app(name, requires_key=False)[0] for name in ("one", "two")]


def rows(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())


def decided_by(now_ms: int) -> Policy:
    """The newest policy as the bridge reads it, at the moment."""
    ((version,),) = rows(BRIDGE["policy_version"], {})
    wanted = {"version": version}
    skips = rows(BRIDGE["skip_rules"], wanted)
    limits = rows(BRIDGE["link_limits"], wanted)
    return Policy(
        version,
        {(app, record): Skip(rule, scope, end) for app, record, rule, scope, end in skips},
        {(app, label): Limit(children, end) for app, label, children, end in limits},
    ).at(now_ms)


def edit(dice: random.Random, apps: Sequence[App], records: Sequence[uuid.UUID]) -> None:
    """A version of some rule or limit: new, lifted, expired long ago or not for long."""
    hours = dice.choice((None, -1, 1))
    common: dict[str, Any] = {
        "author": "grace",
        "reason": "a test",
        "expires_at": None if hours is None else timezone.now() + timedelta(hours=hours),
    }
    if dice.random() < 0.5:
        record, is_active = dice.choice(records), dice.random() < 0.7
        SkipRule(app=dice.choice(apps), record=record, active=is_active, **common).save()
    else:
        app, children = dice.choice((*apps, None)), dice.choice((None, 1, 50, 200))
        LinkLimit(app=app, label=dice.choice(LABELS), children=children, **common).save()


@pytest.mark.parametrize("seed", range(8))
def test_the_views_say_what_the_bridge_decides_by(apps: list[App], seed: int) -> None:
    dice = random.Random(seed)
    records = [uuid.UUID(int=dice.getrandbits(128)) for _ in range(3)]
    for _ in range(40):
        edit(dice, apps, records)
        expected = decided_by(int(timezone.now().timestamp() * 1000))
        assert {
            (str(each.app_id), str(each.record)) for each in SkipRuleInForce.objects.all()
        } == expected.skips.keys()
        assert {
            (None if each.app_id is None else str(each.app_id), each.label)
            for each in LinkLimitInForce.objects.all()
        } == expected.limits.keys()
        for app in apps:
            limits = limits_of([app.id])
            for label in LABELS:
                assert limits.limit(str(app.id), label) == expected.limit(str(app.id), label)
            for record in records:
                rule = SkipRule.now_of(app.id, record)
                skip = expected.skips.get((str(app.id), str(record)))
                assert (rule and (rule.rule, rule.scope)) == (skip and (skip.rule, skip.scope))


def test_expired_rules_hide_none_that_is_in_force(
    apps: list[App], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(skipped, "_RULES_MAX", 1)
    for hours in (None, -1):
        ends = None if hours is None else timezone.now() + timedelta(hours=hours)
        record = uuid.uuid4()
        SkipRule(app=apps[0], record=record, author="a", reason="a", expires_at=ends).save()
    (rule,) = skipped._rules_in_force().values()
    assert rule.expires_at is None


@pytest.mark.usefixtures("plain_http")
@pytest.mark.parametrize("name", ["skiprule", "linklimit"])
def test_lists_are_counted_from_the_newest_version_on(name: str) -> None:
    client = staff(f"view_{name}")
    with CaptureQueriesContext(connection) as asked:
        assert client.get(f"/admin/notify/{name}/").status_code == 200
    (count,) = [
        each["sql"] for each in asked if "in_force" in each["sql"] and "COUNT(" in each["sql"]
    ]
    assert "ORDER BY 1 DESC" in count or '"version" DESC' in count


def test_the_view_of_rules_is_joined_by_index(apps: list[App]) -> None:
    """Hot records ask for the rules of 20 records, every second: they must not read all rules."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO skip_rule (version, reason, author, at, rule, app_id, record, scope, active) "
            "SELECT n, '', '', now(), n, %s, gen_random_uuid(), 'all', true "
            "FROM generate_series(1, 5000) AS n",
            [apps[0].id],
        )
        cursor.execute("ANALYZE skip_rule")
    wanted = {"apps": [apps[0].id] * 20, "records": [uuid.uuid4() for _ in range(20)]}
    plan = "\n".join(line for (line,) in rows(f"EXPLAIN {FINDINGS['skipped']}", wanted))
    assert "skip_rule_newest" in plan
    assert "Seq Scan" not in plan
    assert "Sort" not in plan
