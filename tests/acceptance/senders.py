"""Threads that send random traffic over keep-alive connections, and count what was accepted."""

import http.client
import json
import random
import threading
import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from tests.acceptance.random_traffic import Body, Customer, Device, World

BATCH: Final = 250
TIMEOUT_S: Final = 30
#: How long web may answer 503 or 429 to one request.
PATIENCE_S: Final = 60.0


class Client:
    """One connection. What web asks to send again later is sent again."""

    def __init__(self, web_url: str) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(web_url).netloc, timeout=TIMEOUT_S)

    def call(self, method: str, path: str, body: Body, *, key: str = "") -> Body:
        """The fields of a 200 or 202. Raises AssertionError for anything else."""
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Key {key}"
        deadline = time.monotonic() + PATIENCE_S
        while True:
            content = None if method == "DELETE" else json.dumps(body)
            self._connection.request(method, path, content, headers)
            answer = self._connection.getresponse()
            received = answer.read()
            if answer.status not in (429, 503) or time.monotonic() > deadline:
                break
            time.sleep(float(answer.headers["Retry-After"]))
        assert answer.status in (200, 202), f"{method} {path}: {answer.status} {received[:500]!r}"
        fields: Body = json.loads(received)
        return fields

    def close(self) -> None:
        """End the connection."""
        self._connection.close()


class Senders:
    """Threads that send until so many updates were accepted. Errors end them all."""

    def __init__(
        self, web_url: str, world: World, seed: int, *, batched: int, single: int, threads: int
    ) -> None:
        self._web_url = web_url
        self._world = world
        self._wanted = {"batched": batched, "single": single}
        self._accepted = {"batched": 0, "single": 0}
        self._lock = threading.Lock()
        self._errors: list[BaseException] = []
        self._threads = [
            threading.Thread(
                target=self._run,
                args=(act, random.Random(f"{seed} {name} {number}")),
                name=f"{name} {number}",
                daemon=True,
            )
            for number in range(threads)
            for name, act in (("batched", self._send_batch), ("single", self._live))
        ]
        for thread in self._threads:
            thread.start()

    @property
    def accepted(self) -> int:
        """Updates that web has accepted so far. Raises what a thread has failed with."""
        with self._lock:
            if self._errors:
                raise self._errors[0]
            return sum(self._accepted.values())

    @property
    def running(self) -> bool:
        """Whether any thread still sends."""
        return any(thread.is_alive() for thread in self._threads)

    def _run(self, act: Callable[[Client, random.Random], None], dice: random.Random) -> None:
        client = Client(self._web_url)
        try:
            while not self._is_done("batched" if act == self._send_batch else "single"):
                act(client, dice)
        except Exception as error:  # noqa: BLE001 - the test's thread raises it
            with self._lock:
                self._errors.append(error)
        finally:
            client.close()

    def _is_done(self, kind: str) -> bool:
        with self._lock:
            return bool(self._errors) or self._accepted[kind] >= self._wanted[kind]

    def _count(self, kind: str, updates: int) -> None:
        with self._lock:
            self._accepted[kind] += updates

    def _send_batch(self, client: Client, dice: random.Random) -> None:
        customer, items = self._world.batch(dice, BATCH)
        answer = client.call(
            "POST", f"/apps/{customer.app}/batch", {"updates": items}, key=customer.key
        )
        assert answer["rejected"] == 0, answer
        self._count("batched", answer["accepted"])

    def _live(self, client: Client, dice: random.Random) -> None:
        customer: Customer = dice.choice(self._world.customers)

        def call(method: str, path: str, body: Body) -> Body:
            answer = client.call(method, path, body)
            self._count("single", 1)
            return answer

        Device(customer.app, dice, call).live()
