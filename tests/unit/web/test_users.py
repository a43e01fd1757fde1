"""The user model, call by call: what is answered, what is sent, and what is read then."""

from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest

from notify.domain.records import ids
from notify.domain.records.ids import alias_id, record_id
from notify.domain.records.patch import ADD, REMOVE, SET
from notify.domain.records.update import DELETE, TOKEN, USER
from tests.fake_web import APP, STRICT_APP, Answer, Web

BASE = f"/apps/{APP}"
BY = f"{BASE}/users/by/external_id/e1"
E1 = alias_id(APP, USER, "external_id", "e1")
SUB = "5b2d7c84-1d2e-4f3a-9b6c-7a8d9e0f1a2b"
ANN = "3a9f1f60-5a0f-4c59-9d2a-0f7d4f3f0b01"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it."""
    return Web.with_fakes(monkeypatch)


def made(web: Web, **body: Any) -> Answer:
    """A user that is created."""
    answer = web.call("POST", f"{BASE}/users", body)
    assert answer.status == 202, answer
    return answer


def shown(web: Web, path: str = BY) -> dict[str, Any]:
    """A user as its app's server reads it."""
    answer = web.call("GET", path, key=web.secret)
    assert answer.status == 200, answer
    return answer.body


# -- create ----------------------------------------------------------------------------------------


def test_a_user_is_created_with_its_subscriptions(web: Web) -> None:
    answer = made(
        web,
        identity={"external_id": "e1", "crm": "c"},
        properties={"language": "de", "tags": {"plan": "pro", "old": None}, "lat": 52.5},
        subscriptions=[
            {"type": "Email", "token": " A@Example.com "},
            {"type": "AndroidPush", "token": "t", "enabled": True, "app_version": None},
        ],
        refresh_device_metadata=True,
    )
    email, push = record_id(APP, "email", "a@example.com"), record_id(APP, "push", "t")
    assert answer.body == {
        "identity": {"onesignal_id": E1, "external_id": "e1", "crm": "c"},
        "properties": {"language": "de", "tags": {"plan": "pro"}, "lat": 52.5},
        "subscriptions": [
            {"id": email, "type": "Email", "token": " A@Example.com "},
            {"id": push, "type": "AndroidPush", "token": "t", "enabled": True},
        ],
    }
    user, first, second = web.sent()
    assert (user.record, user.kind) == (E1, USER)
    assert user.aliases == {"external_id": "e1", "crm": "c"}
    assert user.patch.ops["tags.old"] == (REMOVE, None)
    assert (first.record, first.kind, first.links) == (email, "email", {USER: E1})
    assert first.aliases == {TOKEN: "a@example.com"}
    assert (second.record, second.aliases) == (push, {TOKEN: "t"})


def test_creating_it_again_is_answered_the_same(web: Web) -> None:
    body = {"identity": {"external_id": "e1"}, "subscriptions": [{"type": "SMS", "token": "+49 1"}]}
    assert made(web, **body).body == made(web, **body).body


def test_the_handle_and_the_users_own_id_lead_to_the_same(web: Web) -> None:
    handle = made(web, identity={"external_id": "e1"}).body["identity"]["onesignal_id"]
    own = shown(web)["identity"]["onesignal_id"]
    assert ids.is_alias(handle)
    assert not ids.is_alias(own)
    for each in (handle, own, own.upper()):
        assert shown(web, f"{BASE}/users/by/onesignal_id/{each}") == shown(web)


def test_an_anonymous_user_has_an_id_of_its_own_each_time(web: Web) -> None:
    bodies: list[dict[str, Any]] = [{}, {"identity": None, "properties": None}, {"identity": {}}]
    found = {made(web, **body).body["identity"]["onesignal_id"] for body in bodies}
    assert len(found) == 3
    headers = {"Idempotency-Key": "k"}
    again = {
        web.call("POST", f"{BASE}/users", {}, headers=headers).body["identity"]["onesignal_id"]
        for _ in range(2)
    }
    assert len(again) == 1
    player = web.call("POST", "/players", {"app_id": APP}, headers=headers).body["id"]
    assert player not in again


