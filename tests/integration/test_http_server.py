"""Granian itself, with the real services behind: what only a server shows."""

import contextlib
import gzip
import http.client
import json
import socket
import threading
import uuid
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from urllib.parse import urlsplit

import psutil
import pytest

from devstack import product
from notify.web.http.bodies import DISCARDED_BYTES_MAX
from tests.running import Running, running

#: `product.start_web` gives web so many.
THREADS = 24
pytestmark = [pytest.mark.timeout(900), pytest.mark.slow]


@pytest.fixture(scope="module")
def server(
    postgres: str, redis_url: str, kafka: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Running, str]]:
    """Web alone: no bridge and no worker runs."""
    with running(tmp_path_factory.mktemp("stack"), f"t{uuid.uuid4().hex[:10]}") as run:
        # Granian's default is 30 s. It ends a kept connection that is idle for as long, too.
        env = {"GRANIAN_HTTP1_HEADER_READ_TIMEOUT": "15000"}
        address = urlsplit(product.start_web(run.stack, env=env)).netloc
        run.wait("web is ready", lambda: _is_ready(address))
        yield run, address


def _is_ready(address: str) -> bool:
    try:
        return call(address, "GET", "/healthz/ready")[0] == 200
    except OSError:
        return False


def call(
    address: str,
    method: str,
    path: str,
    body: bytes | Iterator[bytes] | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict[str, object]]:
    """Status and JSON of one request; an iterator is sent in chunks without a length."""
    connection = http.client.HTTPConnection(address, timeout=180)
    try:
        chunked = body is not None and not isinstance(body, bytes)
        connection.request(method, path, body, headers or {}, encode_chunked=chunked)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.headers.get_content_type() == "application/json"
        return answer.status, json.loads(text)
    finally:
        connection.close()


def test_bodies_with_and_without_a_length(server: tuple[Running, str]) -> None:
    run, address = server
    body = json.dumps({"app_id": run.app.app_id, "device_type": 1, "identifier": "t"}).encode()
    plain = call(address, "POST", "/players", body)
    chunked = call(
        address, "POST", "/players", iter([body[:9], body[9:]]), {"Transfer-Encoding": "chunked"}
    )
    assert plain == chunked
    assert plain[0] == 200


def test_too_large_bodies(server: tuple[Running, str]) -> None:
    """Refused, or cut off: web answers and closes while the client may still be sending."""
    _, address = server
    endless = (b" " * 1024 for _ in range(100))
    for body, headers in ((b"x" * 100_000, {}), (endless, {"Transfer-Encoding": "chunked"})):
        try:
            assert call(address, "POST", "/players", body, headers)[0] == 413
        except (BrokenPipeError, ConnectionResetError):
            continue
    assert call(address, "GET", "/healthz/live")[0] == 200


