"""Steady traffic over HTTP whose every call is written down: what was sent and what became of it.

Each sender has records of its own and gives a record's updates rising numbers (`tags.n`), so that the
topic tells which of them Kafka has, how often and in which order.
"""

import itertools
import json
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from http.client import HTTPException
from typing import Any, Final

from devstack.keep_alive import KeepAlive
from devstack.product import DemoApp

#: Requests a second, of all senders; each is a batch or, one time in four, a single call.
REQUESTS_S: Final = 40
SENDERS: Final = 4
BATCH: Final = 10
RECORDS: Final = 40
TIMEOUT_S: Final = 15.0

#: One update: app, record, number.
Sent = tuple[str, str, int]


class Outcome(StrEnum):
    """What the caller knows of its call."""

    OK = "ok"  # 2xx: Kafka has it
    FAILED = "failed"  # no connection, or a 4xx: Kafka has none of it
    UNKNOWN = "unknown"  # 503, a timeout, a connection that broke: Kafka may have it


@dataclass(frozen=True, slots=True)
class Call:
    """One request, when it began and ended (monotonic seconds), and the updates in it."""

    began: float
    ended: float
    outcome: Outcome
    status: int
    sent: Sequence[Sent]
    error: str = ""


class Load:
    """Senders in threads, from `start` to `stop`. `urls` are used in turn, each by its senders.

    `earlier` are the calls of a load that this one follows.
    """

    def __init__(
        self, urls: Sequence[str], apps: Sequence[DemoApp], *, earlier: Sequence[Call] = ()
    ) -> None:
        self._urls = urls
        self._apps = apps
        self._calls: list[Call] = list(earlier)
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Begin to send."""
        for number in range(SENDERS):
            url = self._urls[number % len(self._urls)]
            thread = threading.Thread(target=self._send, args=(number, url), daemon=True)
            thread.start()
            self._threads.append(thread)

    def stop(self) -> None:
        """Returns once every call has ended."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(20 * TIMEOUT_S)
            assert not thread.is_alive(), "a call did not end in its time limit"

    @property
    def calls(self) -> list[Call]:
        """What has ended so far."""
        return list(self._calls)

    def _send(self, number: int, url: str) -> None:
        app = self._apps[number % len(self._apps)]
        records = [str(uuid.uuid4()) for _ in range(RECORDS)]
        line = KeepAlive(url, timeout_s=TIMEOUT_S)
        due = time.monotonic()
        for turn in itertools.count():
            due = max(due + SENDERS / REQUESTS_S, time.monotonic() - 1)
            if self._stopping.wait(max(0.0, due - time.monotonic())):
                break
            first = turn * BATCH % RECORDS
            several = records[first : first + BATCH] if turn % 4 else [records[first]]
            sent = [(app.app_id, record, turn) for record in several]
            self._calls.append(_call(line, app, sent))
        line.close()


def told(calls: Iterable[Call]) -> str:
    """How many of the calls ended in which way."""
    counted = Counter(call.outcome for call in calls)
    return ", ".join(f"{counted[outcome]} calls {outcome}" for outcome in Outcome)


def slowest_s(calls: Iterable[Call]) -> float:
    """How long the slowest of the calls took."""
    return max((call.ended - call.began for call in calls), default=0.0)


def send_once(url: str, app: DemoApp, updates: Sequence[Mapping[str, Any]]) -> int:
    """The status that answers one batch outside the load, whose updates carry no numbers."""
    line = KeepAlive(url, timeout_s=TIMEOUT_S)
    try:
        body = json.dumps({"updates": updates})
        answer, _ = line.call("POST", f"/apps/{app.app_id}/batch", body, _headers(app))
        return answer.status
    finally:
        line.close()


def _headers(app: DemoApp) -> dict[str, str]:
    return {"Content-Type": "application/json", "Authorization": f"Key {app.key}"}


def _call(line: KeepAlive, app: DemoApp, sent: list[Sent]) -> Call:
    began = time.monotonic()

    def ended(outcome: Outcome, status: int = 0, error: str = "") -> Call:
        return Call(began, time.monotonic(), outcome, status, sent, error)

    try:
        line.open()
    except OSError as error:
        return ended(Outcome.FAILED, error=repr(error))
    try:
        answer, body = line.call(*_request(app, sent), _headers(app))
    except (OSError, HTTPException) as error:
        return ended(Outcome.UNKNOWN, error=repr(error))
    status = answer.status
    if status in (200, 202):
        return ended(Outcome.OK, status)
    outcome = Outcome.FAILED if 400 <= status < 500 else Outcome.UNKNOWN
    return ended(outcome, status, body[:300].decode(errors="replace"))


def _request(app: DemoApp, sent: list[Sent]) -> tuple[str, str, str]:
    """The method, path and body that send these updates."""
    if len(sent) == 1:
        _, record, n = sent[0]
        body: dict[str, Any] = {"app_id": app.app_id, "tags": {"n": n}}
        return "PUT", f"/players/{record}", json.dumps(body)
    items = [
        {"record": record, "tags": {"n": n}, "counters": {"session_count": 1}}
        for _, record, n in sent
    ]
    return "POST", f"/apps/{app.app_id}/batch", json.dumps({"updates": items})
