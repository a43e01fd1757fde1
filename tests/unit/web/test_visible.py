"""What the API shows, and lets change, to callers without the app's key: each test plays an attack.

The callers know the app's id, which is public, names and addresses of people, and every id that can be
computed from these. docs/security.md lists what they may see.
"""

from typing import Any, NamedTuple

import pytest
from pytest_django import Settings

from notify.domain.records import ids
from notify.domain.records.ids import alias_id, named_user, record_id
from notify.domain.records.update import TOKEN, USER
from notify.security.keys import digest_of, make_key
from notify.web import wiring
from notify.web.access.apps_cache import KnownApp
from tests.fake_producer import fake_services
from tests.fake_web import Answer, Web
from tests.identity_tokens import pair, public_pem, token

#: Neither key nor token is required, and tokens are.
OPEN = "6f1d2c1e-9a3b-4a55-8c7e-0d9d3b8f1a11"
VERIFIED = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
APPS = pytest.mark.parametrize("app", [OPEN, VERIFIED], ids=["open", "verified"])
#: A device of Ann's, her email subscription with an id of its own (as players of other services
#: have), and the anonymous user that Cat was until she logged in: random ids.
DEVICE = "3a9f1f60-5a0f-4c59-9d2a-0f7d4f3f0b01"
MAIL_4 = "5b2d7c84-1d2e-4f3a-9b6c-7a8d9e0f1a2b"
CAT = "9c1d7c84-1d2e-4f3a-9b6c-7a8d9e0f1a2b"
ANN = [
    {"type": "Email", "token": "ann@example.org"},
    {"type": "Email", "token": "ann4@example.org"},
]


class Ids(NamedTuple):
    """Ids of what Ann and Cat have, by how they came about; by UUID version."""

    device_4: str
    mail_4: str
    cat_4: str
    ann_5: str
    mail_5: str
    ann_8: str
    mail_8: str
    mail_token_8: str

    @classmethod
    def of(cls, app: str) -> "Ids":
        """Of an app."""
        ann = alias_id(app, USER, "external_id", "ann")
        return cls(
            DEVICE,
            MAIL_4,
            CAT,
            named_user(app, ann, 0),
            record_id(app, "email", "ann@example.org"),
            ann,
            alias_id(app, "email", TOKEN, "ann@example.org"),
            alias_id(app, "email", TOKEN, "ann4@example.org"),
        )


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Web:
    """The two apps with the same people in them. Whatever of them is secret says so."""
    settings.MIDDLEWARE = ["notify.web.http.edge.ApiFirst"]
    secret, _, digest = make_key()
    digests = (digest_of("another"), digest)
    services, producer, reads = fake_services(
        KnownApp(OPEN, digests=digests),
        KnownApp(
            VERIFIED,
            digests=digests,
            requires_identity=True,
            identity_keys=(public_pem(pair()),),
        ),
    )
    monkeypatch.setattr(wiring, "services", lambda: services)
    web = Web(services, secret, producer, reads)
    for app in (OPEN, VERIFIED):
        by_key(web, "POST", f"/apps/{app}/users", {
            "identity": {"external_id": "ann", "crm": "secret-crm"},
            "properties": {"tags": {"of": "secret-ann"}},
            "subscriptions": [
                {"type": "AndroidPush", "id": DEVICE, "token": "secret-push"},
                {"type": "Email", "token": "ann@example.org", "device_model": "secret-model"},
                {"type": "Email", "id": MAIL_4, "token": "ann4@example.org"},
            ],
        })  # fmt: skip
        by_key(web, "POST", f"/apps/{app}/users", {
            "identity": {"onesignal_id": CAT, "external_id": "cat", "crm": "secret-cat"},
        })  # fmt: skip
        for record, tag in ((DEVICE, "devices"), (Ids.of(app).mail_5, "secret-mail"),
                            (MAIL_4, "secret-mail")):  # fmt: skip
            by_key(web, "PUT", f"/players/{record}", {"app_id": app, "tags": {"of": tag}})
    return web


