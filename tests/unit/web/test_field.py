"""What apps in the field send, by the number of its report (F1 to F12): each was answered wrongly once.

The rules are in docs/sdks.md, "What we do with what apps really send".
"""

from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from notify.domain.records.patch import ADD, REMOVE, SET
from notify.domain.records.policy import Limit, Policy
from notify.domain.records.update import (
    ALIASES_MAX,
    KEY_CHARS_MAX,
    MERGED,
    TAGS_MAX,
    USER,
    VALUE_CHARS_MAX,
    Update,
)
from notify.kafka.producer import KafkaUnavailable
from notify.web import wiring
from notify.web.resources import not_served
from notify.web.resources.deleted import PAUSE_S, DeletedRecords
from notify.web.resources.draft import TAG_REMOVALS_MAX
from notify.web.resources.left_out import SENTENCES_MAX
from notify.web.resources.purchases import PURCHASES_MAX
from notify.web.resources.users import SUBSCRIPTIONS_MAX
from tests.fake_producer import AppsInMemory
from tests.fake_web import APP, PLAYER, STRICT_APP, Answer, Web

IOS = {"SDK-Version": "onesignal/ios/050400"}


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it."""
    return Web.with_fakes(monkeypatch)


@pytest.mark.parametrize("app", [APP, STRICT_APP])
@pytest.mark.parametrize("prefix", ["", "/api/v1"])
def test_f1_ios_gets_its_parameters(web: Web, prefix: str, app: str) -> None:
    """Without them an iOS SDK holds every create and login."""
    ios, android = (
        web.call("GET", f"{prefix}/apps/{app}/{platform}_params.js?player_id=", headers=IOS)
        for platform in ("ios", "android")
    )
    assert ios.status == 200
    assert ios.body == android.body
    assert ios.body["jwt_required"] is False
    again = {"If-None-Match": ios.headers["ETag"]}
    assert web.call("GET", f"/apps/{app}/ios_params.js", headers=again).status == 304


def session(web: Web, **fields: Any) -> Answer:
    """What an SDK of version 4.x sends when its app is opened."""
    return web.call("POST", f"/players/{PLAYER}/on_session", {"app_id": APP, **fields})


def put(web: Web, **fields: Any) -> Answer:
    """What it sends when something changed."""
    return web.call("PUT", f"/players/{PLAYER}", {"app_id": APP, **fields})


def warnings(answer: Answer) -> list[str]:
    """What an answer that accepts says of what it did not take."""
    assert answer.status in (200, 202), answer.body
    found: list[str] = answer.body.get("warnings", [])
    return found


@pytest.mark.parametrize("removed", ["", None])
def test_f2_removals_do_not_count_against_the_limit_of_tags(web: Web, removed: str | None) -> None:
    tags = {f"old{n}": removed for n in range(TAGS_MAX + 1)}
    answer = session(web, identifier="new-token", tags=tags)
    assert answer.body == {"success": True}
    first, second = web.sent()
    assert first.patch.ops["session_count"] == (ADD, 1)
    assert first.patch.ops["identifier"] == (SET, "new-token")
    assert second.record == PLAYER
    assert second.patch.ops == {f"tags.old{TAGS_MAX}": (REMOVE, None)}
    row = web.reads.record(APP, PLAYER)
    assert row is not None
    assert (row.identifier, row.session_count) == ("new-token", 1)


def test_f2_a_new_tag_beside_a_hundred_removals(web: Web) -> None:
    assert warnings(put(web, tags={f"old{n}": "" for n in range(TAGS_MAX)} | {"new": "1"})) == []
    first, second = web.sent()
    assert first.patch.ops["tags.new"] == (SET, "1")
    assert len(first.patch.ops) == TAGS_MAX
    assert len(second.patch.ops) == 1


def test_f2_a_request_sets_so_many_tags_and_the_others_are_left_out(web: Web) -> None:
    tags = {f"t{n}": "x" for n in range(TAGS_MAX + 2)} | {"old": ""}
    (said,) = warnings(put(web, tags=tags))
    assert said == "left out: 2 tags, because a request may set at most 100 tags"
    first, second = web.sent()
    assert list(first.patch.ops) == [f"tags.t{n}" for n in range(TAGS_MAX)]
    assert second.patch.ops == {"tags.old": (REMOVE, None)}


def test_f2_a_request_removes_so_many_tags(web: Web) -> None:
    (said,) = warnings(put(web, tags={f"o{n}": "" for n in range(TAG_REMOVALS_MAX + 1)}))
    assert said == "left out: 1 tags, because a request may remove at most 1,000 tags"
    assert len(web.sent()) == TAG_REMOVALS_MAX / TAGS_MAX
    assert sum(len(update.patch.ops) for update in web.sent()) == TAG_REMOVALS_MAX


#: A tag that cannot be taken, and what the answer says of it.
BAD_TAGS = [
    ("bad", "x" * (VALUE_CHARS_MAX + 1), "tags.bad has 1025 characters"),
    ("bad", {"deep": 1}, "tags.bad must be a string, a boolean or a number"),
    ("bad", [1], "tags.bad must be a string"),
    ("bad", 2**53 + 1, "tags.bad must be an integer between"),
    ("bad", "a\0b", "tags.bad contains NUL"),
    ("bad", "\ud800", "tags.bad contains a lone surrogate"),
    ("k" * (KEY_CHARS_MAX + 1), "x", "name has 1 to 128 characters"),
    ("", "x", "name has 1 to 128 characters"),
    ("a\0", "x", "a key contains NUL"),
    ("k" * (KEY_CHARS_MAX + 1), "", "name has 1 to 128 characters"),
]
BASE = f"/apps/{APP}"
#: Every call that takes tags, with the body that they stand in.
TAGGED = [
    ("POST", "/players", lambda tags: {"app_id": APP, "device_type": 1, "tags": tags}),
    ("PUT", f"/players/{PLAYER}", lambda tags: {"app_id": APP, "tags": tags}),
    ("POST", f"/players/{PLAYER}/on_session", lambda tags: {"app_id": APP, "tags": tags}),
    ("POST", f"{BASE}/users", lambda tags: {"properties": {"tags": tags}}),
    ("PATCH", f"{BASE}/users/by/external_id/e1", lambda tags: {"properties": {"tags": tags}}),
]


@pytest.mark.parametrize(("method", "path", "body"), TAGGED)
@pytest.mark.parametrize(("name", "value", "why"), BAD_TAGS)
def test_f3_a_bad_tag_is_left_out_and_the_rest_is_taken(
    web: Web, method: str, path: str, body: Any, name: str, value: object, why: str
) -> None:
    answer = web.call(method, path, body({"good": "1", name: value, "old": ""}))
    (said,) = warnings(answer)
    assert said.startswith("left out: ")
    assert why in said
    tags = {key: op for key, op in web.one().patch.ops.items() if key.startswith("tags.")}
    assert tags == {"tags.good": (SET, "1"), "tags.old": (REMOVE, None)}


@pytest.mark.parametrize(("method", "path", "body"), TAGGED)
def test_f2_every_call_that_takes_tags_takes_more_removals(
    web: Web, method: str, path: str, body: Any
) -> None:
    tags = {f"old{n}": "" for n in range(250)} | {"new": "1"}
    answer = web.call(method, path, body(tags))
    assert warnings(answer) == []
    sent = web.sent()
    assert [len(update.patch.ops) > 0 for update in sent] == [True] * 3
    assert len({update.record for update in sent}) == 1
    ops = [key for update in sent for key in update.patch.ops if key.startswith("tags.")]
    assert sorted(ops) == sorted(f"tags.{name}" for name in tags)


def test_f2_a_batch_takes_more_removals_and_refuses_bad_tags(web: Web) -> None:
    items = [
        {"record": PLAYER, "tags": {f"old{n}": "" for n in range(150)}},
        {"record": PLAYER, "tags": {"bad": {"deep": 1}}},
    ]
    answer = web.call("POST", f"{BASE}/batch", {"updates": items}, key=web.secret)
    assert (answer.body["accepted"], answer.body["rejected"]) == (1, 1)
    assert answer.body["results"][0] == {"id": PLAYER}
    assert "tags.bad" in answer.body["results"][1]["errors"][0]
    assert [len(update.patch.ops) for update in web.sent()] == [100, 50]


def test_f2_the_others_of_a_users_removals_are_the_users_too(web: Web) -> None:
    """Named by an alias, or by one of its subscriptions."""
    old = {f"old{n}": "x" for n in range(TAGS_MAX)} | {"last": "x"}
    path = f"{BASE}/users/by/external_id/e1"
    web.call("PATCH", path, {"properties": {"tags": dict.fromkeys(list(old)[:TAGS_MAX], "x")}})
    web.call("PATCH", path, {"properties": {"tags": {"last": "x"}}})
    web.call("PATCH", path, {"properties": {"tags": dict.fromkeys(old, "")}})
    shown = web.call("GET", path, key=web.secret)
    assert shown.body["properties"]["tags"] == {}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"language": {"deep": 1}}, "properties.language must be"),
        ({"device_model": "x" * 1025}, "properties.device_model has 1025"),
        ({"identifier": 5}, "identifier must be a string"),
        ({"identifier": "x" * 1025}, "identifier has 1025"),
        ({"parent_player_id": "null"}, "parent_player_id must be the id of a player"),
        ({"parent_player_id": 5}, "parent_player_id must be"),
        (
            {"parent_player_id": PLAYER},
            "parent_player_id is the player's own id: give the id of an email player",
        ),
    ],
)
@pytest.mark.parametrize("call", [put, session])
def test_f3_any_other_bad_value_of_a_player_is_left_out(
    web: Web, call: Any, fields: dict[str, Any], why: str
) -> None:
    (said,) = warnings(call(web, carrier="c", tags={"good": "1"}, **fields))
    assert why in said
    ops = dict(web.one().patch.ops)
    assert (ops["properties.carrier"], ops["tags.good"]) == ((SET, "c"), (SET, "1"))
    assert ("session_count" in ops) == (call is session)
    assert "identifier" not in ops
    assert web.one().links == {}


def test_f3_a_device_registers_without_a_token_that_cannot_be(web: Web) -> None:
    fields = {"app_id": APP, "device_type": 1, "identifier": "x" * 1025, "tags": {"good": "1"}}
    assert "identifier has" in warnings(web.call("POST", "/players", fields))[0]
    assert web.one().patch.ops["tags.good"] == (SET, "1")
    assert "identifier" not in web.one().patch.ops


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"properties": {"first_active": 1.5}}, "first_active must be an integer"),
        ({"properties": {"country": ["DE"]}}, "properties.country must be"),
        ({"deltas": {"session_time": -1}}, "session_time must be an integer"),
        ({"deltas": {"session_count": "1"}}, "session_count must be an integer"),
        ({"deltas": {"session_time": True}}, "session_time must be an integer"),
    ],
)
def test_f3_any_other_bad_value_of_a_user_is_left_out(
    web: Web, fields: dict[str, Any], why: str
) -> None:
    body = {"properties": {"tags": {"good": "1"}}} | fields
    body["properties"] = body["properties"] | {"tags": {"good": "1"}}
    (said,) = warnings(web.call("PATCH", f"{BASE}/users/by/external_id/e1", body))
    assert why in said
    assert web.one().patch.ops == {"tags.good": (SET, "1")}


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({"enabled": {}}, "properties.enabled must be"),
        ({"token": 5}, "token must be a string"),
        ({"token": "x" * 1025}, "token has 1025"),
    ],
)
def test_f3_a_bad_value_of_a_subscription_is_left_out(
    web: Web, fields: dict[str, Any], why: str
) -> None:
    body = {"subscription": {"sdk": "s", **fields}}
    (said,) = warnings(web.call("PATCH", f"{BASE}/subscriptions/{PLAYER}", body))
    assert why in said
    assert web.one().patch.ops == {"properties.sdk": (SET, "s")}


def test_f3_a_user_keeps_its_first_subscriptions(web: Web) -> None:
    """A 400 to create_user would hold all that its device sends, until the next start and longer."""
    each = [{"type": "AndroidPush", "token": f"t{n}"} for n in range(SUBSCRIPTIONS_MAX + 2)]
    answer = web.call("POST", f"{BASE}/users", {"subscriptions": each})
    assert warnings(answer) == ["left out: 2 subscriptions, because a request may have at most 20"]
    assert [made["token"] for made in answer.body["subscriptions"]] == [
        f"t{n}" for n in range(SUBSCRIPTIONS_MAX)
    ]


def test_f3_purchases_past_the_limit_are_left_out(web: Web) -> None:
    """A refusal would make the SDK report all of them again at each start."""
    each = [{"sku": "s", "iso": "EUR", "amount": "1"}] * (PURCHASES_MAX + 1)
    fields = {"app_id": APP, "purchases": each}
    answer = web.call("POST", f"/players/{PLAYER}/on_purchase", fields)
    assert warnings(answer) == ["left out: 1 purchases, because a request may have at most 100"]
    assert web.one().patch.ops["purchase_count"] == (ADD, PURCHASES_MAX)


def test_f3_what_is_left_out_is_counted_by_app(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[tuple[str, dict[str, int]]] = []
    services = replace(
        web.services, left_out=lambda app, left: counted.append((app, dict(left.counts)))
    )
    monkeypatch.setattr(wiring, "services", lambda: services)
    put(web, tags={f"t{n}": "x" for n in range(TAGS_MAX + 2)} | {"bad": []}, language=[])
    web.producer.fails = KafkaUnavailable("away")
    assert put(web, tags={"bad": []}).status == 503
    assert counted == [(APP, {"tag": 3, "property": 1})]


def test_f3_an_answer_says_only_so_much(web: Web) -> None:
    assert len(warnings(put(web, tags={f"t{n}": [] for n in range(50)}))) == SENTENCES_MAX


#: An amount, its currency, and what it is.
AMOUNTS: list[tuple[object, str, float | None]] = [
    ("12,99", "EUR", 12.99),
    ("4,99\u00a0zł", "PLN", 4.99),
    ("EUR 1.234,50", "", 1234.5),
    ("1,234.50", "", 1234.5),
    ("1.034.567", "", 1_034_567),
    ("1,00,000.00", "INR", 100_000),
    ("1 234,56", "", 1234.56),
    ("1\u202f234,56 €", "", 1234.56),
    ("1'234.50", "CHF", 1234.5),
    ("1,299", "USD", 1299),
    ("1,299", "KWD", 1.299),
    ("1,234,567", "KWD", None),
    ("1,034,567", "KWD", 1_034_567),
    ("1.299", "USD", 1.299),
    ("1.299 €", "EUR", 1299),
    ("0,999", "", 0.999),
    ("$.99", "", 0.99),
    (",99", "", 0.99),
    ("Rs.499", "INR", 499),
    ("99 kr.", "SEK", 99),
    ("\u0661\u0662\u066b\u0669\u0669", "EGP", 12.99),
    ("\u0661\u066c\u0662\u0663\u0664\u066b\u0665\u0660", "EGP", 1234.5),
    ("12,", "", 12),
    ("1e3", "", 1000),
    (12.99, "", 12.99),
    ("-12,99", "", None),
    ("\u221212,99", "", None),
    ("(12,99)", "", None),
    ("12,99-", "", None),
    ("12 99", "", None),
    ("12,99,5", "", None),
    ("1..2", "", None),
    ("12,99 or 5", "", None),
    ("free", "", None),
]


@pytest.mark.parametrize(("amount", "iso", "money"), AMOUNTS)
def test_f12_an_amount_is_read_as_shops_print_it(
    web: Web, amount: object, iso: str, money: float | None
) -> None:
    """By each call that takes purchases. What is no amount is a purchase of nothing, and is said."""
    each = [{"sku": "s", "iso": iso, "amount": amount}]
    path = f"/players/{PLAYER}/on_purchase"
    player = web.call("POST", path, {"app_id": APP, "purchases": each})
    path = f"{BASE}/users/by/external_id/e1"
    user = web.call("PATCH", path, {"deltas": {"purchases": each}})
    for answer, update in zip((player, user), web.sent(), strict=True):
        assert [said[:9] for said in warnings(answer)] == ([] if money else ["left out:"])
        assert update.patch.ops["purchase_count"] == (ADD, 1)
        _, spent = update.patch.ops.get("spent_micros", (ADD, 0))
        assert spent == round((money or 0) * 1_000_000)


def test_f12_so_is_what_a_user_spent(web: Web) -> None:
    path = f"{BASE}/users/by/external_id/e1"
    assert warnings(web.call("PATCH", path, {"deltas": {"amount_spent": "12,99 €"}})) == []
    assert web.one().patch.ops == {"spent_micros": (ADD, 12_990_000)}
    assert (
        "amount_spent must be"
        in warnings(web.call("PATCH", path, {"deltas": {"amount_spent": "free"}}))[0]
    )


def limited(web: Web, label: str, children: int) -> None:
    """Let the app's limit of a label be so many."""
    web.reads.policy = Policy(limits={(APP, label): Limit(children)})


