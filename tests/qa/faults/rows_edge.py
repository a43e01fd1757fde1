"""The door: bodies that are too large, bodies that never end, and a restart of everything behind it."""

import contextlib
import http.client
import itertools
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Final, Self
from urllib.parse import urlsplit

import psutil

from devstack import product
from devstack.product import DemoApp
from tests import proxy
from tests.proxy import Proxy
from tests.qa.faults import rows_kafka
from tests.qa.faults.load import Outcome, slowest_s, told
from tests.qa.faults.matrix import row
from tests.qa.faults.scene import Kind, Scene

MB: Final = 1 << 20
OVERSIZED_SENDERS: Final = 20
OVERSIZED_S: Final = 10.0
#: Longer than the proxy waits for a whole request (timeout http-request, 10 s).
SLOW_S: Final = 15.0


@row(
    "oversized-requests",
    "20 connections send bodies of 33 KB to 20 MB, with a length or chunked, for 10 s",
    bound_s=15,
    fast=True,
)
def _oversized_requests(scene: Scene) -> str:
    began = time.monotonic()
    answers: Counter[str] = Counter()
    threads = [
        threading.Thread(target=_send_oversized, args=(scene, began + OVERSIZED_S, n, answers))
        for n in range(OVERSIZED_SENDERS)
    ]
    for thread in threads:
        thread.start()
    rss = 0
    while any(thread.is_alive() for thread in threads):
        rss = max(rss, _rss(scene, "web"))
        scene.flow(0.2)
    calls = scene.calls_since(began)
    assert set(answers) <= {"413", "cut"}, answers
    assert answers["413"], answers
    _assert_all_ok(scene, began)
    return (
        f"{answers['413']} got 413, {answers['cut']} were cut off; web took at most "
        f"{rss // MB} MB; of the load {told(calls)}, the slowest after {slowest_s(calls):.1f} s"
    )


def _send_oversized(scene: Scene, until: float, number: int, answers: "Counter[str]") -> None:
    """Requests with too large a body, one after the other, each on a new connection."""
    app = scene.apps[0]
    netloc = urlsplit(scene.web_urls[0]).netloc
    headers = {"Content-Type": "application/json", "Authorization": f"Key {app.key}"}
    single, batch = ("PUT", "/players/x"), ("POST", f"/apps/{app.app_id}/batch")
    shapes = itertools.cycle(
        [(single, 33 * 1024), (batch, 600 * 1024), (batch, 20 * MB), (single, 20 * MB)]
    )
    for turn in itertools.count(number):
        if time.monotonic() > until:
            return
        (method, path), size = next(shapes)
        line = http.client.HTTPConnection(netloc, timeout=15)
        try:
            if turn % 2:
                line.request(method, path, _chunks(size), headers, encode_chunked=True)
            else:
                line.request(method, path, b" " * size, headers)
            answers[str(line.getresponse().status)] += 1
        except (OSError, http.client.HTTPException):
            answers["cut"] += 1
        finally:
            line.close()


def _chunks(size: int) -> Iterator[bytes]:
    part = b" " * (64 * 1024)
    yield from (part for _ in range(-(-size // len(part))))


@row(
    "slow-requests",
    "200 connections to the proxy send headers and then a byte of body a second, for 15 s",
    bound_s=15,
    alone=True,
    needs=proxy.needs,
)
def _slow_requests(scene: Scene) -> str:
    began = time.monotonic()
    front = _behind_proxy(scene)
    with _Slow(front.url, scene.apps[0], connections=200) as slow:
        scene.flow(SLOW_S)
        answered = slow.answered()
    _assert_all_ok(scene, began)
    assert answered == {"408": 200}, answered
    calls = scene.calls_since(began)
    return (
        f"all 200 got 408 from HAProxy after 10 s; of the load {told(calls)}, the slowest after "
        f"{slowest_s(calls):.1f} s"
    )


@row(
    "slow-requests-unproxied",
    "60 connections send headers and then a byte of body a second, for 10 s, straight to web",
    bound_s=20,
)
def _slow_requests_unproxied(scene: Scene) -> str:
    began = time.monotonic()
    with _Slow(scene.web_urls[0], scene.apps[0], connections=60):
        scene.flow(10)
        calls = [call for call in scene.calls_since(began) if call.outcome is Outcome.OK]
    return (
        f"{len(calls)} calls of the load were answered meanwhile: each slow body holds one of web's 24 "
        "threads, so a proxy that buffers bodies belongs in front (docs/operations.md)"
    )


class _Slow:
    """Connections that send the head of a request, and a byte of its body a second, until the end."""

    def __init__(self, url: str, app: DemoApp, *, connections: int) -> None:
        netloc = urlsplit(url)
        self._lines = [
            socket.create_connection((netloc.hostname, netloc.port)) for _ in range(connections)
        ]
        head = (
            f"POST /apps/{app.app_id}/batch HTTP/1.1\r\nHost: x\r\n"
            f"Content-Type: application/json\r\nAuthorization: Key {app.key}\r\n"
            "Content-Length: 5000\r\n\r\n"
        )
        for line in self._lines:
            line.sendall(head.encode())
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for line in self._lines:
            line.close()

    def answered(self) -> dict[str, int]:
        """How often each status was answered so far, "" for none."""
        found: Counter[str] = Counter()
        for line in self._lines:
            line.setblocking(False)
            with contextlib.suppress(OSError):
                found[line.recv(100).decode().partition(" ")[2][:3]] += 1
        return found

    def _send(self) -> None:
        while not self._ended.wait(1):
            for line in self._lines:
                with contextlib.suppress(OSError):
                    line.sendall(b" ")


@row(
    "rolling-restart",
    "each web (drained), bridge and worker, Redis, PostgreSQL and each broker restarted in turn",
    bound_s=15,
    kind=Kind.THREE,
    alone=True,
    needs=proxy.needs,
)
def _rolling_restart(scene: Scene) -> str:
    front = _behind_proxy(scene)
    began = time.monotonic()
    for server, name in (("web-1", "web"), ("web-2", "web-2")):
        front.drain(server)
        scene.restart(name)
        front.undrain(server)
        scene.flow(2)
    for name in (*scene.bridges, *scene.workers, "redis", "postgres"):
        scene.restart(name)
        scene.recovered(time.monotonic(), timeout_s=30)
    for name in rows_kafka.BROKERS.values():
        rows_kafka.restart_broker(scene, name)
    calls = scene.calls_since(began)
    _assert_all_ok(scene, began)
    return (
        f"{told(calls)} through HAProxy in {time.monotonic() - began:.0f} s, the slowest after "
        f"{slowest_s(calls):.1f} s"
    )


def _behind_proxy(scene: Scene) -> Proxy:
    """A second web, and HAProxy in front of both, to which the load goes from now on."""
    scene.web_urls.append(product.start_web(scene.stack, "web-2", env=scene.env_of("web")))
    front = Proxy(scene.stack, scene.web_urls)
    scene.send_to([front.url])
    return front


def _assert_all_ok(scene: Scene, began: float) -> None:
    bad = [call for call in scene.calls_since(began) if call.outcome is not Outcome.OK]
    assert not bad, f"{len(bad)} calls of the load failed: {bad[:3]}"


def _rss(scene: Scene, name: str) -> int:
    """Bytes of the process and its children."""
    process = psutil.Process(scene.stack.child(name).pid)
    return sum(each.memory_info().rss for each in [process, *process.children(recursive=True)])