def by_key(web: Web, method: str, path: str, body: Any = None) -> Answer:
    """A call of the app's server, which works."""
    answer = web.call(method, path, body, key=web.secret)
    assert answer.status in (200, 202), answer
    return answer


def call(
    web: Web, app: str, method: str, path: str, body: Any = None, *, who: str = "", sdk: bool = True
) -> Answer:
    """A call without the key: `who` is nobody, Bob (who has a token of his own), or Ann."""
    headers = {"SDK-Version": "onesignal/android/050909"} if sdk else {}
    if who:
        subscriptions = ANN if who == "ann" else []
        made = token(app, identity={"external_id": who}, subscriptions=subscriptions)
        headers["Authorization"] = f"Bearer {made}"
    if path.startswith("/players") and body is not None:
        body = {"app_id": app, **body}
    return web.call(method, path, body, headers=headers)


# -- reads -----------------------------------------------------------------------------------------

READS = {
    "player": "/players/{id}?app_id={app}",
    "user": "/apps/{app}/users/by/onesignal_id/{id}",
    "identity": "/apps/{app}/users/by/onesignal_id/{id}/identity",
    "owner": "/apps/{app}/subscriptions/{id}/user/identity",
}
BY_NAME = [
    f"/apps/{{app}}/users/by/{label}/{name}{end}"
    for label, name in (
        *(("external_id", "ann"), ("external_id", "cat"), ("crm", "secret-crm")),
        *(("email", "ann@example.org"), ("token", "ann@example.org")),
    )
    for end in ("", "/identity")
]
#: All that is shown: to an open app's callers, and to those who have no token of the user.
SHOWN = {
    OPEN: {("player", "device_4"), ("user", "cat_4"), ("user", "ann_8")},
    VERIFIED: {("player", "device_4")},
}
#: And in an open app the id of the user that has a device's subscription, and no more of it.
OWNERS = {OPEN: {("owner", "device_4"), ("owner", "mail_4")}, VERIFIED: set()}


@APPS
@pytest.mark.parametrize("who", ["", "bob"], ids=["no token", "another's token"])
@pytest.mark.parametrize("sdk", [True, False], ids=["an SDK's header", "no header"])
@pytest.mark.parametrize("name", Ids._fields)
@pytest.mark.parametrize("read", READS)
def test_what_is_read_by_an_id(
    web: Web, app: str, read: str, name: str, *, sdk: bool, who: str
) -> None:
    id_ = getattr(Ids.of(app), name)
    answer = call(web, app, "GET", READS[read].format(app=app, id=id_), sdk=sdk, who=who)
    if (read, name) in SHOWN[app]:
        assert answer.status == 200
        assert answer.body["tags" if read == "player" else "identity"]
    elif (read, name) in OWNERS[app]:
        # Ann's own id follows from her name: the id is the one that creating her is answered with.
        assert answer.body == {"identity": {"onesignal_id": Ids.of(app).ann_8}}
    elif (read, name, sdk) == ("owner", "cat_4", True):
        # Cat is no subscription: an SDK's gets a new user, by its id.
        assert answer.body == {"identity": {"onesignal_id": named_user(app, CAT, 0)}}
    else:
        assert answer.status in (401, 403, 404, 503)
        assert answer.body.keys() <= {"errors", "request_id"}
        assert "secret" not in str(answer.body)


@APPS
@pytest.mark.parametrize("who", ["", "bob"], ids=["no token", "another's token"])
@pytest.mark.parametrize("sdk", [True, False], ids=["an SDK's header", "no header"])
@pytest.mark.parametrize("path", BY_NAME)
def test_nothing_is_read_by_a_name(web: Web, app: str, path: str, *, sdk: bool, who: str) -> None:
    answer = call(web, app, "GET", path.format(app=app), sdk=sdk, who=who)
    assert answer.status in (401, 403)
    assert "secret-" not in str(answer.body)