def test_many_clients_at_once_are_all_acked(server: tuple[Running, str]) -> None:
    run, address = server
    statuses: Counter[int] = Counter()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection(address, timeout=180)
        for _ in range(20):
            body = json.dumps({"app_id": run.app.app_id, "tags": {"n": number}}).encode()
            connection.request("PUT", f"/players/{uuid.uuid4()}", body)
            answer = connection.getresponse()
            answer.read()
            statuses[answer.status] += 1
        connection.close()

    threads = [threading.Thread(target=client, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == {200: 400}


def test_metrics_and_health(server: tuple[Running, str]) -> None:
    run, address = server
    assert call(address, "GET", "/healthz/live") == (200, {"status": "ok"})
    status, body = call(address, "GET", "/healthz/pipeline")
    assert status == 503
    assert "no bridge" in str(body["errors"])
    connection = http.client.HTTPConnection(address, timeout=180)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    connection.close()
    assert "notify_web_ack_seconds_count" in text
    assert run.app.app_id not in text
    assert run.app.key not in "".join(path.read_text() for path in run.logs())


def test_packed_bodies_and_bombs_do_not_fill_memory(server: tuple[Running, str]) -> None:
    """Eight clients send nothing but bombs and large bodies: all are refused, and web stays as it is."""
    run, address = server
    web = psutil.Process(run.stack.child("web").pid)
    bomb = gzip.compress(b" " * 20_000_000)
    assert len(bomb) < 32 * 1024
    sent: list[tuple[bytes | None, dict[str, str]]] = [
        (bomb, {"Content-Encoding": "gzip"}),
        (b"x" * 5_000_000, {}),
        (None, {}),
    ]
    before = _rss(web)

    def storm(_: int) -> list[int]:
        found = []
        for _ in range(5):
            for body, headers in sent:
                chunks = iter([b"x" * 65_536] * 100) if body is None else body
                try:
                    found.append(call(address, "POST", "/players", chunks, headers)[0])
                except OSError:
                    found.append(413)  # refused before all of it was sent
        return found

    with ThreadPoolExecutor(8) as clients:
        statuses = Counter(status for found in clients.map(storm, range(8)) for status in found)
    assert statuses == {413: 120}
    assert _rss(web) - before < 64 * 1024 * 1024
    assert call(address, "GET", "/healthz/ready")[0] == 200


def _rss(process: psutil.Process) -> int:
    members = [process, *process.children(recursive=True)]
    return sum(each.memory_info().rss for each in members)


def test_a_storm_of_one_app_is_refused_and_another_app_is_served(
    server: tuple[Running, str],
) -> None:
    """By counts in Redis: the default limit is lowered for one app, as in the admin."""
    run, address = server
    run.sql.execute("UPDATE app SET requests_per_s = 1")
    other = json.loads(product.manage(run.stack, "app", "create", "Calm", "--json"))
    path = f"/apps/{run.app.app_id}/android_params.js"

    def storm() -> Counter[int]:
        return Counter(call(address, "GET", path)[0] for _ in range(40))

    try:
        run.wait("the limit is known", lambda: storm()[429] > 0)
        calm = f"/apps/{other['id']}/android_params.js"
        run.wait("the app is known", lambda: call(address, "GET", calm)[0] == 200)
        assert Counter(call(address, "GET", calm)[0] for _ in range(20)) == {200: 20}
    finally:
        run.sql.execute("UPDATE app SET requests_per_s = NULL")
    run.wait("the limit is gone", lambda: storm()[429] == 0)


# -- what is not a request, or is one very slowly --------------------------------------------------


def dial(address: str, sent: bytes) -> socket.socket:
    """A connection that has sent this."""
    host, _, port = address.partition(":")
    line = socket.create_connection((host, int(port)), timeout=180)
    line.sendall(sent)
    return line


def rest(line: socket.socket) -> bytes:
    """All that comes until the server closes. Fails where it does not within the socket's time limit."""
    parts = []
    with line, contextlib.suppress(ConnectionResetError):
        while part := line.recv(65_536):
            parts.append(part)
    return b"".join(parts)


PUT = b"PUT /players/" + b"1" * 8 + b"-1111-4111-8111-" + b"1" * 12 + b" HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        PUT + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\n{}    ",
        PUT + b"Content-Length: -1\r\n\r\n{}",
        PUT + b"Content-Length: 1e1\r\n\r\n{}",
        PUT + b"Transfer-Encoding: gzip\r\n\r\n{}",
        PUT + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nxyz\r\n{}\r\n0\r\n\r\n",
        PUT + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n" + b"f" * 17 + b"\r\n",
        PUT + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nwrong\r\n0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(80),
        b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"x" * 2_000_000,
    ],
)
def test_what_is_no_good_http_is_refused_and_the_connection_closed(
    server: tuple[Running, str], sent: bytes
) -> None:
    _, address = server
    try:
        got = rest(dial(address, sent))
    except (BrokenPipeError, ConnectionResetError):
        got = b""
    assert got[:12] in (b"", b"HTTP/1.1 400", b"HTTP/1.1 431")
    assert call(address, "GET", "/healthz/live")[0] == 200


def test_slow_heads_are_cut_off_and_hold_up_nobody(server: tuple[Running, str]) -> None:
    """100 of them take no thread meanwhile."""
    run, address = server
    lines = [dial(address, PUT) for _ in range(100)]
    body = json.dumps({"app_id": run.app.app_id}).encode()
    assert call(address, "PUT", f"/players/{uuid.uuid4()}", body)[0] == 200
    for line in lines:
        assert rest(line) == b""


def test_slow_bodies_hold_their_threads_and_give_them_back(server: tuple[Running, str]) -> None:
    """Why docs/limits.md wants a proxy in front: fewer of them than web has threads hold up nobody;
    with more, others wait until they are gone."""
    run, address = server
    body = json.dumps({"app_id": run.app.app_id}).encode()
    slow = PUT + b"Content-Length: 1000\r\n\r\n{"
    for connections in (THREADS - 4, 3 * THREADS):
        lines = [dial(address, slow) for _ in range(connections)]
        if connections < THREADS:
            assert call(address, "PUT", f"/players/{uuid.uuid4()}", body)[0] == 200
        for line in lines:
            line.close()
        assert call(address, "PUT", f"/players/{uuid.uuid4()}", body)[0] == 200


@pytest.mark.parametrize("missing", [0, 1])
def test_a_chunked_body_whose_end_is_missing(server: tuple[Running, str], missing: int) -> None:
    """Granian does not tell a cut from an end. Nothing but white space can follow a whole object, so
    that is taken; part of one is not."""
    run, address = server
    whole = json.dumps({"app_id": run.app.app_id, "tags": {"cut": "1"}}).encode()
    part = whole[: len(whole) - missing]
    line = dial(address, PUT + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s" % (len(part), part))
    line.shutdown(socket.SHUT_WR)
    assert rest(line)[9:12] in (b"", b"400" if missing else b"200")


@pytest.mark.parametrize("size", [2_000, 60_000, DISCARDED_BYTES_MAX])
def test_the_answer_to_a_body_that_is_not_stored_arrives(
    server: tuple[Running, str], size: int
) -> None:
    """And the connection stays usable: an SDK that sees none sends the body again."""
    run, address = server
    path = f"/apps/{run.app.app_id}/custom_events"
    sdk = {"SDK-Version": "onesignal/ios/050601"}
    connection = http.client.HTTPConnection(address, timeout=180)
    for _ in range(20):
        connection.request("POST", path, b"x" * size, sdk)
        answer = connection.getresponse()
        assert json.loads(answer.read()) == {"success": True}
    connection.close()
