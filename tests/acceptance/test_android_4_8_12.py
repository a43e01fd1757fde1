"""The Android SDK 4.8.12, replayed from fixtures that cite its source: tests/fixtures/android_4_8_12.

Every sequence, variant and order of it is answered as that SDK needs it, against views with fakes;
one life of a device is also played through a real web, Kafka, bridge and worker into rows.
"""

import json
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from devstack import product
from notify.domain import patch as patches
from notify.domain.decide import decide, writes
from notify.domain.links import Links
from notify.domain.patch import Value
from notify.domain.policy import Policy
from tests.fake_web import APP, Web
from tests.running import Running, running

FIXTURES = Path(__file__).parents[1] / "fixtures" / "android_4_8_12"
SEQUENCES: dict[str, dict[str, Any]] = {
    found["sequence"]: found
    for found in (json.loads(path.read_text()) for path in sorted(FIXTURES.glob("*.json")))
}

Send = Callable[[str, str, Any, dict[str, str]], tuple[int, dict[str, Any]]]


def parts() -> Iterator[tuple[str, tuple[str, ...]]]:
    """Every (sequence or sequence/variant, order of its steps)."""
    for name, sequence in SEQUENCES.items():
        for part in (sequence, *sequence.get("variants", ())):
            path = name if part is sequence else f"{name}/{part['name']}"
            written = tuple(step["name"] for step in part["steps"])
            for order in {written, *map(tuple, part.get("orders", ()))}:
                yield path, order


class Device:
    """An app with the SDK on one device: sends a sequence's requests, and reads the answers."""

    def __init__(self, send: Send, app: str) -> None:
        self._send = send
        self.known: dict[str, str] = {"APP_ID": app}

    def play(self, path: str, order: Sequence[str] = ()) -> None:
        """One sequence or variant, after those that it comes after, its steps in `order`."""
        name, _, variant = path.partition("/")
        sequence = SEQUENCES[name]
        part = sequence
        if variant:
            (part,) = (each for each in sequence["variants"] if each["name"] == variant)
        for before in part["after"]:
            self.play(before)
        self.play_only(path, order)

    def play_only(self, path: str, order: Sequence[str] = ()) -> None:
        """The same without what it comes after."""
        name, _, variant = path.partition("/")
        sequence = SEQUENCES[name]
        found = [sequence, *sequence.get("variants", ())]
        part = next(each for each in found if each.get("name", "") == variant)
        self.known |= sequence.get("given", {}) | part.get("given", {})
        steps = {step["name"]: step for step in part["steps"]}
        for step in order or steps:
            self._step(steps[step], f"{path}: {step}")

    def _step(self, step: dict[str, Any], where: str) -> None:
        status, answer = self._send(
            step["method"], self._filled(step["path"]), self._filled(step["body"]), step["headers"]
        )
        must = step["answer_must"]
        assert status in must["status"], (where, status, answer)
        assert status != 201
        for field in must["fields"]:
            field_name = field if isinstance(field, str) else field["name"]
            optional = not isinstance(field, str) and field.get("optional")
            assert optional or answer[field_name] is not None, (where, field_name, answer)
        for placeholder, field_name in step.get("saves", {}).items():
            self.known[placeholder] = answer[field_name]

    def _filled(self, value: Any) -> Any:
        if isinstance(value, str):
            for name, text in self.known.items():
                value = value.replace(f"{{{name}}}", text)
            return value
        if isinstance(value, dict):
            return {key: self._filled(each) for key, each in value.items()}
        if isinstance(value, list):
            return [self._filled(each) for each in value]
        return value


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it."""
    return Web.with_fakes(monkeypatch)


def device_on(web: Web) -> Device:
    """A device that talks to the views."""

    def send(
        method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        answer = web.call(method, path, body, headers=headers)
        assert answer.headers["Content-Type"] == "application/json"
        return answer.status, answer.body

    return Device(send, APP)


@pytest.mark.parametrize(("path", "order"), sorted(parts()))
def test_every_request_is_answered_as_the_sdk_needs(
    web: Web, path: str, order: tuple[str, ...]
) -> None:
    device = device_on(web)
    device.play(path, order)
    assert not [name for name, id_ in device.known.items() if name.endswith("_ID") and not id_]


#: One device's life, and what is stored at its end. What is mirrored to the email: from the PUT that
#: links it to the one before logout_email; to the number: from the link on.
LIFE = (
    "first_start",
    "set_email",
    "set_sms",
    "send_tags",
    "session",
    "purchase",
    "external_user_id",
    "logout_email",
)
TAGS = {"plan": "gold", "visits": "3", "trial": "false"}
COUNTERS = {
    "session_count": 1,
    "session_time_s": 75,
    "purchase_count": 1,
    "spent_micros": 4_990_000,
}


def expected(device: Device) -> dict[str, dict[str, Any]]:
    """The rows of the three players, by id."""
    known = device.known
    return {
        known["PUSH_ID"]: {
            "kind": "push",
            "identifier": known["PUSH_TOKEN"],
            "tags": TAGS,
            **COUNTERS,
            "mirrored_updates": 0,
            "language": "en",
            "email": None,
            "sms_number": known["SMS_NUMBER"],
            "links": {"sms": known["SMS_ID"]},
        },
        known["EMAIL_ID"]: {
            "kind": "email",
            "identifier": known["EMAIL"],
            "tags": TAGS,
            **COUNTERS,
            "mirrored_updates": 12,
            "language": "en",
            "email": None,
            "sms_number": None,
            "links": {},
        },
        known["SMS_ID"]: {
            "kind": "sms",
            "identifier": known["SMS_NUMBER"],
            "tags": TAGS,
            **COUNTERS,
            "mirrored_updates": 12,
            "language": "en",
            "email": None,
            "sms_number": None,
            "links": {},
        },
    }


def test_the_life_of_a_device_in_the_domain(web: Web) -> None:
    device = device_on(web)
    for path in LIFE:
        device.play_only(path)
    states: dict[str, dict[str, Value]] = {}
    links = Links()
    for update in web.sent():
        decision, changes = decide(update, links, Policy())
        links.put(changes)
        for write in writes(update, decision):
            states[write.record] = patches.apply(states.get(write.record, {}), write.patch)
    assert {record: shown(state, record, links) for record, state in states.items()} == expected(
        device
    )


def shown(state: dict[str, Value], record: str, links: Links) -> dict[str, Any]:
    """A state as `expected` has it."""
    tags = {key[5:]: value for key, value in state.items() if key.startswith("tags.")}
    counters = {key: state.get(key, 0) for key in (*COUNTERS, "mirrored_updates")}
    parents = {label: links.parent(APP, record, label) for label in ("email", "sms", "user")}
    return {
        "kind": state["kind"],
        "identifier": state.get("identifier"),
        "tags": tags,
        **counters,
        "language": state.get("properties.language"),
        "email": state.get("properties.email"),
        "sms_number": state.get("properties.sms_number"),
        "links": {label: parent for label, parent in parents.items() if parent is not None},
    }


@pytest.fixture(scope="module")
def stack(
    postgres: str, redis_url: str, kafka: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Running, str]]:
    """One web, one bridge, one worker, and web's URL."""
    with running(tmp_path_factory.mktemp("stack"), f"t{uuid.uuid4().hex[:10]}") as run:
        url = product.start_web(run.stack)
        product.start_bridge(run.stack)
        product.start_worker(run.stack, "worker-1")
        run.wait("web is ready", lambda: http(url, "GET", "/healthz/ready")[0] == 200)
        yield run, url