@APPS
@pytest.mark.parametrize("path", [*READS.values(), *BY_NAME[:2]])
def test_a_key_and_ones_own_token_read_as_before(web: Web, app: str, path: str) -> None:
    device = path.startswith("/players") or "subscriptions" in path
    path = path.format(app=app, id=DEVICE if device else Ids.of(app).ann_8)
    assert "secret" in str(by_key(web, "GET", path).body)
    if app == VERIFIED and not path.startswith("/players"):
        answer = call(web, app, "GET", path, who="ann")
        assert (answer.status, answer.body["identity"]["crm"]) == (200, "secret-crm")


def test_the_refusals_say_what_to_do(web: Web) -> None:
    answer = call(web, OPEN, "GET", f"/apps/{OPEN}/users/by/external_id/ann")
    assert "Authorization: Key" in answer.body["errors"][0]
    assert answer.headers["WWW-Authenticate"] == 'Key realm="notify"'


@APPS
def test_a_device_reads_its_user_by_the_ids_that_it_was_answered(web: Web, app: str) -> None:
    """As the SDKs do: by the id that creating the user, or the upgrade from 4.x, was answered with."""
    owner = f"/apps/{app}/subscriptions/{DEVICE}/user/identity"
    who = "ann" if app == VERIFIED else ""
    handle = call(web, app, "GET", owner, who=who).body["identity"]["onesignal_id"]
    shown = call(web, app, "GET", f"/apps/{app}/users/by/onesignal_id/{handle}", who=who)
    assert shown.body["identity"] == {
        "onesignal_id": handle, "external_id": "ann", "crm": "secret-crm"
    }  # fmt: skip
    fresh = ids.random_id()
    owner = f"/apps/{app}/subscriptions/{fresh}/user/identity"
    made = call(web, app, "GET", owner).body["identity"]["onesignal_id"]
    assert not ids.follows_from_a_name(made)
    assert call(web, app, "GET", owner).body["identity"] == {"onesignal_id": made}
    assert call(web, app, "GET", f"/apps/{app}/users/by/onesignal_id/{made}").status == 200
    assert call(web, app, "GET", owner, sdk=False).body["identity"] == {"onesignal_id": made}


def test_a_user_whose_aliases_were_all_taken_has_its_own_id_left(web: Web) -> None:
    for label in ("crm", "external_id"):
        by_key(web, "DELETE", f"/apps/{OPEN}/users/by/external_id/ann/identity/{label}")
    owner = f"/apps/{OPEN}/subscriptions/{DEVICE}/user/identity"
    assert call(web, OPEN, "GET", owner).body["identity"] == {"onesignal_id": Ids.of(OPEN).ann_5}


def test_no_other_caller_makes_an_owner_by_reading(web: Web) -> None:
    sent = len(web.sent())
    owner = f"/apps/{OPEN}/subscriptions/{ids.random_id()}/user/identity"
    assert call(web, OPEN, "GET", owner, sdk=False).status == 404
    assert len(web.sent()) == sent


@pytest.mark.parametrize("sdk", [True, False])
@pytest.mark.parametrize("who", ["", "bob"])
def test_an_anonymous_user_is_not_read_by_its_address(web: Web, who: str, *, sdk: bool) -> None:
    """It has no alias that a token could name; who knows the address must have it in the token."""
    new = {"subscriptions": [{"type": "Email", "token": "eve@example.org"}]}
    for app in (OPEN, VERIFIED):
        by_key(web, "POST", f"/apps/{app}/users", new)
        record = record_id(app, "email", "eve@example.org")
        path = f"/apps/{app}/subscriptions/{record}/user/identity"
        assert call(web, app, "GET", path, who=who, sdk=sdk).status in (401, 403, 503)
        assert by_key(web, "GET", path).body["identity"]


# -- kinds -----------------------------------------------------------------------------------------


