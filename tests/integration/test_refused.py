"""Refused requests by app, as processes of web write them to PostgreSQL."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest
from django.db import connection
from django.db.models import Sum

from notify.models import LeftOutSample, RefusedSample, UnavailableSample
from notify.web.access.rejection_counts import UNAVAILABLE, CountWriter

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(900)]
APPS = [f"00000000-0000-0000-0000-0000000000a{n}" for n in range(9)]


@pytest.fixture
def web() -> Iterator[CountWriter]:
    """What a process of web has."""
    with closing(CountWriter()) as found:
        yield found


def total(app: str) -> int:
    return sum(RefusedSample.objects.filter(app=app).values_list("n", flat=True))


def test_counts_of_the_same_seconds_add_up(web: CountWriter) -> None:
    web({(APPS[0], "app_requests"): 3, (APPS[1], "app_requests"): 1})
    web({(APPS[0], "app_requests"): 4, (APPS[0], "app_updates"): 2})
    assert (total(APPS[0]), total(APPS[1])) == (9, 1)
    assert set(RefusedSample.objects.values_list("limit", flat=True)) == {
        "app_requests",
        "app_updates",
    }
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT bool_and(extract(epoch FROM bucket)::bigint % 10 = 0 AND bucket <= now() "
            "AND bucket > now() - interval '1 minute') FROM refused_sample"
        )
        assert cursor.fetchone() == (True,)


def test_what_was_answered_503_is_counted_by_reason_with_first_and_last(web: CountWriter) -> None:
    web({(UNAVAILABLE, "kafka_away"): 3, (APPS[0], "app_requests"): 2})
    ((first, at),) = UnavailableSample.objects.values_list("first_at", "last_at")
    assert first == at
    web({(UNAVAILABLE, "kafka_away"): 4, (UNAVAILABLE, "bug"): 1})
    rows = UnavailableSample.objects.filter(reason="kafka_away").order_by("bucket")
    assert sum(each.n for each in rows) == 7
    assert rows[0].first_at == first
    assert list(rows)[-1].last_at > at
    assert sum(each.n for each in UnavailableSample.objects.filter(reason="bug")) == 1
    assert total(APPS[0]) == 2
    assert RefusedSample.objects.count() == 1


def test_what_was_left_out_has_a_table_of_its_own() -> None:
    with closing(CountWriter("write_left_out")) as web:
        web({(APPS[0], "tag"): 3})
        web({(APPS[0], "tag"): 4, (APPS[0], "name"): 1})
    found = LeftOutSample.objects.values_list("what").annotate(Sum("n"))
    assert dict(found) == {"tag": 7, "name": 1}
    assert not RefusedSample.objects.exists()


def test_processes_do_not_wait_for_each_other_in_a_ring() -> None:
    """Each names the apps in another order."""

    def process(number: int) -> None:
        with closing(CountWriter()) as web:
            for _ in range(40):
                web({(app, "app_requests"): 1 for app in APPS[number:] + APPS[:number]})

    with ThreadPoolExecutor(6) as threads:
        for each in [threads.submit(process, number) for number in range(6)]:
            each.result()
    assert [total(app) for app in APPS] == [240] * len(APPS)


def test_a_lost_session_is_replaced(web: CountWriter) -> None:
    web({(APPS[0], "app_requests"): 1})
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid, 60000) FROM pg_stat_activity "
            "WHERE application_name = 'notify-web-refused' AND datname = current_database()"
        )
    with pytest.raises(psycopg.OperationalError):
        web({(APPS[0], "app_requests"): 10})
    web({(APPS[0], "app_requests"): 100})
    assert total(APPS[0]) == 101
