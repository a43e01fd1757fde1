"""Threads that send random traffic over keep-alive connections, and count what was accepted."""

import json
import random
import threading
import time
from typing import Final

from devstack.keep_alive import KeepAlive
from tests.acceptance.random_traffic import Body, Customer, Device, World

BATCHED: Final = "batched"
SINGLE: Final = "single"
BATCH: Final = 250
TIMEOUT_S: Final = 180
#: How long web may answer 503 or 429 to one request.
PATIENCE_S: Final = 180.0


class Client:
    """One connection. What web asks to send again later is sent again."""

    def __init__(self, web_url: str) -> None:
        self._connection = KeepAlive(web_url, timeout_s=TIMEOUT_S)

    def call(self, method: str, path: str, body: Body, *, key: str = "") -> Body:
        """The fields of a 200 or 202. Raises AssertionError for anything else."""
        headers = {"Content-Type": "application/json"}
        if key:
            headers["Authorization"] = f"Key {key}"
        deadline = time.monotonic() + PATIENCE_S
        while True:
            content = None if method == "DELETE" else json.dumps(body)
            answer, received = self._connection.call(method, path, content, headers)
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
    """Threads that send batches and single calls, each kind up to its share of what is wanted.

    `allow` raises the share; at 1 they end when all is accepted. The first error ends them all.
    """

    def __init__(
        self, web_url: str, world: World, seed: int, *, batched: int, single: int, threads: int
    ) -> None:
        self._web_url = web_url
        self._world = world
        self._wanted = {BATCHED: batched, SINGLE: single}
        self._accepted = {BATCHED: 0, SINGLE: 0}
        self._share = 0.0
        self._acting = 0
        self._lock = threading.Lock()
        self._errors: list[BaseException] = []
        for number in range(threads):
            for kind in (BATCHED, SINGLE):
                dice = random.Random(f"{seed} {kind} {number}")
                threading.Thread(target=self._run, args=(kind, dice), daemon=True).start()

    def allow(self, share: float) -> None:
        """Go on up to this share of all."""
        with self._lock:
            self._share = share

    @property
    def accepted(self) -> int:
        """Updates that web has accepted so far."""
        with self._lock:
            return sum(self._accepted.values())

    @property
    def rest(self) -> bool:
        """Whether the allowed share of both kinds is accepted, and no request is under way.

        Raises what a thread has failed with.
        """
        with self._lock:
            if self._errors:
                raise self._errors[0]
            return not self._acting and all(map(self._is_done, self._wanted))

    def _run(self, kind: str, dice: random.Random) -> None:
        client = Client(self._web_url)
        act = self._send_batch if kind == BATCHED else self._live
        try:
            while not self._errors and not (self._share == 1 and self._is_done(kind)):
                with self._lock:
                    is_due = not self._is_done(kind)
                    self._acting += is_due
                if is_due:
                    act(client, dice)
                    with self._lock:
                        self._acting -= 1
                else:
                    time.sleep(0.005)
        except Exception as error:  # noqa: BLE001 - the test's thread raises it
            with self._lock:
                self._errors.append(error)
        finally:
            client.close()

    def _is_done(self, kind: str) -> bool:
        return self._accepted[kind] >= self._share * self._wanted[kind]

    def _count(self, kind: str, updates: int) -> None:
        with self._lock:
            self._accepted[kind] += updates

    def _send_batch(self, client: Client, dice: random.Random) -> None:
        customer, items = self._world.batch(dice, BATCH)
        answer = client.call(
            "POST", f"/apps/{customer.app}/batch", {"updates": items}, key=customer.key
        )
        assert answer["rejected"] == 0, answer
        self._count(BATCHED, answer["accepted"])

    def _live(self, client: Client, dice: random.Random) -> None:
        customer: Customer = dice.choice(self._world.customers)

        def call(method: str, path: str, body: Body) -> Body:
            answer = client.call(method, path, body)
            self._count(SINGLE, 1)
            return answer

        Device(customer.app, dice, call).live()