@APPS
@pytest.mark.parametrize("known", [True, False], ids=["a known address", "an address to come"])
@pytest.mark.parametrize("who", ["", "ann"])
def test_an_address_never_becomes_a_device(web: Web, app: str, *, known: bool, who: str) -> None:
    address = "ann@example.org" if known else "ann5@example.org"
    record = record_id(app, "email", address)
    subscription = f"/apps/{app}/subscriptions/{record}"
    attacks: list[tuple[str, str, dict[str, Any]]] = [
        ("PUT", f"/players/{record}", {"device_type": 1}),
        ("POST", f"/players/{record}/on_session", {"device_type": 1}),
        ("PATCH", subscription, {"subscription": {"type": "AndroidPush"}}),
        ("POST", f"/apps/{app}/users", {"subscriptions": [{"id": record, "type": "iOSPush"}]}),
        ("PATCH", f"/apps/{app}/users/by/onesignal_id/{record}", {"properties": {}}),
        ("POST", f"/apps/{app}/users", {"identity": {"onesignal_id": record}}),
    ]
    for method, path, body in attacks:
        answer = call(web, app, method, path, body, who=who)
        own = app == VERIFIED and who == "ann" and known and "device_type" not in str(body)
        assert answer.status in (401, 403, 404) or own
    real = {"device_type": 11, "identifier": address, "tags": {"of": "secret-mail"}}
    by_key(web, "POST", "/players", {"app_id": app, **real})
    row = web.reads.record(app, record)
    assert row is not None
    assert row.kind == "email"
    for read in READS.values():
        answer = call(web, app, "GET", read.format(app=app, id=record), who=who)
        assert "secret-mail" not in str(answer.body)


def test_an_address_is_registered_by_itself(web: Web) -> None:
    """Without a key, and in either API: the update has the address that its id is made of."""
    player = {"device_type": 11, "identifier": " Eve@Example.org "}
    mail = call(web, OPEN, "POST", "/players", player).body["id"]
    number = {"subscriptions": [{"type": "SMS", "token": "+49 1"}]}
    made = call(web, OPEN, "POST", f"/apps/{OPEN}/users", number).body["subscriptions"][0]["id"]
    for id_, kind in ((mail, "email"), (made, "sms")):
        row = web.reads.record(OPEN, id_)
        assert row is not None
        assert row.kind == kind


def test_a_kind_that_a_caller_set_shows_nothing(web: Web) -> None:
    """Even where an address's record is a device's by its kind: its id says what it is."""
    record = record_id(OPEN, "email", "dan@example.org")
    item = {"record": record, "kind": "push", "tags": {"of": "secret"}}
    by_key(web, "POST", f"/apps/{OPEN}/batch", {"updates": [item]})
    assert call(web, OPEN, "GET", f"/players/{record}?app_id={OPEN}").status == 404


@APPS
@pytest.mark.parametrize("name", ["ann_8", "mail_8", "mail_token_8"])
def test_an_aliass_id_is_no_players_and_no_subscriptions(web: Web, app: str, name: str) -> None:
    id_ = getattr(Ids.of(app), name)
    for call_, method in (("", "PUT"), ("/on_session", "POST"), ("/on_focus", "POST")):
        answer = call(web, app, method, f"/players/{id_}{call_}", {"device_type": 11})
        assert answer.status == 400
    for method in ("PATCH", "DELETE"):
        change = {"subscription": {"type": "Email"}} if method == "PATCH" else None
        assert call(web, app, method, f"/apps/{app}/subscriptions/{id_}", change).status == 404