def test_a_subscription_that_there_is_already_keeps_its_id(web: Web) -> None:
    answer = made(web, subscriptions=[{"id": SUB.upper(), "type": "androidpush", "token": "t"}])
    assert answer.body["subscriptions"] == [{"id": SUB, "type": "AndroidPush", "token": "t"}]
    assert web.sent()[1].record == SUB


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"identity": []}, "identity must be an object"),
        ({"identity": {"external_id": 7}}, "external_id must be a string"),
        ({"identity": {"external_id": ""}}, "external_id must be a string of 1"),
        ({"identity": {"x" * 129: "a"}}, "label must have 1 to 128"),
        ({"identity": {"onesignal_id": "x"}}, "onesignal_id must be a UUID"),
        ({"identity": {"external_id": "\ud800"}}, "lone surrogate"),
        ({"properties": "x"}, "properties must be an object"),
        ({"properties": {"tags": []}}, "tags must be an object"),
        ({"subscriptions": {}}, "subscriptions must be a list"),
        ({"subscriptions": [1]}, "subscriptions must be a list of objects"),
        ({"subscriptions": [{}]}, "type is missing"),
        ({"subscriptions": [{"type": "email2"}]}, "type must be one of"),
        ({"subscriptions": [{"type": "SMS", "id": "x"}]}, "id must be the id of a player"),
    ],
)
def test_a_user_that_cannot_be_is_refused(web: Web, body: dict[str, Any], words: str) -> None:
    answer = web.call("POST", f"{BASE}/users", body)
    assert answer.status == 400
    assert words in answer.body["errors"][0]
    assert web.sent() == []


# -- change, read, delete --------------------------------------------------------------------------


def test_deltas_are_added_and_properties_set(web: Web) -> None:
    body = {
        "properties": {"tags": {"a": "1", "b": ""}, "country": "DE", "ip": None},
        "deltas": {
            "session_time": 30,
            "session_count": 1,
            "amount_spent": "9.98",
            "purchases": [{"sku": "a", "iso": "EUR", "amount": "4.99"}] * 2,
        },
    }
    answer = web.call("PATCH", BY, body)
    assert (answer.status, answer.body) == (
        202,
        {"properties": {"tags": {"a": "1"}, "country": "DE"}},
    )
    update = web.one()
    assert (update.record, update.aliases) == (E1, {"external_id": "e1"})
    assert update.patch.ops == {
        "tags.a": (SET, "1"),
        "tags.b": (REMOVE, None),
        "properties.country": (SET, "DE"),
        "session_count": (ADD, 1),
        "session_time_s": (ADD, 30),
        "purchase_count": (ADD, 2),
        "spent_micros": (ADD, 9_980_000),
    }
    assert shown(web)["properties"]["amount_spent"] == 9.98


@pytest.mark.parametrize("key", [None, "k"])
def test_only_a_clients_own_key_makes_a_retry_count_once(web: Web, key: str | None) -> None:
    headers = {} if key is None else {"Idempotency-Key": key}
    web.call("PATCH", BY, {"deltas": {"session_count": 1}}, headers=headers)
    web.call("PATCH", BY, {"properties": {"country": "DE"}}, headers=headers)
    assert [update.once for update in web.sent()] == [key is not None, False]


@pytest.mark.parametrize(
    "deltas",
    [[], 5, {"purchases": {}}, {"purchases": []}],
)
def test_deltas_that_cannot_be_are_refused(web: Web, deltas: object) -> None:
    assert web.call("PATCH", BY, {"deltas": deltas}).status == 400
    assert web.sent() == []


def test_a_user_that_is_not_there_is_404_to_read_and_made_by_a_change(web: Web) -> None:
    for path in (BY, f"{BY}/identity", f"{BASE}/subscriptions/{SUB}/user/identity"):
        assert web.call("GET", path, key=web.secret).status == 404
    assert web.call("GET", f"{BASE}/users/by/onesignal_id/x").status == 404
    web.call("PATCH", BY, {"properties": {"country": "DE"}})
    assert shown(web)["properties"]["country"] == "DE"
    assert shown(web)["identity"]["external_id"] == "e1"


def test_a_deleted_user_is_gone_with_its_aliases(web: Web) -> None:
    made(web, identity={"external_id": "e1", "crm": "c"})
    answer = web.call("DELETE", BY, key=web.secret)
    assert (answer.status, answer.body["identity"]["external_id"]) == (200, "e1")
    assert web.sent()[-1].op == DELETE
    for path in (BY, f"{BASE}/users/by/crm/c"):
        assert web.call("GET", path, key=web.secret).status == 404


