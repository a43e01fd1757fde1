"""The iOS SDK 3.12.7, replayed from fixtures that cite its source: tests/fixtures/ios_3_12_7.

Every sequence, variant and order of it is answered as that SDK needs it, against views with fakes, and
what is stored at the end of a device's life is looked at in the domain.
"""

from typing import Any

import pytest

from notify.domain.records import patch as patches
from notify.domain.records.decide import decide, writes
from notify.domain.records.links import Links
from notify.domain.records.patch import Value
from notify.domain.records.policy import Policy
from tests.acceptance.devices import Device, Fixtures, to_views
from tests.acceptance.test_android_4_8_12 import shown
from tests.fake_web import APP, Web

FIXTURES = Fixtures("ios_3_12_7")
LIFE = (
    "first_start",
    "set_email",
    "set_sms",
    "send_tags",
    "session",
    "purchase",
    "external_user_id",
    "changes",
    "token_refresh",
    "logout_email",
)


@pytest.mark.parametrize(("path", "order"), sorted(FIXTURES.parts()))
def test_every_request_is_answered_as_the_sdk_needs(
    web: Web, path: str, order: tuple[str, ...]
) -> None:
    device = Device(FIXTURES, to_views(web), APP)
    device.play(path, order)
    assert not [name for name, id_ in device.known.items() if name.endswith("_ID") and not id_]


def test_the_fixtures_are_whole() -> None:
    for path in FIXTURES.paths():
        for step in FIXTURES.part(path)["steps"]:
            assert step["cite"], (path, step["name"])
            assert step["answer_must"]["cite"], (path, step["name"])
            assert 201 not in step["answer_must"]["status"]
            assert (step["body"] is None) == (step["method"] == "GET")


def test_the_life_of_a_device_in_the_domain(web: Web) -> None:
    device = Device(FIXTURES, to_views(web), APP)
    for path in LIFE:
        device.play_only(path)
    states: dict[str, dict[str, Value]] = {}
    links = Links()
    for update in web.sent():
        decision, changes = decide(update, links, Policy())
        links.put(changes)
        for write in writes(update, decision):
            states[write.record] = patches.apply(states.get(write.record, {}), write.patch)
    found = {record: shown(state, record, links) for record, state in states.items()}
    assert {record: essence(row) for record, row in found.items()} == expected(device)


def essence(row: dict[str, Any]) -> dict[str, Any]:
    """Of a row, what the requests determine."""
    return {key: value for key, value in row.items() if key != "mirrored_updates"}


def expected(device: Device) -> dict[str, dict[str, Any]]:
    """The three players, by id. The device is out of its email, and in its number."""
    known = device.known
    once = {
        "tags": {"plan": "gold", "visits": "3"},
        "session_count": 1,
        "session_time_s": 75,
        "purchase_count": 1,
        "spent_micros": 4_990_000,
    }
    unlinked: dict[str, Any] = {"email": None, "sms_number": None, "links": {}}
    return {
        known["PUSH_ID"]: {
            "kind": "push",
            "identifier": known["NEW_TOKEN"],
            **once,
            "language": "en",
            **unlinked,
            "sms_number": known["SMS_NUMBER"],
            "links": {"sms": known["SMS_ID"]},
        },
        known["EMAIL_ID"]: {
            "kind": "email",
            "identifier": known["EMAIL"],
            **once,
            "language": "en",
            **unlinked,
        },
        known["SMS_ID"]: {
            "kind": "sms",
            "identifier": known["SMS_NUMBER"],
            **once,
            "language": "en",
            **unlinked,
            "sms_number": known["SMS_NUMBER"],
        },
    }
