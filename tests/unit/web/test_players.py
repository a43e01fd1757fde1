"""The players API: what each call puts into Kafka, and what it answers."""

import uuid
from typing import Any

import pytest

from notify.domain.records import ids
from notify.domain.records.patch import ADD, REMOVE, SET
from tests.fake_web import APP, PLAYER, STRICT_APP, Web

EMAIL_ID = ids.record_id(APP, "email", "anna@example.com")


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it."""
    return Web.with_fakes(monkeypatch)


def body(**fields: Any) -> dict[str, Any]:
    """A body of the app, as SDKs send it."""
    return {"app_id": APP, **fields}


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
def test_a_device_registers(web: Web, prefix: str) -> None:
    answer = web.call(
        "POST", f"{prefix}/players", body(device_type=1, identifier=" token ", tags={"a": "b"})
    )
    update = web.one()
    assert answer.status == 200
    assert answer.body == {"success": True, "id": update.record}
    assert answer.headers["Content-Type"] == "application/json"
    assert (update.app, update.kind, update.op) == (APP, "push", "update")
    assert update.record == ids.record_id(APP, "push", "token")
    assert update.patch.ops["identifier"] == (SET, "token")
    assert update.patch.ops["tags.a"] == (SET, "b")
    assert update.patch.ops["properties.device_type"] == (SET, 1)


def test_a_repeated_registration_gets_the_same_id(web: Web) -> None:
    first, second = (
        web.call("POST", "/players", body(device_type=11, identifier=address)).body["id"]
        for address in ("anna@example.com", " Anna@Example.COM ")
    )
    assert first == second == EMAIL_ID


def test_another_app_gets_another_id(web: Web) -> None:
    mine = web.call("POST", "/players", body(device_type=11, identifier="a@example.com"))
    theirs = web.call(
        "POST",
        "/players",
        {"app_id": STRICT_APP, "device_type": 11, "identifier": "a@example.com"},
        key=web.secret,
    )
    assert mine.body["id"] != theirs.body["id"]


def test_a_device_without_a_token_gets_a_random_id(web: Web) -> None:
    found = {web.call("POST", "/players", body(device_type=1)).body["id"] for _ in range(2)}
    assert len(found) == 2
    assert {uuid.UUID(id_).version for id_ in found} == {4}


def test_a_device_without_a_token_can_repeat_by_idempotency_key(web: Web) -> None:
    first, second, other = (
        web.call("POST", "/players", body(), headers={"Idempotency-Key": key}).body["id"]
        for key in ("k-1", "k-1", "k-2")
    )
    assert first == second != other
    assert web.sent()[0].message_id == "k-1"
    assert web.sent()[0].kind == "push"


@pytest.mark.parametrize("key", ["", "x" * 101, "two words", "é"])
def test_an_idempotency_key_is_visible_ascii(web: Web, key: str) -> None:
    answer = web.call("POST", "/players", body(), headers={"Idempotency-Key": key})
    assert answer.status == 400
    assert web.sent() == []


@pytest.mark.parametrize("device_type", [11, 14])
@pytest.mark.parametrize("identifier", [None, "", "  "])
def test_an_email_or_sms_player_needs_an_identifier(
    web: Web, device_type: int, identifier: str | None
) -> None:
    """An old SDK that is logging out asks for one; an id would make it link the device to it."""
    answer = web.call("POST", "/players", body(device_type=device_type, identifier=identifier))
    assert answer.status == 400
    assert web.sent() == []


def test_an_email_player_is_not_linked_by_its_registration(web: Web) -> None:
    fields = body(device_type=11, identifier="anna@example.com", device_player_id=PLAYER)
    web.call("POST", "/players", fields)
    assert (web.one().kind, web.one().links) == ("email", {})


def test_an_sms_player_is_linked_by_its_registration(web: Web) -> None:
    fields = body(device_type=14, identifier="+49 171 1234", device_player_id=PLAYER)
    answer = web.call("POST", "/players", fields, headers={"Idempotency-Key": "k"})
    made, linked = web.sent()
    assert answer.body["id"] == made.record == ids.record_id(APP, "sms", "+491711234")
    assert (made.kind, made.patch.ops["identifier"]) == ("sms", (SET, "+49 171 1234"))
    assert (linked.record, linked.links, linked.patch.ops) == (PLAYER, {"sms": made.record}, {})
    assert (made.message_id, linked.message_id) == ("k", "k:1")


def test_changes_and_removals(web: Web) -> None:
    fields = body(
        tags={"plan": "gold", "trial": "", "old": None, "n": 3, "x": 1.5, "b": False},
        language="de",
        carrier="",
        external_user_id=None,
        external_user_id_auth_hash="secret",
        unheard_of={"deep": [1]},
    )
    answer = web.call("PUT", f"/players/{PLAYER}", fields)
    assert (answer.status, answer.body) == (200, {"success": True})
    assert web.one().kind is None
    assert web.one().patch.ops == {
        "tags.plan": (SET, "gold"),
        "tags.n": (SET, 3),
        "tags.x": (SET, 1.5),
        "tags.b": (SET, False),
        "tags.trial": (REMOVE, None),
        "tags.old": (REMOVE, None),
        "properties.language": (SET, "de"),
        "properties.carrier": (REMOVE, None),
        "properties.external_user_id": (REMOVE, None),
    }


@pytest.mark.parametrize("path", ["", "/on_session"])
@pytest.mark.parametrize(("parent", "link"), [(EMAIL_ID, EMAIL_ID), ("", None), (None, None)])
def test_the_parent_links_and_unlinks(
    web: Web, path: str, parent: str | None, link: str | None
) -> None:
    method = "POST" if path else "PUT"
    web.call(method, f"/players/{PLAYER}{path}", body(parent_player_id=parent))
    assert web.one().links == {"email": link}


def test_a_device_that_registers_again_brings_its_link(web: Web) -> None:
    web.call("POST", "/players", body(device_type=1, parent_player_id=EMAIL_ID.upper()))
    assert web.one().links == {"email": EMAIL_ID}


def test_an_email_player_has_no_parent(web: Web) -> None:
    web.call("PUT", f"/players/{PLAYER}", body(device_type=11, parent_player_id=EMAIL_ID))
    assert web.one().links == {}


def test_a_session(web: Web) -> None:
    answer = web.call("POST", f"/players/{PLAYER}/on_session", body(device_type=11, language="en"))
    update = web.one()
    assert answer.body == {"success": True}
    assert update.kind == "email"
    assert update.patch.ops["session_count"] == (ADD, 1)
    assert update.patch.ops["properties.last_active"] == (SET, update.at // 1000)
    assert update.patch.ops["properties.language"] == (SET, "en")


def test_time_in_the_foreground(web: Web) -> None:
    """`device_type` is the device's own there, also for an email player."""
    fields = body(state="ping", type=1, active_time=73, device_type=1, net_type=0)
    web.call("POST", f"/players/{PLAYER}/on_focus", fields)
    assert web.one().kind is None
    assert web.one().patch.ops == {"session_time_s": (ADD, 73), "properties.net_type": (SET, 0)}


