"""The Android SDK 4.8.12, replayed from fixtures that cite its source: tests/fixtures/android_4_8_12.

Every sequence, variant and order of it is answered as that SDK needs it, against views with fakes;
one life of a device is also played through a real web, Kafka, bridge and worker into rows.
"""

from typing import Any

import pytest

from notify.domain.records import patch as patches
from notify.domain.records.decide import decide, writes
from notify.domain.records.links import Links
from notify.domain.records.patch import Value
from notify.domain.records.policy import Policy
from tests.acceptance.devices import Device, Fixtures, http, to_views
from tests.fake_web import APP, Web
from tests.running import Running

FIXTURES = Fixtures("android_4_8_12")


def device_on(web: Web) -> Device:
    """A device that talks to the views."""
    return Device(FIXTURES, to_views(web), APP)


@pytest.mark.parametrize(("path", "order"), sorted(FIXTURES.parts()))
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


@pytest.mark.slow
@pytest.mark.timeout(900)
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

    device = Device(FIXTURES, send, run.app.app_id)
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