@pytest.mark.parametrize("name", ["u 1/é+&@%", "a/b/c", "identity", "日本", "x" * 200])
def test_a_name_may_have_any_characters(web: Web, name: str) -> None:
    path = f"{BASE}/users/by/external_id/{quote(name, safe='')}"
    assert web.call("PATCH", path, {"properties": {"country": "DE"}}).status == 202
    assert shown(web, path)["identity"]["external_id"] == name
    assert shown(web, f"{path}/identity")["identity"]["external_id"] == name


@pytest.mark.parametrize("name", ["x/identity", "x/identity/y", "x/subscriptions"])
def test_a_name_that_no_path_could_name_is_refused(web: Web, name: str) -> None:
    body = {"identity": {"external_id": name}}
    assert web.call("POST", f"{BASE}/users", body).status == 400
    assert web.call("PATCH", f"{BY}/identity", body).status == 400
    assert web.sent() == []


# -- aliases ---------------------------------------------------------------------------------------


def test_aliases_are_given_read_and_taken(web: Web) -> None:
    made(web, identity={"external_id": "e1"})
    answer = web.call("PATCH", f"{BY}/identity", {"identity": {"crm": "c", "x": None}})
    assert answer.status == 200
    assert answer.body["identity"] == {"onesignal_id": E1, "external_id": "e1", "crm": "c"}
    by_crm = f"{BASE}/users/by/crm/c"
    identity = shown(web, f"{by_crm}/identity")["identity"]
    assert identity.items() >= {"external_id": "e1", "crm": "c"}.items()
    answer = web.call("DELETE", f"{by_crm}/identity/external_id")
    assert (answer.status, "crm" in answer.body["identity"]) == (200, True)
    assert web.call("GET", BY, key=web.secret).status == 404
    assert "external_id" not in shown(web, by_crm)["identity"]


def test_an_anonymous_user_logs_in_as_one_that_there_is(web: Web) -> None:
    made(web, identity={"external_id": "e1"}, properties={"tags": {"plan": "pro"}})
    anonymous = made(web, subscriptions=[{"id": SUB, "type": "AndroidPush"}]).body
    path = f"{BASE}/users/by/onesignal_id/{anonymous['identity']['onesignal_id']}"
    answer = web.call("PATCH", f"{path}/identity", {"identity": {"external_id": "e1"}})
    assert answer.status == 200
    assert shown(web, path) == shown(web)
    assert shown(web)["properties"]["tags"] == {"plan": "pro"}
    assert [each["id"] for each in shown(web)["subscriptions"]] == [SUB]


def test_the_id_of_a_user_is_no_alias(web: Web) -> None:
    assert web.call("DELETE", f"{BY}/identity/onesignal_id").status == 400
    body = {"identity": {"onesignal_id": ANN}}
    assert web.call("PATCH", f"{BY}/identity", body).status == 400
    assert web.sent() == []


def test_aliases_by_a_subscription_are_its_users(web: Web) -> None:
    made(web, identity={"external_id": "e1"}, subscriptions=[{"id": SUB, "type": "AndroidPush"}])
    path = f"{BASE}/subscriptions/{SUB}/user/identity"
    answer = web.call("PATCH", path, {"identity": {"crm": "c"}})
    assert (answer.status, answer.body) == (200, {"identity": {"crm": "c"}})
    identity = shown(web, path)["identity"]
    assert identity.items() >= {"external_id": "e1", "crm": "c"}.items()
    assert shown(web, f"{BASE}/users/by/crm/c")["identity"] == identity


# -- subscriptions ---------------------------------------------------------------------------------


def test_a_subscription_is_created_transferred_and_deleted(web: Web) -> None:
    made(web, identity={"external_id": "e1"})
    body = {"subscription": {"type": "Email", "token": "a@example.com", "enabled": True}}
    answer = web.call("POST", f"{BY}/subscriptions", body)
    email = record_id(APP, "email", "a@example.com")
    assert answer.status == 202
    assert answer.body == {"subscription": {"id": email, **body["subscription"]}}
    assert [each["id"] for each in shown(web)["subscriptions"]] == [email]

    answer = web.call(
        "PATCH", f"{BASE}/subscriptions/{email}/owner", {"identity": {"external_id": "e2"}}
    )
    assert answer.status == 200
    assert answer.body["identity"]["external_id"] == "e2"
    other = f"{BASE}/users/by/external_id/e2"
    assert shown(web)["subscriptions"] == []
    assert [each["id"] for each in shown(web, other)["subscriptions"]] == [email]

    assert web.call("DELETE", f"{BASE}/subscriptions/{email}").status == 202
    assert shown(web, other)["subscriptions"] == []