def test_other_focus_states_are_not_stored(web: Web) -> None:
    answer = web.call("POST", f"/players/{PLAYER}/on_focus", body(state="resume"))
    assert (answer.status, web.sent()) == (200, [])


@pytest.mark.parametrize("active_time", [None, "73", -1, 2**31, True, 1.5])
def test_active_time_is_an_integer(web: Web, active_time: object) -> None:
    fields = body(state="ping", active_time=active_time)
    assert web.call("POST", f"/players/{PLAYER}/on_focus", fields).status == 400


@pytest.mark.parametrize(
    ("amounts", "micros"),
    [
        (["4.99", "2"], 6_990_000),
        (["0.0000005", "0.0000015"], 2),
        ([3, 0.1], 3_100_000),
        ([None, "", "NaN", "-1", "1e99", True, {}, "9" * 50], 0),
        (["1099511.627776", "0.000001"], 2**40),
        (["10000"], 10_000_000_000),
    ],
)
def test_purchases(web: Web, amounts: list[object], micros: int) -> None:
    purchases = [{"sku": "s", "iso": "EUR", "amount": amount} for amount in amounts]
    answer = web.call("POST", f"/players/{PLAYER}/on_purchase", body(purchases=purchases))
    assert answer.status == 200
    assert web.one().patch.ops == {
        "purchase_count": (ADD, len(amounts)),
        "spent_micros": (ADD, micros),
    }


