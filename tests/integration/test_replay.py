"""Dead letters and skipped updates are sent again through the admin, by the real processes."""

import json
import re
import uuid
from collections.abc import Iterator
from typing import Any, Self

import httpx
import pytest

from devstack import product
from devstack.services import DevstackError
from notify.domain.engine.lanes import partition_of
from notify.domain.records.patch import ADD, SET, Patch
from notify.domain.records.update import Update
from tests.running import PARTITIONS, Running, running

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


@pytest.fixture(scope="module")
def pipeline(
    postgres: str, redis_url: str, kafka: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Running]:
    """A bridge, a worker, and a database in which no identifier may be 'poison'."""
    with running(tmp_path_factory.mktemp("stack"), f"t{uuid.uuid4().hex[:10]}") as run:
        product.start_bridge(run.stack, "bridge")
        run.wait_settled()
        product.start_worker(run.stack, "worker-1")
        yield run


@pytest.fixture(scope="module")
def admin(pipeline: Running) -> Iterator["Admin"]:
    """The web process, and a superuser who is logged in."""
    url = product.start_web(pipeline.stack)
    pipeline.wait("web", lambda: product.answers(f"{url}/healthz/live"))
    with Admin(url) as admin:
        yield admin


class Admin(httpx.Client):
    """A person at the admin pages."""

    def __init__(self, url: str) -> None:
        super().__init__(base_url=url, follow_redirects=True, timeout=180)

    def __enter__(self) -> Self:
        super().__enter__()
        login = {"username": product.USER, "password": product.PASSWORD}
        self.submit("/admin/login/", "/admin/login/?next=/admin/", **login)
        return self

    def submit(self, page: str, action: str, **fields: str) -> str:
        """Open the page, then send its form; the text of the page that follows."""
        assert self.get(page).status_code == 200
        token = self.cookies["csrftoken"]
        answer = self.post(
            action,
            data={"csrfmiddlewaretoken": token, **fields},
            headers={"Referer": f"{self.base_url}{page}"},
        )
        assert answer.status_code == 200, answer.text[:500]
        return answer.text


def _update(run: Running, record: str, n: int, message_id: str = "m", **more: Any) -> Update:
    patch = Patch(False, {"tags.n": (SET, n), "session_count": (ADD, 1)})
    fields = {"patch": patch, "kind": "push", **more}
    return Update(run.app.app_id, record, 1_700_000_000_000 + n, message_id, **fields)


def _fresh() -> str:
    return str(uuid.uuid4())


def _row(run: Running, record: str) -> tuple[Any, ...]:
    rows = run.rows(
        "SELECT tags->'n', session_count, mirrored_updates, identifier FROM record WHERE id = %s",
        record,
    )
    return rows[0] if rows else ()


def _letters(run: Running, record: str) -> list[tuple[Any, ...]]:
    return run.rows("SELECT id, error FROM dead_letter WHERE record = %s::uuid", record)


@pytest.fixture
def poison(pipeline: Running) -> Iterator[Running]:
    """While it lasts PostgreSQL refuses rows with the tag `poison`."""
    pipeline.sql.execute(
        "ALTER TABLE record ADD CONSTRAINT poison CHECK (NOT tags ? 'poison') NOT VALID"
    )
    yield pipeline
    pipeline.sql.execute("ALTER TABLE record DROP CONSTRAINT IF EXISTS poison")


def _poisoned(run: Running, child: str, parent: str) -> Update:
    ops = {"tags.poison": (SET, 1), "tags.n": (SET, 50), "session_count": (ADD, 7)}
    return _update(run, child, 50, patch=Patch(False, ops), links={"email": parent})