def http(
    url: str, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Status and JSON of one request to a server; 0 where nobody listens yet."""
    data = None if body is None else json.dumps(body).encode()
    request = Request(url + path, data, dict(headers or {}), method=method)
    try:
        with urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except HTTPError as error:
        with error:
            return error.code, json.loads(error.read())
    except OSError:
        return 0, {}


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_the_life_of_a_device_in_rows(stack: tuple[Running, str]) -> None:
    run, url = stack

    def send(
        method: str, path: str, body: Any, headers: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        answered: tuple[int, dict[str, Any]] = (0, {})

        def applied() -> bool:
            nonlocal answered
            answered = status, answer = http(url, method, path, body, headers)
            # A read is of what has been applied so far.
            return method != "GET" or (status == 200 and answer.get("tags") != {})

        run.wait(f"{method} {path} is of what was sent", applied)
        return answered

    device = Device(send, run.app.app_id)
    for path in LIFE:
        device.play_only(path)
    run.wait("all rows", lambda: stored(run) == expected(device))


def stored(run: Running) -> dict[str, dict[str, Any]]:
    """The rows and links, as `expected` has them."""
    columns = ("kind", "identifier", "tags", *COUNTERS, "mirrored_updates")
    rows = run.rows(
        "SELECT id::text, kind, identifier, tags, session_count, session_time_s, purchase_count,"
        " spent_micros, mirrored_updates, properties FROM record"
    )
    links = run.rows("SELECT child::text, label, parent::text FROM link")
    return {
        id_: {
            **dict(zip(columns, values, strict=True)),
            **{name: properties.get(name) for name in ("language", "email", "sms_number")},
            "links": {label: parent for child, label, parent in links if child == id_},
        }
        for id_, *values, properties in rows
    }
