"""No log of any process has a key, a password, an address, a tag or a body, whatever goes wrong.

Everything that must stay out has MARK in it, so that one search of all logs finds it.
"""

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.error import HTTPError
from urllib.parse import urlsplit, urlunsplit
from urllib.request import Request, urlopen

import pytest

from devstack import product
from tests.running import Running, running
from tests.waiting import wait_for

pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]

MARK: Final = "zqmarkqz"
ADDRESS: Final = f"{MARK}@mail.example.com"
JWT: Final = f"eyJhbGciOiJFUzI1NiJ9.eyJ{MARK}.c2ln{MARK}"


def _with_password(url: str, *, user: str) -> str:
    """The URL with a password, which a Redis that asks for none does not mind."""
    parts = urlsplit(url)
    account = f"{parts.username or user}:{MARK}"
    return urlunsplit(parts._replace(netloc=f"{account}@{parts.netloc.rpartition('@')[2]}"))


@pytest.fixture(scope="module")
def talkative(
    postgres: str, redis_url: str, kafka: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Running, str]]:
    """Web, bridge and worker that log all that they would ever log, and web's URL."""
    directory = tmp_path_factory.mktemp("stack")
    with running(directory, f"t{uuid.uuid4().hex[:10]}") as run:
        env = {
            "NOTIFY_LOG_LEVEL": "DEBUG",
            "NOTIFY_SECRET_KEY": f"secret-key-{MARK}",
            "REDIS_URL": _with_password(run.stack.env["REDIS_URL"], user="default"),
        }
        web = product.start_web(run.stack, env=env)
        product.start_bridge(run.stack, env=env)
        product.start_worker(run.stack, "worker", env=env)
        product.wait_ready(run.stack, web, timeout_s=300)
        yield run, web


def _password(url: str) -> list[str]:
    found = urlsplit(url).password
    return [found] if found else []


def _call(url: str, body: bytes, headers: Mapping[str, str], *, method: str = "PUT") -> int:
    request = Request(url, body, {"Content-Type": "application/json", **headers}, method=method)
    try:
        with urlopen(request, timeout=180) as answer:
            return int(answer.status)
    except HTTPError as error:
        return error.code


def _silent(run: Running, *, keys: tuple[str, ...] = ()) -> None:
    for log in run.logs():
        text = log.read_text(errors="replace")
        passwords = (*_password(run.stack.env["DATABASE_URL"]), product.login_password(run.stack))
        for secret in (MARK, run.app.key, *passwords, *keys):
            found = [line[:600] for line in text.splitlines() if secret in line]
            assert not found, f"{log.stem}: {found[:2]}"


def _letters(run: Running) -> int:
    return int(run.rows("SELECT count(*) FROM dead_letter")[0][0])


def _body(run: Running, **more: Any) -> bytes:
    told = {"app_id": run.app.app_id, "tags": {MARK: MARK, "mail": ADDRESS}, **more}
    return json.dumps(told).encode()


def test_what_goes_well(talkative: tuple[Running, str]) -> None:
    run, web = talkative
    record = str(uuid.uuid4())
    key = {"Authorization": f"Key {run.app.key}"}
    url = f"{web}/api/v1/players/{record}"
    assert _call(url, _body(run, identifier=ADDRESS), key) in (200, 202)
    run.wait("applied", lambda: bool(run.rows("SELECT 1 FROM record WHERE id = %s", record)))
    _silent(run)


def test_requests_that_are_refused(talkative: tuple[Running, str]) -> None:
    run, web = talkative
    url = f"{web}/api/v1/players/{uuid.uuid4()}"
    right = {"Authorization": f"Key {run.app.key}"}
    refused = [
        _call(url, b'{"tags": {"zqmarkqz": "zqmarkqz', right),
        _call(url, b'{"tags": {"a": "zqmarkqz\xff"}}', right),
        _call(url, f'["{MARK}"]'.encode(), right),
        _call(url, _body(run, app_id=MARK), right),
        _call(url, _body(run), {"Authorization": f"Key {MARK}"}),
        _call(url, _body(run), {"Authorization": f"Bearer {JWT}"}),
        _call(url, _body(run, notification_types=MARK), right),
        _call(f"{web}/no/{ADDRESS}?key={MARK}", b"{}", right),
        _call(f"{web}/admin/{ADDRESS}/", b"{}", right),
        _call(f"{web}/admin/login/", f"username={ADDRESS}&password={MARK}".encode(), right),
    ]
    assert all(status >= 300 or status in (200, 202) for status in refused)
    _silent(run, keys=(JWT,))