def test_a_dead_letter_lands_as_the_newest_and_in_its_record_only(
    poison: Running, admin: Admin
) -> None:
    child, parent = _fresh(), _fresh()
    poison.produce([_update(poison, child, 1), _update(poison, parent, 1, kind="email")])
    poison.produce([_poisoned(poison, child, parent), _update(poison, child, 60)])
    poison.wait(
        "both writes refused",
        lambda: bool(_letters(poison, child)) and bool(_letters(poison, parent)),
    )
    poison.wait("the newer update", lambda: _row(poison, child)[:2] == (60, 2))
    poison.wait_drained()  # and its mirror, which another lane applies
    before = _row(poison, parent)
    poison.sql.execute("ALTER TABLE record DROP CONSTRAINT poison")
    ((letter, error),) = _letters(poison, child)
    assert error.startswith("23514")
    page = f"/admin/dead-letters/replay/?ids={letter}"
    assert "is applied as the newest update" in admin.get(page).text
    refused = admin.submit(page, "/admin/dead-letters/replay/", ids=str(letter), reason=" ")
    assert "required" in refused
    assert _letters(poison, child)
    said = admin.submit(
        page, "/admin/dead-letters/replay/", ids=str(letter), reason="the check is gone"
    )
    assert "1 dead letter replayed" in said
    assert _letters(poison, child) == []
    poison.wait("the replay", lambda: _row(poison, child)[:2] == (50, 9))
    assert _row(poison, parent) == before
    assert "the check is gone" in admin.get("/admin/admin/logentry/").text

    ((letter, _),) = _letters(poison, parent)
    admin.submit(page, "/admin/dead-letters/replay/", ids=str(letter), reason="the parent, too")
    poison.wait("the parent", lambda: _row(poison, parent)[0] == 50)
    assert _row(poison, parent)[1] == before[1], "a mirror carries no counter of the child"
    assert _row(poison, child)[:2] == (50, 9)


def test_a_letter_that_is_there_after_its_ack_is_counted_once(
    poison: Running, admin: Admin
) -> None:
    """As if the process had died between Kafka's ack and COMMIT."""
    record = _fresh()
    ops = {"tags.poison": (SET, 1), "session_count": (ADD, 7)}
    poison.produce([_update(poison, record, 1, patch=Patch(False, ops))])
    poison.wait("refused", lambda: bool(_letters(poison, record)))
    poison.sql.execute("ALTER TABLE record DROP CONSTRAINT poison")
    poison.sql.execute(
        "CREATE TABLE kept AS SELECT * FROM dead_letter WHERE record = %s::uuid", (record,)
    )
    for _ in range(2):
        ((letter, _),) = _letters(poison, record)
        page = f"/admin/dead-letters/replay/?ids={letter}"
        admin.submit(page, "/admin/dead-letters/replay/", ids=str(letter), reason="again")
        poison.sql.execute("INSERT INTO dead_letter SELECT * FROM kept")
    last = _fresh()
    poison.produce([_update(poison, last, 1)])
    poison.wait("all that came before", lambda: bool(_row(poison, last)))
    poison.wait_drained()
    assert _row(poison, record)[1] == 7
    poison.sql.execute("DROP TABLE kept")
    poison.sql.execute("DELETE FROM dead_letter WHERE record = %s::uuid", (record,))


def test_what_cannot_be_replayed_says_why_and_is_deleted_with_a_reason(
    pipeline: Running, admin: Admin
) -> None:
    partition = partition_of(pipeline.app.app_id, PARTITIONS)
    pipeline.produce_raw(b"\xff{", partition=partition)
    find = "SELECT id FROM dead_letter WHERE error LIKE 'malformed%%'"
    pipeline.wait("malformed", lambda: len(pipeline.rows(find)) == 1)
    ((letter,),) = pipeline.rows(find)
    page = f"/admin/dead-letters/replay/?ids={letter}"
    assert "Cannot be replayed" in admin.get(page).text
    said = admin.submit(page, "/admin/dead-letters/replay/", ids=str(letter), reason="try it")
    assert "cannot be replayed: it is malformed" in said
    assert pipeline.rows(find) == [(letter,)]
    admin.submit(page, "/admin/dead-letters/delete/", ids=str(letter), reason="a tool wrote it")
    assert pipeline.rows(find) == []
    assert "a tool wrote it" in admin.get("/admin/admin/logentry/").text