def create_user(web: Web, **body: Any) -> Answer:
    """POST users."""
    return web.call("POST", f"{BASE}/users", body)


def subscriptions_of(web: Web, name: str) -> list[dict[str, Any]]:
    """What a user has, read by its external id."""
    shown = web.call("GET", f"{BASE}/users/by/external_id/{name}", key=web.secret)
    assert shown.status == 200
    found: list[dict[str, Any]] = shown.body["subscriptions"]
    return found


def android(token: str) -> list[dict[str, Any]]:
    """A device, as POST users has it."""
    return [{"type": "AndroidPush", "token": token}]


def test_f4_a_device_leaves_the_person_before_also_where_its_move_is_refused(web: Web) -> None:
    limited(web, USER, 1)
    create_user(web, identity={"external_id": "busy"}, subscriptions=android("t0"))
    anna = create_user(web, identity={"external_id": "anna"}, subscriptions=android("t1"))
    phone = anna.body["subscriptions"][0]["id"]
    assert [each["id"] for each in subscriptions_of(web, "anna")] == [phone]
    create_user(web, identity={"external_id": "busy"}, subscriptions=[{"id": phone}])
    assert subscriptions_of(web, "anna") == []
    assert [each["token"] for each in subscriptions_of(web, "busy")] == ["t0"]