def test_messages_that_are_no_updates(talkative: tuple[Running, str]) -> None:
    run, _ = talkative
    before = _letters(run)
    for message in (MARK.encode(), f'{{"{MARK}": "{ADDRESS}"'.encode(), b"\xff" + MARK.encode()):
        run.produce_raw(message, partition=0)
    run.wait("three dead letters", lambda: _letters(run) == before + 3)
    _silent(run)


def test_values_that_postgresql_refuses(talkative: tuple[Running, str]) -> None:
    """PostgreSQL's own words quote the row: its constraint, its types, and what a trigger raises."""
    run, web = talkative
    key = {"Authorization": f"Key {run.app.key}"}
    run.sql.execute(
        "ALTER TABLE record ADD CONSTRAINT poison CHECK (tags ->> 'poison' IS NULL) NOT VALID"
    )
    before = _letters(run)
    try:
        poison = _body(run, tags={"poison": MARK, "mail": ADDRESS})
        _call(f"{web}/api/v1/players/{uuid.uuid4()}", poison, key)
        run.wait("a dead letter", lambda: _letters(run) == before + 1)
    finally:
        run.sql.execute("ALTER TABLE record DROP CONSTRAINT poison")
    _silent(run)


@pytest.mark.parametrize("table", ["record", "stream"])
def test_errors_of_postgresql_that_quote(talkative: tuple[Running, str], table: str) -> None:
    """Of a worker's statement and of a bridge's: an error that is no fault of the data."""
    run, web = talkative
    key = {"Authorization": f"Key {run.app.key}"}
    run.sql.execute(
        f"CREATE FUNCTION quoting() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE "
        f"'for type x: {MARK} of {ADDRESS}' USING DETAIL = '{MARK}', HINT = '{MARK}', "
        "ERRCODE = '53100'; END $$"
    )
    run.sql.execute(
        f"CREATE TRIGGER quoting BEFORE INSERT OR UPDATE ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION quoting()"
    )
    record = str(uuid.uuid4())
    try:
        _call(f"{web}/api/v1/players/{record}", _body(run), key)
        wait_for(lambda: any("53100" in log.read_text() for log in run.logs()))
    finally:
        run.sql.execute("DROP FUNCTION quoting CASCADE")
    run.wait("applied", lambda: bool(run.rows("SELECT 1 FROM record WHERE id = %s", record)))
    _silent(run)


def test_services_that_are_away(talkative: tuple[Running, str]) -> None:
    """Each says what is away, and none with what password it tried."""
    run, _ = talkative
    away = {
        "DATABASE_URL": f"postgresql://u:{MARK}@127.0.0.1:1/db",
        "REDIS_URL": f"redis://u:{MARK}@127.0.0.1:1/0",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "PLAIN",
        "KAFKA_SASL_USERNAME": "u",
        "KAFKA_SASL_PASSWORD": MARK,
        "NOTIFY_LOG_LEVEL": "DEBUG",
    }
    web = product.start_web(run.stack, "web-away", env=away)
    product.start_bridge(run.stack, "bridge-away", env=away)
    product.start_worker(run.stack, "worker-away", env=away)
    kafka_only = {name: text for name, text in away.items() if not name.endswith("_URL")}
    product.start_bridge(run.stack, "bridge-kafka-away", env=kafka_only)
    wait_for(lambda: product.answers(f"{web}/healthz/live"))
    wait_for(lambda: product.answers(f"{web}/healthz/ready", status=503))
    for name, word in (
        ("web-away", "apps_not_read"),
        ("bridge-away", "service_away"),
        ("bridge-kafka-away", "service_away"),
        ("worker-away", "Cannot connect"),
    ):
        wait_for(lambda name=name, word=word: word in run.stack.log(name).read_text())  # type: ignore[misc]
    _silent(run)
    for name in ("web-away", "bridge-away", "worker-away", "bridge-kafka-away"):
        run.stack.child(name).stop()


def test_the_mark_is_found_where_it_is(talkative: tuple[Running, str]) -> None:
    """The search itself can fail."""
    run, _ = talkative
    assert os.fspath(run.stack.directory)
    leak = run.stack.log("leak")
    leak.write_text(f"a line with {MARK}\n")
    with pytest.raises(AssertionError, match="leak"):
        _silent(run)
    leak.unlink()