def test_nobody_says_what_a_person_is_before_the_person_is_there(web: Web) -> None:
    """A kind that a stranger set first would stay, and hide the user from its own devices."""
    handle = alias_id(OPEN, USER, "external_id", "dan")
    for id_ in (handle, named_user(OPEN, handle, 0)):
        for kind in ({"type": "Email"}, {"type": "AndroidPush"}, {}):
            for token_ in ({}, {"token": "evil@example.org"}):
                new = {"id": id_, **kind, **token_}
                call(web, OPEN, "POST", f"/apps/{OPEN}/users", {"subscriptions": [new]})
                change = {"subscription": {**kind, **token_}}
                call(web, OPEN, "PATCH", f"/apps/{OPEN}/subscriptions/{id_}", change)
        for device_type in (1, 11, 14):
            said = {"device_type": device_type, "identifier": "evil@example.org"}
            for method, end in (("PUT", ""), ("POST", "/on_session")):
                call(web, OPEN, method, f"/players/{id_}{end}", said)
                call(web, OPEN, method, f"/players/{id_}{end}", {"device_type": device_type})
    body = {"identity": {"external_id": "dan"}}
    made = call(web, OPEN, "POST", f"/apps/{OPEN}/users", body).body["identity"]["onesignal_id"]
    answer = call(web, OPEN, "GET", f"/apps/{OPEN}/users/by/onesignal_id/{made}")
    assert (answer.status, answer.body["identity"]["external_id"]) == (200, "dan")


def test_a_subscription_of_a_known_address_is_not_deleted_by_a_stranger(web: Web) -> None:
    """Its id may be a person's too. As the SDKs need it, the user loses it."""
    ids_ = Ids.of(OPEN)
    for id_ in (ids_.mail_5, ids_.ann_5):
        assert call(web, OPEN, "DELETE", f"/apps/{OPEN}/subscriptions/{id_}").status == 202
    mail = web.reads.record(OPEN, ids_.mail_5)
    assert mail is not None
    assert mail.tags == {"of": "secret-mail"}
    ann = by_key(web, "GET", f"/apps/{OPEN}/users/by/external_id/ann").body
    assert ann["properties"]["tags"] == {"of": "secret-ann"}
    assert {each["id"] for each in ann["subscriptions"]} == {DEVICE, MAIL_4}
    assert call(web, OPEN, "DELETE", f"/apps/{OPEN}/subscriptions/{MAIL_4}").status == 202
    assert web.reads.record(OPEN, MAIL_4) is None
    by_key(web, "DELETE", f"/apps/{OPEN}/subscriptions/{ids_.mail_5}")
    assert web.reads.record(OPEN, ids_.mail_5) is None
    path = f"/apps/{VERIFIED}/subscriptions/{Ids.of(VERIFIED).mail_5}"
    assert call(web, VERIFIED, "DELETE", path).status == 401
    assert call(web, VERIFIED, "DELETE", path, who="ann").status == 202
    assert web.reads.record(VERIFIED, Ids.of(VERIFIED).mail_5) is None


def test_an_alias_does_not_open_an_address(web: Web) -> None:
    """An alias of one's own, given to somebody's email record or to its user, to read that by it."""
    ids_ = Ids.of(OPEN)
    evil = {"identity": {"evil": "x"}}
    for path, status in (
        (f"/apps/{OPEN}/users/by/onesignal_id/{ids_.mail_5}/identity", 404),
        (f"/apps/{OPEN}/users/by/onesignal_id/{ids_.ann_5}/identity", 404),
        (f"/apps/{OPEN}/subscriptions/{ids_.mail_5}/user/identity", 401),
    ):
        assert call(web, OPEN, "PATCH", path, evil).status == status
    path = f"/apps/{OPEN}/users/by/onesignal_id/{ids_.mail_token_8}/identity"
    assert call(web, OPEN, "PATCH", path, evil).status == 200
    handle = alias_id(OPEN, USER, "evil", "x")
    answer = call(web, OPEN, "GET", f"/apps/{OPEN}/users/by/onesignal_id/{handle}")
    assert answer.status == 404
    row = web.reads.record(OPEN, MAIL_4)
    assert row is not None
    assert row.kind == "email"


# -- deletes ---------------------------------------------------------------------------------------