def test_skipped_updates_are_replayed_after_the_rule_is_lifted(
    pipeline: Running, admin: Admin
) -> None:
    email, child, other = _fresh(), _fresh(), _fresh()
    app = pipeline.app.app_id
    pipeline.produce(
        [
            _update(pipeline, email, 1, kind="email"),
            _update(pipeline, child, 1, links={"email": email}),
        ]
    )
    pipeline.wait("the mirror", lambda: _row(pipeline, email)[1:3] == (1, 1))
    page = f"/admin/skipped/{app}/{email}/"
    rule = {"app": app, "record": email, "scope": "all", "active": "on", "reason": "too hot"}
    ends = {"expires_at_0": "2100-01-01", "expires_at_1": "00:00:00"}
    admin.submit("/admin/notify/skiprule/add/", "/admin/notify/skiprule/add/", **rule, **ends)
    assert pipeline.rows("SELECT active FROM skip_rule WHERE record = %s::uuid", email) == [(True,)]
    pipeline.produce(
        [
            *(_update(pipeline, child, n, f"c{n}") for n in range(2, 6)),
            *(_update(pipeline, email, n, f"e{n}", kind="email") for n in range(6, 9)),
            _update(pipeline, other, 99),
        ]
    )
    pipeline.wait("the others", lambda: bool(_row(pipeline, other)))
    pipeline.wait("the child", lambda: _row(pipeline, child)[1] == 5)
    assert _row(pipeline, email)[:3] == (1, 1, 1)
    assert "Lift the rule first" in admin.get(page).text
    early = admin.submit(page, page, do="replay", reason="before the rule is lifted")
    assert "lift the rule first" in early
    extended = admin.submit(page, page, do="extend", by="7", reason="still hot")
    assert "Extended until 2100-01-08" in extended
    admin.submit(page, page, do="lift", reason="the app is mended")
    text = admin.submit(page, page, do="replay", reason="bring them back")
    assert "The replay is ordered" in text
    assert "is running" in admin.submit(page, page, do="replay", reason="twice")
    env = {"NOTIFY_REPLAY_MESSAGES": "1"}
    done = json.loads(product.manage(pipeline.stack, "replay", "--json", env=env))
    assert done == {"found": 7, "sent": 7, "lost": 0, "open": 0, "error": ""}
    pipeline.wait("the replay", lambda: _row(pipeline, email)[:2] == (8, 4))
    assert _row(pipeline, child)[1] == 5
    assert _row(pipeline, other)[1] == 1
    shown = admin.get(page).text
    assert re.search(r"is-ok\">done", shown)
    assert "There is nothing to replay" in shown
    assert "there is nothing to replay" in admin.submit(page, page, do="replay", reason="once more")


def test_an_order_waits_for_a_rule_made_meanwhile(pipeline: Running, admin: Admin) -> None:
    record, app = _fresh(), pipeline.app.app_id
    pipeline.produce([_update(pipeline, record, 1)])
    pipeline.wait("the record", lambda: bool(_row(pipeline, record)))
    page = f"/admin/skipped/{app}/{record}/"
    add = "/admin/notify/skiprule/add/"
    rule = {"app": app, "record": record, "scope": "all", "active": "on", "reason": "too hot"}
    admin.submit(add, add, **rule, expires_at_0="", expires_at_1="")
    pipeline.produce([_update(pipeline, record, 2)])
    skipped = "SELECT 1 FROM skipped WHERE record = %s::uuid"
    pipeline.wait("skipped", lambda: bool(pipeline.rows(skipped, record)))
    admin.submit(page, page, do="lift", reason="mended")
    admin.submit(page, page, do="replay", reason="bring it back")
    admin.submit(add, add, **rule, expires_at_0="", expires_at_1="")
    with pytest.raises(DevstackError, match="lift the rule first"):
        product.manage(pipeline.stack, "replay")
    assert "lift the rule first" in admin.get(page).text
    admin.submit(page, page, do="lift", reason="mended again")
    product.manage(pipeline.stack, "replay")
    pipeline.wait("the replay", lambda: _row(pipeline, record)[:2] == (2, 2))


def test_without_kafka_a_letter_stays(pipeline: Running, admin: Admin) -> None:
    record = _fresh()
    pipeline.sql.execute(
        'INSERT INTO dead_letter (stream, "offset", app, record, error, message) '
        "SELECT id, 0, %s, %s, '23514: x', %s FROM stream LIMIT 1",
        (pipeline.app.app_id, record, _message(pipeline, record)),
    )
    ((letter, _),) = _letters(pipeline, record)
    env = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9", "NOTIFY_ACK_TIMEOUT_MS": "2000"}
    url = product.start_web(pipeline.stack, "web-away", env=env)
    pipeline.wait("web", lambda: product.answers(f"{url}/healthz/live"))
    page = f"/admin/dead-letters/replay/?ids={letter}"
    with Admin(url) as away:
        said = away.submit(page, "/admin/dead-letters/replay/", ids=str(letter), reason="now")
    assert "Kafka did not accept these letters" in said
    assert "stay in the list" in said
    assert _letters(pipeline, record)
    assert "Replayed to record" not in _trail(pipeline, record)


def _message(run: Running, record: str) -> bytes:
    from notify.domain.records.update import encode

    return encode(_update(run, record, 1))


def _trail(run: Running, record: str) -> str:
    """What the audit trail says of the record."""
    said = run.rows(
        "SELECT change_message FROM django_admin_log WHERE change_message LIKE %s", f"%{record}%"
    )
    return str(said)