@pytest.mark.parametrize("label", ["email", "sms"])
def test_f4_so_does_a_device_of_its_address(web: Web, label: str) -> None:
    """Its tags would be mirrored to the person before."""
    limited(web, label, 1)
    address = {"email": (11, "{}@example.org"), "sms": (14, "+49 170 100{}")}[label]
    busy, anna = (
        web.call(
            "POST",
            "/players",
            {"app_id": APP, "device_type": address[0], "identifier": address[1].format(name)},
        ).body["id"]
        for name in ("1000", "2000")
    )
    other = "3a9f1f60-5a0f-4c59-9d2a-0f7d4f3f0b02"
    for device, parent in ((other, busy), (PLAYER, anna), (PLAYER, busy)):
        links = {"updates": [{"record": device, "links": {label: parent}}]}
        assert web.call("POST", f"{BASE}/batch", links, key=web.secret).status == 202
    put(web, tags={"whose": "the next one's"})
    for address_ in (busy, anna):
        row = web.reads.record(APP, address_)
        assert row is not None
        assert row.tags == {}


def test_f5_a_login_works_as_often_as_it_is_repeated(web: Web) -> None:
    limited(web, MERGED, 2)
    for _ in range(6):
        made = create_user(web, subscriptions=android("till")).body
        path = f"{BASE}/users/by/onesignal_id/{made['identity']['onesignal_id']}/identity"
        assert web.call("PATCH", path, {"identity": {"external_id": "till-7"}}).status == 200
        assert [each["token"] for each in subscriptions_of(web, "till-7")] == ["till"]