@APPS
@pytest.mark.parametrize("who", ["", "bob"])
@pytest.mark.parametrize(
    "by",
    ["external_id/ann", "crm/secret-crm", *(f"onesignal_id/{name}" for name in Ids._fields)],
)
def test_nobody_is_deleted_without_a_key_or_a_token(web: Web, app: str, by: str, who: str) -> None:
    sent = len(web.sent())
    label, name = by.split("/")
    by = f"{label}/{getattr(Ids.of(app), name, name)}"
    answer = call(web, app, "DELETE", f"/apps/{app}/users/by/{by}", who=who)
    assert answer.status in (401, 403)
    assert len(web.sent()) == sent


def test_a_user_deletes_itself_by_its_token(web: Web) -> None:
    path = f"/apps/{VERIFIED}/users/by/external_id/ann"
    assert call(web, VERIFIED, "DELETE", path, who="ann").status == 200
    assert web.reads.user(VERIFIED, Ids.of(VERIFIED).ann_8, owner=False) is None
    by_key(web, "DELETE", f"/apps/{OPEN}/users/by/external_id/ann")
    assert web.reads.user(OPEN, Ids.of(OPEN).ann_8, owner=False) is None


# -- addresses -------------------------------------------------------------------------------------

VICTIM = "victim@example.org"
#: Calls that bring an identifier, or a token, to a record.
CHANGES: list[tuple[str, str, dict[str, Any]]] = [
    ("PATCH", "/apps/{app}/subscriptions/{id}", {"subscription": {"token": VICTIM}}),
    (
        "PATCH",
        "/apps/{app}/subscriptions/{id}",
        {"subscription": {"type": "AndroidPush", "token": VICTIM}},
    ),
    ("PATCH", "/apps/{app}/subscriptions/{id}", {"subscription": {"token": "", "enabled": True}}),
    ("POST", "/apps/{app}/users", {"subscriptions": [{"id": "{id}", "token": VICTIM}]}),
    (
        "POST",
        "/apps/{app}/users",
        {"subscriptions": [{"id": "{id}", "type": "iOSPush", "token": VICTIM}]},
    ),
    ("PUT", "/players/{id}", {"identifier": VICTIM}),
    ("PUT", "/players/{id}", {"identifier": VICTIM, "device_type": 1}),
    ("POST", "/players/{id}/on_session", {"identifier": VICTIM}),
    ("POST", "/players/{id}/on_session", {"identifier": VICTIM, "device_type": 1}),
    (
        "PATCH",
        "/apps/{app}/subscriptions/{id}",
        {"subscription": {"type": "Email", "token": VICTIM}},
    ),
    ("PUT", "/players/{id}", {"identifier": VICTIM, "device_type": 11}),
]


def changed(web: Web, app: str, change: int, record: str, who: str) -> Answer:
    """The answer to one of CHANGES of the record."""
    method, path, body = CHANGES[change]
    said: Any = {
        key: [{**each, "id": record} for each in value] if key == "subscriptions" else value
        for key, value in body.items()
    }
    return call(web, app, method, path.format(app=app, id=record), said, who=who)


@pytest.mark.parametrize("who", ["", "bob", "ann"])
@pytest.mark.parametrize("name", ["mail_4", "mail_5"])
@pytest.mark.parametrize("change", range(len(CHANGES)))
def test_no_identifier_changes_whose_address_it_is(
    web: Web, change: int, name: str, who: str
) -> None:
    """With identity verification, and a token that does not name the new address."""
    record = getattr(Ids.of(VERIFIED), name)
    before = web.reads.record(VERIFIED, record)
    answer = changed(web, VERIFIED, change, record, who)
    after = web.reads.record(VERIFIED, record)
    assert before is not None
    assert after is not None
    assert (after.kind, after.identifier) == (before.kind, before.identifier) == (
        "email", "ann@example.org" if name == "mail_5" else "ann4@example.org"
    )  # fmt: skip
    # POST users is refused with 404 to this SDK, which would lose its device by a 401 or 403.
    assert answer.status in (200, 202, 400, 401, 403, 404)