@pytest.mark.parametrize("identity", [None, {}, {"external_id": "a", "crm": "b"}])
def test_a_new_owner_is_named_by_one_alias(web: Web, identity: object) -> None:
    path = f"{BASE}/subscriptions/{SUB}/owner"
    assert web.call("PATCH", path, {"identity": identity}).status == 400
    assert web.sent() == []


def test_a_subscription_is_changed_by_its_token(web: Web) -> None:
    made(web, subscriptions=[{"id": SUB, "type": "AndroidPush", "token": "t"}])
    path = f"{BASE}/subscriptions_by_token/AndroidPush"
    body: dict[str, Any] = {"subscription": {"enabled": False}}
    answer = web.call("PATCH", f"{path}/t", body)
    assert (answer.status, answer.body) == (202, {})
    row = web.reads.record(APP, SUB)
    assert row is not None
    assert row.properties["enabled"] is False
    web.call("PATCH", f"{path}/t", {"subscription": {"token": "new"}})
    web.call("PATCH", f"{path}/new", {"subscription": {"carrier": "c"}})
    row = web.reads.record(APP, SUB)
    assert row is not None
    assert (row.identifier, row.properties["carrier"]) == ("new", "c")
    assert web.call("PATCH", f"{path}x/t", body).status == 400
    body = {"subscription": {"type": "Email"}}
    assert web.call("PATCH", f"{path}/t", body).status == 400


def test_a_token_that_nobody_was_seen_with_is_the_subscriptions_that_will_have_it(
    web: Web,
) -> None:
    path = f"{BASE}/subscriptions_by_token/Email/{quote('A@Example.com')}"
    web.call("PATCH", path, {"subscription": {"enabled": False}})
    assert web.reads.record(APP, record_id(APP, "email", "a@example.com")) is not None


@pytest.mark.parametrize("subscription", ["x", E1])
def test_what_is_no_subscriptions_id_is_404(web: Web, subscription: str) -> None:
    path = f"{BASE}/subscriptions/{subscription}"
    assert web.call("PATCH", path, {"subscription": {}}).status == 404
    assert web.call("DELETE", path).status == 404
    assert web.call("GET", f"{path}/user/identity").status == 404


def test_an_app_that_requires_a_key_asks_for_it(web: Web) -> None:
    base = f"/apps/{STRICT_APP}"
    by = f"{base}/users/by/external_id/e1"
    for method, path, body in (
        ("POST", f"{base}/users", {}),
        ("GET", by, None),
        ("PATCH", by, {}),
        ("DELETE", by, None),
        ("PATCH", f"{by}/identity", {"identity": {"a": "b"}}),
        ("POST", f"{by}/subscriptions", {"subscription": {"type": "SMS", "token": "123"}}),
    ):
        assert web.call(method, path, body).status == 401
        assert web.call(method, path, body, key=web.secret).status in (200, 202, 404)


# -- warnings --------------------------------------------------------------------------------------


def test_an_answer_warns_of_what_is_dropped(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    known = web.services.apps.known()
    dropping = {(APP, E1): ("alias_taken",), (APP, ANN): ("skip_rule", "link_limit")}
    monkeypatch.setattr(web.services.apps, "_known", replace(known, dropping=dropping))
    taken = "an alias was not added to"
    assert made(web, identity={"external_id": "e1"}).body["warnings"][0].startswith(taken)
    answer = web.call("PUT", f"/players/{SUB}", {"app_id": APP, "parent_player_id": ANN})
    assert [words.split(":")[0] for words in answer.body["warnings"]] == [
        f"updates of {ANN} are skipped",
        f"new links to {ANN} are refused",
    ]
    for path in (f"/players/{SUB}", f"/players/{record_id(APP, 'push', 't')}"):
        assert "warnings" not in web.call("PUT", path, {"app_id": APP}).body
    items = {"updates": [{"record": ANN}, {"record": ANN}, {"record": SUB}]}
    batch = web.call("POST", f"{BASE}/batch", items, key=web.secret)
    assert len(batch.body["warnings"]) == 2
    other = web.call("PUT", f"/players/{ANN}", {"app_id": STRICT_APP}, key=web.secret)
    assert "warnings" not in other.body