@pytest.mark.parametrize("limit", [1, 2, 3, 10])
@pytest.mark.parametrize("has_token", [True, False])
def test_f5_an_installation_that_never_came_back_holds_up_no_login(
    web: Web, limit: int, *, has_token: bool
) -> None:
    """As a test suite that installs the app for each run and logs in. The newest logins are kept: at least
    half of the limit, and never more than the limit."""
    limited(web, MERGED, limit)
    tokens = [f"run {n}" for n in range(3 * limit + 3)]
    for n, token in enumerate(tokens, start=1):
        fields = android(token) if has_token else [{"type": "AndroidPush", "device_model": token}]
        user = create_user(web, subscriptions=fields).body["identity"]["onesignal_id"]
        path = f"{BASE}/users/by/onesignal_id/{user}"
        login = {"identity": {"external_id": "tester"}}
        assert web.call("PATCH", f"{path}/identity", login).status == 200
        web.call("PATCH", path, {"properties": {"tags": {"last": token}}})
        key = "token" if has_token else "device_model"
        shown = {each[key] for each in subscriptions_of(web, "tester")}
        assert token in shown
        # The first one had no other's name: it is the user itself.
        logins = shown - {tokens[0]}
        assert logins == {*tokens[max(1, n - len(logins)) : n]}, "the newest"
        assert min(n - 1, max(1, limit // 2)) <= len(logins) <= limit
        of_user = web.call("GET", f"{BASE}/users/by/external_id/tester", key=web.secret)
        assert of_user.body["properties"]["tags"] == {"last": token}


def test_f5_a_device_whose_login_ended_logs_in_again(web: Web) -> None:
    limited(web, MERGED, 2)
    login = {"identity": {"external_id": "tester"}}
    users = [create_user(web, subscriptions=android(f"t{n}")).body["identity"] for n in range(5)]
    paths = [f"{BASE}/users/by/onesignal_id/{user['onesignal_id']}" for user in users]
    for path in paths:
        web.call("PATCH", f"{path}/identity", login)
    assert {each["token"] for each in subscriptions_of(web, "tester")} == {"t0", "t3", "t4"}
    alone = web.call("GET", paths[1]).body
    assert [each["token"] for each in alone["subscriptions"]] == ["t1"]
    web.call("PATCH", paths[1], {"properties": {"tags": {"whose": "t1"}}})
    assert web.call("GET", paths[0]).body["properties"]["tags"] == {}
    web.call("PATCH", f"{paths[1]}/identity", login)
    assert {each["token"] for each in subscriptions_of(web, "tester")} == {"t0", "t4", "t1"}


def test_f5_a_login_that_ends_makes_room(web: Web) -> None:
    """A tablet that logs in and out takes no other device's place."""
    limited(web, MERGED, 4)
    create_user(web, identity={"external_id": "till-7"})
    for token in ("other", *["tablet"] * 9):
        user = create_user(web, subscriptions=android(token)).body["identity"]["onesignal_id"]
        path = f"{BASE}/users/by/onesignal_id/{user}/identity"
        web.call("PATCH", path, {"identity": {"external_id": "till-7"}})
    assert {each["token"] for each in subscriptions_of(web, "till-7")} == {"other", "tablet"}


def test_f5_nobody_logs_in_where_the_limit_is_none(web: Web) -> None:
    limited(web, MERGED, 0)
    create_user(web, identity={"external_id": "tester"})
    user = create_user(web, subscriptions=android("t")).body["identity"]["onesignal_id"]
    path = f"{BASE}/users/by/onesignal_id/{user}/identity"
    web.call("PATCH", path, {"identity": {"external_id": "tester"}})
    assert subscriptions_of(web, "tester") == []


def test_f11_a_refreshed_token_is_one_subscription(web: Web) -> None:
    """Decision 0028."""
    user = {"identity": {"external_id": "u16"}}
    made = create_user(web, **user, subscriptions=[{"type": "iOSPush", "token": "aa"}]).body
    path = f"{BASE}/subscriptions/{made['subscriptions'][0]['id']}"
    web.call("PATCH", path, {"subscription": {"token": "bb", "enabled": True}})
    create_user(web, **user, subscriptions=[{"type": "iOSPush", "token": "bb"}])
    assert [each["token"] for each in subscriptions_of(web, "u16")] == ["bb"]


def test_f11_a_token_that_comes_late_after_a_reinstall_is_one_subscription(web: Web) -> None:
    """Decision 0040."""
    user = {"identity": {"external_id": "u17"}}
    create_user(web, **user, subscriptions=[{"type": "AndroidPush", "token": "aa"}])
    made = create_user(web, **user, subscriptions=[{"type": "AndroidPush", "token": ""}]).body
    path = f"{BASE}/subscriptions/{made['subscriptions'][0]['id']}"
    web.call("PATCH", path, {"subscription": {"type": "AndroidPush", "token": "aa"}})
    (left,) = subscriptions_of(web, "u17")
    assert (left["id"], left["token"]) == (made["subscriptions"][0]["id"], "aa")


def deleted_player(web: Web, **fields: Any) -> str:
    """The id of a player that registered and was deleted by a server."""
    body = {"app_id": APP, "device_type": 1, "identifier": "tok"} | fields
    player: str = web.call("POST", "/players", body).body["id"]
    delete = {"updates": [{"op": "delete", "record": player}]}
    assert web.call("POST", f"{BASE}/batch", delete, key=web.secret).status == 202
    return player


#: The call, its fields, and the text that makes the SDK register again, or keep what it reports.
PLAYER_CALLS = [
    ("POST", "/on_session", {}, "not a valid device_type"),
    ("POST", "/email_logout", {}, "not a valid device_type"),
    ("PUT", "", {"tags": {"a": "1"}}, "No user with this id found"),
    ("POST", "/on_focus", {"active_time": 70}, "No user with this id found"),
    ("POST", "/on_purchase", {"purchases": [{"amount": "1"}]}, "No user with this id found"),
]


@pytest.mark.parametrize("method_path_fields_text", PLAYER_CALLS)
def test_f6_a_deleted_player_registers_again(web: Web, method_path_fields_text: Any) -> None:
    method, path, fields, text = method_path_fields_text
    player = deleted_player(web)
    before = len(web.sent())
    answer = web.call(method, f"/players/{player}{path}", {"app_id": APP, **fields})
    assert answer.status == 400
    assert text in answer.body["errors"][0]
    assert len(web.sent()) == before
    again = {"app_id": APP, "device_type": 1, "identifier": "tok", "tags": {"whole": "1"}}
    assert web.call("POST", "/players", again).body["id"] == player
    assert web.call(method, f"/players/{player}{path}", {"app_id": APP, **fields}).status == 200
    row = web.reads.record(APP, player)
    assert row is not None
    assert (row.kind, row.identifier, row.tags["whole"]) == ("push", "tok", "1")


@pytest.mark.parametrize("method_path_fields_text", PLAYER_CALLS)
def test_f6_a_player_that_is_in_use_when_it_is_deleted_registers_again_too(
    web: Web, method_path_fields_text: Any
) -> None:
    """As where a person deletes the account in the app."""
    method, path, fields, text = method_path_fields_text
    body = {"app_id": APP, "device_type": 1, "identifier": "tok"}
    player: str = web.call("POST", "/players", body).body["id"]
    assert web.call(method, f"/players/{player}{path}", {"app_id": APP, **fields}).status == 200
    assert deleted_player(web) == player
    answer = web.call(method, f"/players/{player}{path}", {"app_id": APP, **fields})
    assert answer.status == 400
    assert text in answer.body["errors"][0]


@pytest.mark.parametrize("method_path_fields_text", PLAYER_CALLS)
def test_f6_while_postgresql_is_away_the_update_is_taken(
    web: Web, method_path_fields_text: Any
) -> None:
    method, path, fields, _ = method_path_fields_text
    player = deleted_player(web)
    web.reads.away = True
    assert web.call(method, f"/players/{player}{path}", {"app_id": APP, **fields}).status == 200


def test_f6_what_was_never_applied_is_not_deleted(web: Web) -> None:
    """Its registration may wait in Kafka."""
    assert put(web, tags={"a": "1"}).status == 200
    assert session(web).status == 200


def test_f6_a_number_does_not_bring_its_deleted_device_back(web: Web) -> None:
    player = deleted_player(web)
    body = {"app_id": APP, "device_type": 14, "identifier": "+4912345", "device_player_id": player}
    assert warnings(web.call("POST", "/players", body))
    assert web.reads.record(APP, player) is None
    answer = web.call("POST", f"/players/{player}/on_session", {"app_id": APP})
    assert answer.status == 400


def test_f7_a_login_does_not_bring_a_deleted_subscription_back_by_its_id_alone(web: Web) -> None:
    """As the web SDK logs in and out."""
    player = deleted_player(web)
    answer = create_user(web, identity={"external_id": "u18"}, subscriptions=[{"id": player}])
    assert warnings(answer)
    assert [each["id"] for each in answer.body["subscriptions"]] == [player]
    assert all(each["type"] for each in answer.body["subscriptions"])
    assert web.reads.record(APP, player) is None


def test_f6_who_knows_an_address_does_not_learn_that_it_was_deleted(web: Web) -> None:
    player = deleted_player(web, device_type=11, identifier="anna@example.org")
    assert web.call("POST", f"/players/{player}/on_session", {"app_id": APP}).status == 200


def test_f6_after_a_look_up_that_failed_none_is_tried_for_a_while(web: Web) -> None:
    player = deleted_player(web)
    now = 1_000.0
    deleted = DeletedRecords(web.reads, clock=lambda: now)
    web.reads.away = True
    assert not deleted.is_known(APP, player)
    web.reads.away = False
    assert not deleted.is_known(APP, player)
    now += PAUSE_S
    assert deleted.is_known(APP, player)


def deleted_subscription(web: Web) -> str:
    """The id of the subscription of u7, that was deleted."""
    made = create_user(web, identity={"external_id": "u7"}, subscriptions=android("t7")).body
    found: str = made["subscriptions"][0]["id"]
    assert web.call("DELETE", f"{BASE}/subscriptions/{found}").status == 202
    assert subscriptions_of(web, "u7") == []
    return found


def test_f7_a_deleted_subscription_is_made_again_with_its_user(web: Web) -> None:
    """A 404 makes SDKs of the user model create it."""
    gone = deleted_subscription(web)
    fields = {"type": "AndroidPush", "token": "t7", "enabled": True}
    path = f"{BASE}/subscriptions/{gone}"
    before = len(web.sent())
    assert web.call("PATCH", path, {"subscription": fields}).status == 404
    owner = {"identity": {"external_id": "other"}}
    assert web.call("PATCH", f"{path}/owner", owner).status == 404
    assert len(web.sent()) == before
    new = web.call(
        "POST", f"{BASE}/users/by/external_id/u7/subscriptions", {"subscription": fields}
    )
    assert new.status == 202
    assert [each["id"] for each in subscriptions_of(web, "u7")] == [new.body["subscription"]["id"]]
    assert web.call("PATCH", path, {"subscription": fields}).status == 200


def test_f7_while_postgresql_is_away_the_update_is_taken(web: Web) -> None:
    gone = deleted_subscription(web)
    web.reads.away = True
    body = {"subscription": {"type": "AndroidPush", "token": "t7"}}
    assert web.call("PATCH", f"{BASE}/subscriptions/{gone}", body).status == 200


#: What apps send for a value that is missing.
MISSING = ["null", "undefined", "0", "1", "NA", "-1", " Null ", "  ", "n/a", "(null)"]


@pytest.mark.parametrize("name", MISSING)
def test_f9_devices_that_log_in_as_nobody_are_not_one_user(web: Web, name: str) -> None:
    """Anonymous users are made, and no device is held up."""
    made = [
        create_user(web, identity={"external_id": name}, subscriptions=android(token))
        for token in ("t1", "t2")
    ]
    for answer in made:
        assert "names that are nobody's" in warnings(answer)[0]
        assert list(answer.body["identity"]) == ["onesignal_id"]
    users = [answer.body["identity"]["onesignal_id"] for answer in made]
    assert users[0] != users[1]
    for user in users:
        shown = web.call("GET", f"{BASE}/users/by/onesignal_id/{user}")
        assert len(shown.body["subscriptions"]) == 1


def test_f9_a_login_as_nobody_leaves_the_user_as_it_is(web: Web) -> None:
    user = create_user(web, subscriptions=android("t")).body["identity"]["onesignal_id"]
    by = f"{BASE}/users/by/onesignal_id/{user}"
    answer = web.call("PATCH", f"{by}/identity", {"identity": {"external_id": "null", "crm": "7"}})
    assert answer.body["identity"] == {"onesignal_id": user, "crm": "7"}
    assert "external_id: the name" in warnings(answer)[0]
    shown = web.call("GET", by)
    assert shown.body["identity"] == {"onesignal_id": user, "crm": "7"}
    assert len(shown.body["subscriptions"]) == 1


def test_f9_no_call_makes_a_user_of_that_name(web: Web) -> None:
    """SDKs drop a 400 to these; deleting such a user and taking its names must go on to work."""
    by = f"{BASE}/users/by/external_id/NULL"
    for method, path, body in (
        ("PATCH", by, {"properties": {"tags": {"a": "1"}}}),
        ("PATCH", f"{by}/identity", {"identity": {"crm": "7"}}),
        ("POST", f"{by}/subscriptions", {"subscription": android("t")[0]}),
        ("PATCH", f"{BASE}/subscriptions/{PLAYER}/owner", {"identity": {"external_id": "null"}}),
    ):
        answer = web.call(method, path, body, key=web.secret)
        assert answer.status == 400
        assert "names that are nobody's" in answer.body["errors"][0]
    assert web.sent() == []
    assert web.call("DELETE", f"{by}/identity/external_id", key=web.secret).status == 200
    assert web.call("DELETE", by, key=web.secret).status == 200


def test_f9_an_app_has_its_own_list(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    known = web.services.apps.known()
    app = replace(known.apps[APP], nobody=frozenset(("guest",)))
    apps = AppsInMemory(lambda: replace(known, apps={APP: app}), refresh_ms=3_600_000)
    monkeypatch.setattr(wiring, "services", lambda: replace(web.services, apps=apps))
    assert warnings(create_user(web, identity={"external_id": "0"})) == []
    assert warnings(create_user(web, identity={"external_id": "Guest"})) != []
    assert warnings(put(web, external_user_id="1")) == []


@pytest.mark.parametrize("key", ["external_user_id", "email", "sms_number"])
def test_f9_an_old_sdk_says_nobodys_name_in_vain(web: Web, key: str) -> None:
    assert key in warnings(put(web, **{key: "undefined"}, tags={"a": "1"}))[0]
    ops = {f"properties.{key}": (REMOVE, None)} if key == "external_user_id" else {}
    assert web.one().patch.ops == ops | {"tags.a": (SET, "1")}


#: Type of an address, its device type, texts that are none, and some that are.
ADDRESSES = [
    ("Email", 11, ["null", "n/a", "none", "@", "a@", "a b@c", "-"], ["a@b", " Ann@Example.org "]),
    ("SMS", 14, ["n/a", "null", "0", "-1", "000 000", "call me", "12"], ["+49 170 1234567", "112"]),
]


@pytest.mark.parametrize(("type_", "device_type", "none", "some"), ADDRESSES)
def test_f10_what_is_no_address_is_no_record(
    web: Web, type_: str, device_type: int, none: list[str], some: list[str]
) -> None:
    by = f"{BASE}/users/by/external_id/e1/subscriptions"
    for text in none:
        fields = {"app_id": APP, "device_type": device_type, "identifier": text}
        refused = web.call("POST", "/players", fields)
        assert refused.status == 400
        assert f'identifier: "{text}" is no' in refused.body["errors"][0]
        new = {"subscription": {"type": type_, "token": text}}
        assert web.call("POST", by, new, key=web.secret).status == 400
        by_token = f"{BASE}/subscriptions_by_token/{type_}/{quote(text)}"
        change = {"subscription": {"enabled": True}}
        assert web.call("PATCH", by_token, change, key=web.secret).status == 400
    assert web.sent() == []
    for text in some:
        fields = {"app_id": APP, "device_type": device_type, "identifier": text}
        assert web.call("POST", "/players", fields).status == 200


@pytest.mark.parametrize(("type_", "device_type", "none", "some"), ADDRESSES)
def test_f10_a_user_is_made_without_what_is_no_address(
    web: Web, type_: str, device_type: int, none: list[str], some: list[str]
) -> None:
    """The answer lists it, since SDKs match by place; nothing is stored of it."""
    listed = [{"type": type_, "token": none[0]}, *android("t"), {"type": type_, "token": some[0]}]
    answer = create_user(web, identity={"external_id": "e1"}, subscriptions=listed)
    assert "token: " in warnings(answer)[0]
    assert [each["type"] for each in answer.body["subscriptions"]] == [type_, "AndroidPush", type_]
    stored = {each["id"] for each in subscriptions_of(web, "e1")}
    assert stored == {each["id"] for each in answer.body["subscriptions"][1:]}


@pytest.mark.parametrize(("type_", "device_type", "none", "some"), ADDRESSES)
@pytest.mark.parametrize("call", [put, session])
def test_f10_a_change_to_what_is_no_address_is_left_out(
    web: Web, call: Any, type_: str, device_type: int, none: list[str], some: list[str]
) -> None:
    answer = call(web, device_type=device_type, identifier=none[0], tags={"a": "1"})
    assert "identifier: " in warnings(answer)[0]
    fields = {"type": type_, "token": none[0], "enabled": True}
    path = f"{BASE}/subscriptions/{PLAYER}"
    assert "token: " in warnings(web.call("PATCH", path, {"subscription": fields}))[0]
    for update in web.sent():
        assert "identifier" not in update.patch.ops
        assert not update.aliases


@pytest.mark.parametrize("token", [" ", "null", "undefined", "N/A"])
def test_f10_devices_with_the_text_of_a_missing_token_are_not_one(web: Web, token: str) -> None:
    found = [
        web.call("POST", "/players", {"app_id": APP, "device_type": 1, "identifier": token}).body
        for _ in range(2)
    ]
    found += [
        each
        for _ in range(2)
        for each in create_user(web, subscriptions=android(token)).body["subscriptions"]
    ]
    assert len({each["id"] for each in found}) == 4
    put(web, identifier=token if token.strip() else "null")
    assert all(sets_no_token(update) for update in web.sent())


def sets_no_token(update: Update) -> bool:
    """Whether the update gives its record no token."""
    op, _ = update.patch.ops.get("identifier", (REMOVE, None))
    return op == REMOVE and not any(update.aliases.values())


def test_f10_a_blank_address_is_none(web: Web) -> None:
    """All blank ones would be one record."""
    made = [
        create_user(web, subscriptions=[{"type": "Email", "token": "  "}]).body["subscriptions"][0]
        for _ in range(2)
    ]
    assert made[0]["id"] != made[1]["id"]


def test_f10_a_batch_refuses_an_item_for_no_address_but_may_delete_it(web: Web) -> None:
    null = {"kind": "sms", "identifier": "n/a"}
    items = [null, {"op": "delete", **null}, {"op": "detach", **null}]
    answer = web.call("POST", f"{BASE}/batch", {"updates": items}, key=web.secret)
    assert (answer.body["accepted"], answer.body["rejected"]) == (2, 1)
    assert "stands for a missing value" in answer.body["results"][0]["errors"][0]


def test_f10_an_sms_player_of_no_device_is_made_all_the_same(web: Web) -> None:
    fields = {"device_type": 14, "identifier": "+49 170 1", "device_player_id": "null"}
    answer = web.call("POST", "/players", {"app_id": APP, **fields})
    assert "device_player_id must be the id" in warnings(answer)[0]
    assert web.one().record == answer.body["id"]


def test_f3_a_name_that_is_too_long_holds_no_device(web: Web) -> None:
    names = {"external_id": "x" * (VALUE_CHARS_MAX + 1), "crm": "7"}
    answer = create_user(web, identity=names)
    assert warnings(answer) == [
        "left out: external_id has 1,025 characters: a name may have at most 1,024"
    ]
    assert web.one().aliases == {"crm": "7"}


#: What no user can have as a name, and what answers say of it.
UNUSABLE = [
    ("x" * (VALUE_CHARS_MAX + 1), "1,025 characters"),
    ("x" * 20_000, "20,000 characters"),
    ("null", "names that are nobody's"),
    ("", "1 to 1024 characters"),
    (7, "must be a string"),
    (True, "must be a string"),
    (["a"], "must be a string"),
    ({"a": 1}, "must be a string"),
    ("a\0b", "NUL"),
    ("a\ud800", "lone surrogate"),
    ("a/identity", "must not contain /identity"),
    ("a/subscriptions", "must not contain /identity"),
]
NO_NAMES = [({"external_id": name}, said) for name, said in UNUSABLE] + [
    ({"": "x"}, "label must have 1 to 128"),
    ({"l" * (KEY_CHARS_MAX + 1): "x"}, "label must have 1 to 128"),
    ({"a\0b": "x"}, "NUL"),
    ({"onesignal_id": "x"}, "onesignal_id must be a UUID"),
]


@pytest.fixture
def counted(web: Web, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, int]]:
    """What the app's page counts as left out, by request."""
    found: list[dict[str, int]] = []
    services = replace(web.services, left_out=lambda _, left: found.append(dict(left.counts)))
    monkeypatch.setattr(wiring, "services", lambda: services)
    return found


@pytest.mark.parametrize(("identity", "said"), NO_NAMES)
def test_an_sdk_that_logs_in_by_no_name_goes_on(
    web: Web, counted: list[dict[str, int]], identity: dict[str, object], said: str
) -> None:
    """Registered, anonymous; after a 400 an iOS SDK sends nothing more for that person, and an Android
    SDK nothing at all."""
    body = {"identity": identity, "subscriptions": android("t")}
    made = web.call("POST", f"{BASE}/users", body, headers=IOS)
    assert said in warnings(made)[0]
    assert list(made.body["identity"]) == ["onesignal_id"]
    user = made.body["identity"]["onesignal_id"]
    by = f"{BASE}/users/by/onesignal_id/{user}"
    login = web.call("PATCH", f"{by}/identity", {"identity": identity}, headers=IOS)
    assert said in warnings(login)[0]
    assert login.body["identity"] == {"onesignal_id": user}
    shown = web.call("GET", by).body
    assert shown["identity"] == {"onesignal_id": user}
    (subscription,) = shown["subscriptions"]
    of_it = f"{BASE}/subscriptions/{subscription['id']}/user/identity"
    assert said in warnings(web.call("PATCH", of_it, {"identity": identity}, headers=IOS))[0]
    assert counted == [{"name": 1}] * 3


@pytest.mark.parametrize(("identity", "said"), NO_NAMES)
def test_a_device_that_moves_to_no_name_leaves_the_person_before(
    web: Web, counted: list[dict[str, int]], identity: dict[str, object], said: str
) -> None:
    made = create_user(web, identity={"external_id": "anna"}, subscriptions=android("t"))
    counted.clear()
    path = f"{BASE}/subscriptions/{made.body['subscriptions'][0]['id']}/owner"
    assert web.call("PATCH", path, {"identity": identity}, key=web.secret).status == 400
    assert web.call("PATCH", path, {"identity": {}}, headers=IOS).status == 400
    assert len(subscriptions_of(web, "anna")) == 1
    moved = web.call("PATCH", path, {"identity": identity}, headers=IOS)
    assert said in warnings(moved)[0]
    assert moved.body["identity"] == {}
    assert subscriptions_of(web, "anna") == []
    assert counted == [{"name": 1}]


@pytest.mark.parametrize("name", ["x" * (VALUE_CHARS_MAX + 1), "null"])
def test_a_subscription_of_no_name_is_made_of_nobody(
    web: Web, counted: list[dict[str, int]], name: str
) -> None:
    by = f"{BASE}/users/by/external_id/{name}"
    made = web.call("POST", f"{by}/subscriptions", {"subscription": android("t")[0]}, headers=IOS)
    assert "external_id" in warnings(made)[0]
    assert counted == [{"name": 1}]
    assert web.one().record == made.body["subscription"]["id"]
    assert web.one().links == {USER: None}
    refused = web.call("PATCH", by, {"properties": {"tags": {"a": "1"}}}, headers=IOS)
    assert refused.status == 400
    assert counted == [{"name": 1}] * 2


@pytest.mark.parametrize(
    ("name", "said"), [each for each in UNUSABLE if each[0] not in ("", 7, True)][:7]
)
@pytest.mark.parametrize("call", ["POST", "PUT", "on_session"])
def test_a_player_whose_external_id_is_no_name_is_nobodys(
    web: Web, counted: list[dict[str, int]], call: str, name: object, said: str
) -> None:
    """The person before has left: the id that the player had is taken away."""
    method, path = ("PUT", f"/players/{PLAYER}") if call == "PUT" else ("POST", "/players")
    path = f"/players/{PLAYER}/on_session" if call == "on_session" else path
    body = {"app_id": APP, "device_type": 0, "identifier": "t", "language": "de"}
    player = web.call(method, path, body | {"external_user_id": "anna"}).body.get("id", PLAYER)
    before = web.reads.record(APP, player)
    assert before is not None
    assert before.properties["external_user_id"] == "anna"
    assert (
        "external_user_id" in warnings(web.call(method, path, body | {"external_user_id": name}))[0]
    )
    after = web.reads.record(APP, player)
    assert after is not None
    assert "external_user_id" not in after.properties
    assert (after.identifier, after.properties["language"]) == ("t", "de")
    assert counted == [{}, {"name": 1}]


def test_a_login_that_is_not_read_leaves_the_user_as_it_is(
    web: Web, counted: list[dict[str, int]]
) -> None:
    path = f"{BASE}/users/by/onesignal_id/{PLAYER}/identity"
    for identity in ({"external_id": "x" * 40_000}, ["x"], "x", 5):
        answer = web.call("PATCH", path, {"identity": identity}, headers=IOS)
        assert answer.body["identity"] == {"onesignal_id": PLAYER}
        assert len(warnings(answer)) == 1
        assert web.call("PATCH", path, {"identity": identity}, key=web.secret).status in (400, 413)
    assert web.call("PATCH", path, raw=b"{", headers=IOS).status == 400
    assert counted == [{"name": 1}] * 4


def test_f3_aliases_past_the_limit_are_left_out(web: Web) -> None:
    names = {f"label{n}": "x" for n in range(ALIASES_MAX + 2)}
    answer = create_user(web, identity=names)
    assert warnings(answer) == ["left out: 2 aliases, because a request may set at most 20"]
    assert list(web.one().aliases) == list(names)[:ALIASES_MAX]


@pytest.mark.parametrize("prefix", ["", "/api/v1"])
def test_servers_tag_a_user_by_its_external_id(web: Web, prefix: str) -> None:
    path = f"{prefix}{BASE}/users/u%2F1"
    answer = web.call("PUT", path, {"tags": {"plan": "gold", "old": "", "bad": []}}, key=web.secret)
    assert answer.body["success"] is True
    assert "tags.bad" in warnings(answer)[0]
    shown = web.call("GET", f"{BASE}/users/by/external_id/u%2F1", key=web.secret).body
    assert shown["properties"]["tags"] == {"plan": "gold"}
    assert shown["identity"]["external_id"] == "u/1"
    for body in ({}, {"tags": 5}):
        refused = web.call("PUT", path, body, key=web.secret)
        assert refused.status == 400
        assert "tags" in refused.body["errors"][0]
    assert web.call("PUT", f"{BASE}/users/null", {"tags": {}}, key=web.secret).status == 400


def test_servers_delete_a_player(web: Web) -> None:
    made = web.call("POST", "/players", {"app_id": APP, "device_type": 1, "identifier": "tok"}).body
    path = f"/api/v1/players/{made['id'].upper()}?app_id={APP}"
    assert web.call("DELETE", path, key=web.secret).body == {"success": True}
    assert web.reads.record(APP, made["id"]) is None
    assert web.call("DELETE", f"/players/{made['id']}").status == 400
    assert web.call("DELETE", f"/players/x?app_id={APP}", key=web.secret).status == 404
    strict = f"/players/{made['id']}?app_id={STRICT_APP}"
    assert web.call("DELETE", strict).status == 401


def test_an_address_is_not_deleted_without_a_key(web: Web) -> None:
    """Decision 0028: its id can be worked out. It leaves its user."""
    fields = {"app_id": APP, "device_type": 11, "identifier": "anna@example.org"}
    made = web.call("POST", "/players", fields).body["id"]
    assert web.call("DELETE", f"/players/{made}?app_id={APP}").status == 200
    assert web.reads.record(APP, made) is not None


@pytest.mark.parametrize(
    ("method", "path", "name"),
    [
        ("GET", f"/players?app_id={APP}", "View devices"),
        ("POST", f"/players/csv_export?app_id={APP}", "Export devices as CSV"),
        ("POST", "/notifications", "Create a notification"),
        ("POST", "/notifications/", "Create a notification"),
        ("GET", "/apps", "View apps"),
        ("POST", f"{BASE}/segments", "Create a segment"),
    ],
)
@pytest.mark.parametrize("prefix", ["", "/api/v1"])
def test_what_is_not_served_is_called_by_its_name(
    web: Web, prefix: str, method: str, path: str, name: str
) -> None:
    answer = web.call(method, f"{prefix}{path}", {}, key=web.secret)
    assert answer.status == 404
    (said,) = answer.body["errors"]
    assert f'("{name}"): see docs/compatibility.md' in said
    assert "docs/compatibility.md, Calls that are not served" in said
    assert web.call(method, f"{prefix}/nothing").body["errors"] == [
        f"this server does not have {method} {prefix}/nothing"
    ]


def test_each_call_that_is_not_served_is_one_that_is_not_served(web: Web) -> None:
    """None of them hides a route, and the document lists all of them."""
    text = (Path(__file__).parents[3] / "docs" / "compatibility.md").read_text()
    for call, name in not_served.CALLS.items():
        method, _, path = call.partition(" ")
        answer = web.call(method, "/" + path.replace("{}", "x"), {}, key=web.secret)
        assert answer.status == 404, call
        assert f'("{name}")' in answer.body["errors"][0]
        assert f"`{method} /{path.replace('{}', '…')}`" in text, call


OLD_NEW = [
    (11, "email", "old@example.org", " New@Example.org", "new@example.org"),
    (14, "sms", "+49 170 1", "+49 (170) 2", "+49 (170) 2"),
]


@pytest.mark.parametrize(("device_type", "kind", "old", "new", "stored"), OLD_NEW)
def test_f8_an_address_changes_hands(
    web: Web, device_type: int, kind: str, old: str, new: str, stored: str
) -> None:
    def register(address: str) -> str:
        body = {"app_id": APP, "device_type": device_type, "identifier": address}
        return str(web.call("POST", "/players", body).body["id"])

    def change(record: str, **fields: Any) -> None:
        answer = web.call("PUT", f"/players/{record}", {"app_id": APP, **fields})
        assert (answer.status, answer.body) == (200, {"success": True})

    def shown(record: str) -> tuple[Any, Any]:
        row = web.reads.record(APP, record)
        assert row is not None
        return row.identifier, row.tags

    first = register(old)
    change(first, tags={"whose": "first"})
    assert register(old.upper()) == first
    change(first, identifier=new)
    second = register(old)
    assert second != first
    change(second, tags={"whose": "second"})
    change(PLAYER, device_type=1, parent_player_id=second, tags={"device": "second"})
    change(first, tags={"more": "1"})
    assert shown(first) == (stored, {"whose": "first", "more": "1"})
    assert shown(second)[1]["whose"] == "second"
    assert (register(old), register(new)) == (second, first)
    # The second goes too, and a third comes; the first takes its old address back.
    change(second, identifier=new)
    third = register(old)
    assert len({first, second, third}) == 3
    assert register(new) == second
    change(first, identifier=old)
    assert register(old) == first


def test_f8_while_postgresql_is_away_the_registration_is_still_the_newcomers(web: Web) -> None:
    """Only the id in the answer is the other one: what was sent to it is decided in Kafka's order."""
    body = {"app_id": APP, "device_type": 11, "identifier": "old@example.org"}
    first = web.call("POST", "/players", body).body["id"]
    web.call("PUT", f"/players/{first}", {"app_id": APP, "identifier": "new@example.org"})
    web.reads.away = True
    answer = web.call("POST", "/players", body | {"tags": {"whose": "second"}})
    assert (answer.status, answer.body["id"]) == (200, first)
    web.reads.away = False
    before = web.reads.record(APP, first)
    assert before is not None
    assert (before.identifier, before.tags) == ("new@example.org", {})
    second = web.reads.holder(APP, "email", "old@example.org")
    row = web.reads.record(APP, second)
    assert row is not None
    assert (row.identifier, row.tags) == ("old@example.org", {"whose": "second"})
    # Nothing is looked up for a while.
    assert web.call("POST", "/players", body).body["id"] == first


def test_f8_a_subscription_that_changes_its_address(web: Web) -> None:
    def email(user: str, token: str) -> str:
        body = {"subscription": {"type": "Email", "token": token}}
        path = f"{BASE}/users/by/external_id/{user}/subscriptions"
        return str(web.call("POST", path, body).body["subscription"]["id"])

    def change(record: str, token: str, key: str = "") -> int:
        body = {"subscription": {"type": "Email", "token": token}}
        return web.call("PATCH", f"{BASE}/subscriptions/{record}", body, key=key).status

    ann = email("ann", "old@example.org")
    assert change(ann, "new@example.org", web.secret) == 200
    bob = email("bob", "old@example.org")
    assert bob != ann
    assert change(bob, "Old@example.org") == 200  # as its SDK repeats it, without a key
    assert [each["id"] for each in subscriptions_of(web, "ann")] == [ann]
    assert [each["token"] for each in subscriptions_of(web, "bob")] == ["Old@example.org"]
    assert change(ann, "", web.secret) == 200
    assert email("cid", "new@example.org") not in (ann, bob)