def test_purchases_from_before_are_not_counted(web: Web) -> None:
    fields = body(existing=True, purchases=[{"sku": "s", "iso": "EUR", "amount": "1"}])
    web.call("POST", f"/players/{PLAYER}/on_purchase", fields)
    assert web.one().patch.ops == {"properties.existing_purchases": (SET, 1)}


@pytest.mark.parametrize("purchases", [None, [], {}, "x", [1]])
def test_purchases_are_a_list_of_objects(web: Web, purchases: object) -> None:
    fields = body(purchases=purchases)
    assert web.call("POST", f"/players/{PLAYER}/on_purchase", fields).status == 400


def test_logging_out_unlinks(web: Web) -> None:
    fields = body(parent_player_id=EMAIL_ID, email_auth_hash="secret")
    answer = web.call("POST", f"/players/{PLAYER}/email_logout", fields)
    assert answer.body == {"success": True}
    assert web.one().links == {"email": None}
    assert web.one().patch.ops == {"properties.email": (REMOVE, None)}


@pytest.mark.parametrize("player", ["null", "123", "3a9f1f60-5a0f-4c59-9d2a-0f7d4f3f0b0g"])
@pytest.mark.parametrize("call", ["", "/on_session", "/email_logout", "/on_focus", "/on_purchase"])
def test_an_id_that_cannot_be_ours_makes_the_sdk_register_again(
    web: Web, player: str, call: str
) -> None:
    answer = web.call("POST" if call else "PUT", f"/players/{player}{call}", body())
    assert (answer.status, answer.body["errors"]) == (400, ["No user with this id found"])


def test_an_id_in_capitals_is_the_same(web: Web) -> None:
    web.call("PUT", f"/players/{PLAYER.upper()}", body(app_id=APP.upper()))
    assert (web.one().app, web.one().record) == (APP, PLAYER)


@pytest.mark.parametrize(
    "fields",
    [
        {"tags": []},
        {"tags": "x"},
        {"device_type": "1"},
        {"device_type": True},
    ],
)
def test_wrong_types_and_values(web: Web, fields: dict[str, Any]) -> None:
    answer = web.call("PUT", f"/players/{PLAYER}", body(**fields))
    assert answer.status == 400
    assert answer.body["errors"]
    assert "device_type" not in fields or "not a valid device_type" not in str(answer.body)
    assert web.sent() == []


def test_a_player_is_shown_as_far_as_it_is_applied(web: Web) -> None:
    made = web.call(
        "POST", "/players", body(device_type=1, identifier="token", tags={"plan": "gold"})
    ).body["id"]
    shown = web.call("GET", f"/players/{made}?app_id={APP}")
    assert (shown.status, shown.body) == (200, {"id": made, "tags": {"plan": "gold"}})
    with_key = web.call("GET", f"/players/{made}?app_id={APP}", key=web.secret).body
    assert with_key["identifier"] == "token"
    assert with_key["device_type"] == 1
    assert with_key["amount_spent"] == 0
    assert None not in with_key.values()


def test_an_email_player_is_shown_to_a_key_only(web: Web) -> None:
    """Its id can be computed from the address and the app's id, which is public."""
    web.call("POST", "/players", body(device_type=11, identifier="anna@example.com"))
    assert web.call("GET", f"/players/{EMAIL_ID}?app_id={APP}").status == 404
    assert web.call("GET", f"/players/{EMAIL_ID}?app_id={APP}", key=web.secret).status == 200


def test_a_player_that_is_not_there(web: Web) -> None:
    for path in (f"/players/{PLAYER}?app_id={APP}", f"/players/x?app_id={APP}"):
        answer = web.call("GET", path)
        assert (answer.status, answer.body["errors"]) == (404, ["No user with this id found"])
    assert web.call("GET", f"/players/{PLAYER}").status == 400
    assert web.call("GET", f"/players/{PLAYER}?" + "a&" * 1001).status == 400


def test_showing_needs_postgresql_and_says_so(web: Web) -> None:
    web.reads.away = True
    answer = web.call("GET", f"/players/{PLAYER}?app_id={APP}")
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert web.call("PUT", f"/players/{PLAYER}", body(tags={"a": "b"})).status == 200