@pytest.mark.parametrize("change", [*range(3), *range(5, 9)])
def test_a_push_token_changes_without_its_type(web: Web, change: int) -> None:
    for app in (OPEN, VERIFIED):
        assert changed(web, app, change, DEVICE, "").status == 200
        row = web.reads.record(app, DEVICE)
        assert row is not None
        assert (row.kind, row.identifier) == ("push", VICTIM if change != 2 else None)


@APPS
def test_an_address_changes_with_a_token_or_a_key(web: Web, app: str) -> None:
    path, new = f"/apps/{app}/subscriptions/{MAIL_4}", "ann@example.org"
    body = {"subscription": {"type": "Email", "token": new}}
    assert call(web, app, "PATCH", path, body, who="ann" if app == VERIFIED else "").status == 200
    row = web.reads.record(app, MAIL_4)
    assert row is not None
    assert row.identifier == new
    by_key(web, "PATCH", path, {"subscription": {"token": "other@example.org"}})
    row = web.reads.record(app, MAIL_4)
    assert row is not None
    assert (row.kind, row.identifier) == ("email", "other@example.org")


def test_a_new_address_says_its_type(web: Web) -> None:
    path = f"/apps/{OPEN}/subscriptions/{Ids.of(OPEN).mail_5}"
    answer = call(web, OPEN, "PATCH", path, {"subscription": {"token": VICTIM}})
    assert answer.status == 400
    assert "Email or SMS" in answer.body["errors"][0]
    answer = call(web, OPEN, "PATCH", path, {"subscription": {"type": "Email", "token": VICTIM}})
    assert answer.status == 401
    path = f"/apps/{OPEN}/subscriptions_by_token/Email/ann@example.org"
    answer = call(web, OPEN, "PATCH", path, {"subscription": {"token": VICTIM}})
    assert answer.status == 401
    body = {"subscription": {"enabled": False}}
    assert call(web, OPEN, "PATCH", path, body).status == 202


@APPS
def test_a_refreshed_token_has_one_subscription(web: Web, app: str) -> None:
    """F11: iOS sends the new token without its type, and registers again by it."""

    def register(token_: str) -> str:
        body = {
            "identity": {"external_id": "ann"},
            "subscriptions": [{"type": "iOSPush", "token": token_}],
        }
        answer = call(web, app, "POST", f"/apps/{app}/users", body, who="ann")
        made: str = answer.body["subscriptions"][0]["id"]
        return made

    first = register("aa")
    path = f"/apps/{app}/subscriptions/{first}"
    body = {"subscription": {"token": "bb", "enabled": True}}
    assert call(web, app, "PATCH", path, body).status == 200
    second = register("bb")
    shown = by_key(web, "GET", f"/apps/{app}/users/by/external_id/ann").body["subscriptions"]
    assert [each["id"] for each in shown if each.get("token") == "bb"] == [second]
    assert first not in [each["id"] for each in shown]


@pytest.mark.parametrize(("change", "token_"), [(0, VICTIM), (2, None), (3, VICTIM)])
def test_a_push_token_without_its_type_is_the_subscriptions_token(
    web: Web, change: int, token_: str | None
) -> None:
    """An open app's too: of an email subscription the address stays."""
    for record, identifier in ((DEVICE, token_), (MAIL_4, "ann4@example.org")):
        changed(web, OPEN, change, record, "")
        update = [each for each in web.sent() if (each.app, each.record) == (OPEN, record)][-1]
        assert update.aliases == {TOKEN: token_}
        row = web.reads.record(OPEN, record)
        assert row is not None
        assert row.identifier == identifier


def test_the_type_that_is_shown_is_the_kind_that_is_stored(web: Web) -> None:
    path = f"/apps/{OPEN}/subscriptions/{MAIL_4}"
    call(web, OPEN, "PATCH", path, {"subscription": {"type": "AndroidPush"}})
    shown = by_key(web, "GET", f"/apps/{OPEN}/users/by/external_id/ann").body["subscriptions"]
    assert {each["id"]: each["type"] for each in shown}[MAIL_4] == "Email"
