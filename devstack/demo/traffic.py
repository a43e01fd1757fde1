"""Sends requests to the HTTP API as SDKs do: those of normal devices, and of the app of the incident."""

import json
import random
import threading
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, Final

from devstack.keep_alive import KeepAlive

ADMIN_EMAIL: Final = "admin@closely.example"
#: Requests per second of all normal apps together, and of the incident's devices.
NORMAL_PER_S: Final = 120
INCIDENT_PER_S: Final = 160
THREADS: Final = 4


@dataclass(slots=True)
class TrafficCounts:
    """The numbers of accepted and refused requests, and of linked devices."""

    accepted: int = 0
    refused: int = 0
    devices: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)


class DemoClient:
    """One keep-alive connection to web."""

    def __init__(self, web_url: str, counts: TrafficCounts) -> None:
        self._counts = counts
        self._connection = KeepAlive(web_url, timeout_s=15)

    def call(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Sends a request. Returns the answer's JSON; empty if it was refused or the connection broke."""
        try:
            answer, content = self._connection.call(
                method, path, json.dumps(body), {"Content-Type": "application/json"}
            )
            is_ok = answer.status in (200, 202)
        except (OSError, HTTPException):
            is_ok, content = False, b"{}"
        with self._counts.lock:
            self._counts.accepted += is_ok
            self._counts.refused += not is_ok
        return json.loads(content) if is_ok else {}


class Normal:
    """Devices of many apps that start sessions and set tags."""

    def __init__(self, apps: list[str]) -> None:
        self._devices = [(app, str(uuid.uuid4())) for app in apps for _ in range(50)]

    def act(self, client: DemoClient) -> None:
        """Sends one request of a random device."""
        app, device = random.choice(self._devices)  # noqa: S311 - not for security
        body: dict[str, Any] = {"app_id": app}
        if random.random() < 0.3:  # noqa: S311
            client.call("POST", f"/players/{device}/on_session", {**body, "device_type": 1})
        else:
            body["tags"] = {"level": str(random.randint(1, 99))}  # noqa: S311
            client.call("PUT", f"/players/{device}", body)


class Incident:
    """The app that calls `set email` with its administrator's address on every device."""

    #: The average number of requests of one `act`.
    REQUESTS: Final = 0.25 * 3 + 0.2 * 2 + 0.55

    def __init__(self, app: str, counts: TrafficCounts) -> None:
        self.app = app
        self.email_id = ""
        self._counts = counts
        self._devices: list[str] = []

    def act(self, client: DemoClient) -> None:
        """Links a new device, or sends tags of a linked device, sometimes also of the email record."""
        dice = random.random()  # noqa: S311
        if not self._devices or dice < 0.25:
            self._link(client)
            return
        body = {"app_id": self.app, "tags": {"score": str(random.randint(1, 99))}}  # noqa: S311
        device = random.choice(self._devices)  # noqa: S311
        client.call("PUT", f"/players/{device}", body)
        if dice < 0.45:
            client.call("PUT", f"/players/{self.email_id}", body)

    def _link(self, client: DemoClient) -> None:
        device = client.call(
            "POST",
            "/players",
            {"app_id": self.app, "device_type": 1, "identifier": uuid.uuid4().hex},
        ).get("id")
        email = client.call(
            "POST",
            "/players",
            {
                "app_id": self.app,
                "device_type": 11,
                "identifier": ADMIN_EMAIL,
                "device_player_id": device,
            },
        ).get("id")
        if device and email:
            self.email_id = email
            client.call(
                "PUT", f"/players/{device}", {"app_id": self.app, "parent_player_id": email}
            )
            self._devices.append(device)
            with self._counts.lock:
                self._counts.devices += 1


class Load:
    """Threads that call `act` `per_s` times per second, until stopped."""

    def __init__(
        self,
        act: Callable[[DemoClient], None],
        web_url: str,
        counts: TrafficCounts,
        *,
        per_s: float,
    ) -> None:
        self._stopped = threading.Event()
        self._threads = [
            threading.Thread(
                target=self._run,
                args=(act, DemoClient(web_url, counts), THREADS / per_s),
                daemon=True,
            )
            for _ in range(THREADS)
        ]
        for thread in self._threads:
            thread.start()

    def _run(self, act: Callable[[DemoClient], None], client: DemoClient, pause_s: float) -> None:
        due = time.monotonic()
        while not self._stopped.is_set():
            act(client)
            due = max(due + pause_s, time.monotonic() - 1)
            self._stopped.wait(max(0.0, due - time.monotonic()))

    def stop(self) -> None:
        """Stops the threads. Returns after the last answer."""
        self._stopped.set()
        for thread in self._threads:
            thread.join()
