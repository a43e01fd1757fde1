"""Identity verification: which tokens are good, and what a call may name with one."""

import hashlib
import hmac
import io
import json
import threading
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from pytest_django import Settings

from notify.domain.records import ids
from notify.domain.records import update as updates
from notify.domain.records.patch import SET, Patch
from notify.domain.records.update import TOKEN, USER, Update
from notify.security import public_keys
from notify.security.keys import digest_of, make_key
from notify.security.public_keys import KeyRefused
from notify.telemetry import logs
from notify.web import wiring
from notify.web.access import identity
from notify.web.access.apps_cache import KnownApp
from notify.web.access.identity import Identity, TokenLimits, Verifier
from notify.web.http import endpoint
from notify.web.http.answers import Refused
from tests.fake_producer import FakeProducer, fake_services
from tests.fake_web import Answer, Requests
from tests.identity_tokens import claims, pair, private_pem, public_pem, signed, token, unsigned

APP = "6f1d2c1e-9a3b-4a55-8c7e-0d9d3b8f1a11"
OTHER_APP = "7c9e6679-7425-40de-944b-e07fc1f90ae7"
OPEN_APP = "8a1b2c3d-0000-4000-8000-000000000001"
PLAYER = "3a9f1f60-5a0f-4c59-9d2a-0f7d4f3f0b01"
LIMITS = TokenLimits(leeway_s=30, lifetime_s=7200, chars_max=2_000, kept_max=3)
NOW = 1_800_000_000
EMAILS = [{"type": "Email", "token": " Ann@Example.org"}, {"type": "sms", "token": "+1 (234) 5"}]
BOTH = (public_pem(pair("second")), public_pem(pair()))


def known(app: str = APP, *pems: str, required: bool = True) -> KnownApp:
    return KnownApp(app, requires_identity=required, identity_keys=pems or BOTH)


def at_now(app: str = APP, key: ec.EllipticCurvePrivateKey | None = None, **changed: Any) -> str:
    """A token that is good at NOW, but for what `changed` says."""
    return token(app, key, **({"exp": NOW + 3600} | changed))


def verify(text: str, app: KnownApp | None = None, limits: TokenLimits = LIMITS) -> identity.Claims:
    return Verifier(limits).verify(app or known(), text, now_s=NOW)


def refused(text: str, app: KnownApp | None = None) -> str:
    """Why the token is refused with 401, without a word of the token in it."""
    with pytest.raises(Refused) as caught:
        verify(text, app)
    assert caught.value.status == 401
    (error,) = caught.value.errors
    assert len(text) < 20 or text[:20] not in error
    return error


class TestTokens:
    def test_a_good_token_names_its_user_and_addresses(self) -> None:
        found = verify(at_now(subscriptions=EMAILS))
        assert found.names == {
            ("external_id", "ann"),
            ("email", "ann@example.org"),
            ("sms", "+12345"),
        }
        assert {
            ids.alias_id(APP, USER, "external_id", "ann"),
            ids.record_id(APP, "email", "ann@example.org"),
            ids.record_id(APP, "sms", "+12345"),
            ids.alias_id(APP, "email", TOKEN, "ann@example.org"),
        } <= found.records
        assert ids.record_id(OTHER_APP, "email", "ann@example.org") not in found.records

    @pytest.mark.parametrize("name", ["first", "second"])
    def test_both_live_keys_verify(self, name: str) -> None:
        assert verify(at_now(key=pair(name))).names == {("external_id", "ann")}

    def test_what_else_a_token_says_is_not_looked_at(self) -> None:
        more: dict[str, Any] = {
            "aud": "x",
            "sub": 1,
            "jti": 2,
            "iat": NOW + 10**6,
            "more": [{}],
            "nbf": NOW,
        }
        push = {"type": "AndroidPush", "token": "abc"}
        assert verify(at_now(iss=APP.upper(), subscriptions=[push], **more)).names == {
            ("external_id", "ann")
        }

    def test_a_key_that_is_not_the_apps(self) -> None:
        assert "not signed with a key of this app" in refused(at_now(key=pair("third")))
        assert "not signed with a key of this app" in refused(
            at_now(key=pair("second")), known(APP, BOTH[1])
        )

    def test_an_app_without_keys_says_so(self) -> None:
        assert "no public key" in refused(at_now(), KnownApp(APP, requires_identity=True))

    def test_another_apps_token(self) -> None:
        other = known(OTHER_APP, public_pem(pair("others")))
        theirs = at_now(OTHER_APP, pair("others"))
        assert verify(theirs, other)
        assert "not signed with a key of this app" in refused(theirs)
        assert "iss" in refused(at_now(OTHER_APP))

    @pytest.mark.parametrize("iss", [None, "", 1, [APP], {"a": APP}, f"{APP} "])
    def test_no_issuer_or_a_wrong_one(self, iss: object) -> None:
        said = claims(APP, exp=NOW + 60, iss=iss)
        assert "iss" in refused(signed(json.dumps(said).encode()))

    @pytest.mark.parametrize(
        "exp", [None, str(NOW + 60), True, float("nan"), float("inf"), -1, 10**400, [NOW]]
    )
    def test_exp_that_is_no_time(self, exp: object) -> None:
        said = claims(APP, exp=exp)
        assert "exp must be" in refused(signed(json.dumps(said).encode()))

    def test_expiry_and_its_leeway(self) -> None:
        assert verify(at_now(exp=NOW - 29))
        assert "expired" in refused(at_now(exp=NOW - 30))

    def test_the_longest_lifetime(self) -> None:
        assert verify(at_now(exp=NOW + 7200 + 30))
        assert "7200 s in the future" in refused(at_now(exp=NOW + 7200 + 31))

    def test_not_valid_yet(self) -> None:
        assert verify(at_now(nbf=NOW + 30))
        assert "nbf" in refused(at_now(nbf=NOW + 31))
        for nbf in ("later", True):
            said = claims(APP, exp=NOW + 60, nbf=nbf)
            assert "nbf must be" in refused(signed(json.dumps(said).encode()))

    def test_the_longest_token(self) -> None:
        good = at_now()
        padded = at_now(pad="x" * (LIMITS.chars_max - len(good)))
        assert "longer than 2000" in refused(padded)
        assert verify(good)

    @pytest.mark.parametrize(
        "said",
        [
            None, {}, [], "ann", {"external_id": ""}, {"external_id": " "}, {"external_id": 1},
            {"external_id": None}, {"external_id": ["ann"]}, {"": "ann"}, {"external_id": "\ud800"},
        ],
    )  # fmt: skip
    def test_identity_that_names_nobody(self, said: object) -> None:
        assert "identity" in refused(at_now(identity=said))

    @pytest.mark.parametrize(
        "said", ["ann@example.org", {}, ["a"], [{}], [{"type": "Email"}],
                 [{"type": "Email", "token": 1}], [{"type": 11, "token": "a@b"}],
                 [{"type": "Email", "token": " "}]],
    )  # fmt: skip
    def test_subscriptions_that_are_none(self, said: object) -> None:
        assert "subscriptions" in refused(at_now(subscriptions=said))

    def test_tampered_at_any_place(self) -> None:
        good = at_now(identity={"external_id": "ann"})
        head, body, signature = good.split(".")
        other = at_now(identity={"external_id": "bob"}).split(".")[1]
        assert refused(f"{head}.{other}.{signature}")
        flipped = "A" if signature[5] != "A" else "B"
        assert refused(f"{head}.{body}.{signature[:5]}{flipped}{signature[6:]}")
        assert refused(f"{head}.{body}.")
        assert refused(f"{head}.{body}")
        assert refused(f"{head}.{body}.{'A' * len(signature)}")

    @pytest.mark.parametrize("alg", ["none", "None", "NONE", "", None, ["ES256"], {"a": 1}, 1])
    def test_alg_none_and_no_alg(self, alg: object) -> None:
        assert refused(unsigned({"alg": alg, "typ": "JWT"}, claims(APP, exp=NOW + 60)))

    @pytest.mark.parametrize("pem", [BOTH[1], BOTH[1].strip()])
    def test_hs256_with_the_public_key_as_the_secret(self, pem: str) -> None:
        """The library refuses to sign so; an attacker needs no library."""
        head, body, _ = unsigned({"alg": "HS256", "typ": "JWT"}, claims(APP, exp=NOW + 60)).split(
            "."
        )
        mac = hmac.digest(pem.encode(), f"{head}.{body}".encode(), "sha256")
        forged = f"{head}.{body}.{unsigned(0, 0, mac).split('.')[2]}"
        assert jwt.utils.base64url_decode(forged.split(".")[2]) == mac
        assert "ES256" in refused(forged)

    def test_the_right_key_under_another_algorithm(self) -> None:
        big = ec.generate_private_key(ec.SECP384R1())
        assert refused(jwt.encode(claims(APP, exp=NOW + 60), big, algorithm="ES384"))
        es256 = at_now().split(".")
        es384 = unsigned({"alg": "ES384", "typ": "JWT"}, {}).split(".")[0]
        assert refused(".".join((es384, *es256[1:])))

    def test_keys_in_the_header_are_not_taken(self) -> None:
        mine = pair("attacker")
        jwk = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(mine.public_key()))
        said = claims(APP, exp=NOW + 60)
        forged = jwt.encode(said, mine, algorithm="ES256", headers={"jwk": jwk, "kid": "../x"})
        assert "not signed with a key of this app" in refused(forged)

    @pytest.mark.parametrize(
        "text",
        [
            " ", ".", "..", "a.b.c", "é.é.é", "\ud800.a.b", "x" * 1_999, "[" * 900 + "..",
            "nk_" + "x" * 40, "null", unsigned([], {}), unsigned({"alg": "ES256", "crit": ["x"]}, {}),
            unsigned({"alg": "ES256", "b64": False}, {}, b"x" * 64), unsigned("ES256", 1),
        ],
    )  # fmt: skip
    def test_what_is_no_token(self, text: str) -> None:
        assert refused(text)

    def test_a_signed_payload_that_is_no_object(self) -> None:
        for said in (b"[]", b"1", b"null", b"{", b"\xff", b"[" * 1_200):
            assert refused(signed(said))


class TestRemembered:
    def count(self, monkeypatch: pytest.MonkeyPatch) -> list[str]:
        """The signatures that are verified from now on."""
        done: list[str] = []
        real = identity._signed

        def counted(app: KnownApp, text: str) -> Any:
            done.append(text)
            return real(app, text)

        monkeypatch.setattr(identity, "_signed", counted)
        return done

    def test_a_token_is_verified_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        done = self.count(monkeypatch)
        verifier = Verifier(LIMITS)
        good = at_now()
        first = verifier.verify(known(), good, now_s=NOW)
        assert verifier.verify(known(), good, now_s=NOW + 1) is first
        assert len(done) == 1

    def test_only_until_it_expires(self) -> None:
        verifier = Verifier(LIMITS)
        good = at_now(exp=NOW + 10)
        verifier.verify(known(), good, now_s=NOW)
        verifier.verify(known(), good, now_s=NOW + 39)
        with pytest.raises(Refused, match="expired"):
            verifier.verify(known(), good, now_s=NOW + 40)

    def test_only_while_its_key_lives(self) -> None:
        verifier = Verifier(LIMITS)
        good = at_now(key=pair("second"))
        verifier.verify(known(), good, now_s=NOW)
        with pytest.raises(Refused, match="not signed with a key of this app"):
            verifier.verify(known(APP, BOTH[1]), good, now_s=NOW)

    def test_only_for_its_app(self) -> None:
        verifier = Verifier(LIMITS)
        good = at_now()
        verifier.verify(known(), good, now_s=NOW)
        with pytest.raises(Refused, match="iss"):
            verifier.verify(known(OTHER_APP), good, now_s=NOW)

    def test_at_most_so_many_the_last_ones_used(self, monkeypatch: pytest.MonkeyPatch) -> None:
        done = self.count(monkeypatch)
        verifier = Verifier(LIMITS)
        made = [at_now(n=n) for n in range(4)]
        for text in (*made[:3], made[0], made[3]):
            verifier.verify(known(), text, now_s=NOW)
            assert len(verifier) <= LIMITS.kept_max
        assert done == made
        verifier.verify(known(), made[0], now_s=NOW)
        assert done == made
        verifier.verify(known(), made[1], now_s=NOW)
        assert done == [*made, made[1]]

    def test_bad_tokens_are_not_kept(self) -> None:
        verifier = Verifier(LIMITS)
        for n in range(5):
            with pytest.raises(Refused):
                verifier.verify(known(), at_now(key=pair("third"), n=n), now_s=NOW)
        assert len(verifier) == 0

    def test_none_at_all(self) -> None:
        limits = TokenLimits(leeway_s=0, lifetime_s=7200, chars_max=2_000, kept_max=0)
        verifier = Verifier(limits)
        verifier.verify(known(), at_now(), now_s=NOW)
        assert len(verifier) == 0

    def test_no_token_is_in_memory(self) -> None:
        verifier = Verifier(LIMITS)
        good = at_now()
        verifier.verify(known(), good, now_s=NOW)
        assert good not in repr(vars(verifier))
        assert good.split(".")[2] not in repr(vars(verifier))

    def test_many_threads(self) -> None:
        verifier = Verifier(LIMITS)
        made = [at_now(n=n) for n in range(6)]
        wrong: list[object] = []

        def run(start: int) -> None:
            for n in range(60):
                found = verifier.verify(known(), made[(start + n) % 6], now_s=NOW)
                if found.names != {("external_id", "ann")}:
                    wrong.append(found)

        threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert wrong == []
        assert len(verifier) <= LIMITS.kept_max

    def test_the_limits_are_settings(self, settings: Settings) -> None:
        settings.NOTIFY_IDENTITY_LEEWAY_S = 1
        settings.NOTIFY_IDENTITY_LIFETIME_S = 2
        settings.NOTIFY_IDENTITY_TOKEN_CHARS = 3
        settings.NOTIFY_IDENTITY_TOKENS = 4
        limits = TokenLimits(leeway_s=1, lifetime_s=2, chars_max=3, kept_max=4)
        assert TokenLimits.of_settings() == limits
        with pytest.raises(Refused, match="longer than 3"):
            Verifier().verify(known(), at_now(), now_s=NOW)


class TestIdentity:
    def who(self, **changed: Any) -> Identity:
        found = verify(at_now(**changed))
        return Identity(APP, needed=True, claims=found)

    @pytest.mark.parametrize(
        ("label", "name"),
        [
            ("external_id", "ann"),
            ("email", "ANN@example.org "),
            ("sms", "1-234-5"),
            ("onesignal_id", ids.alias_id(APP, USER, "external_id", "ann")),
            ("onesignal_id", ids.alias_id(APP, USER, "external_id", "ann").upper()),
        ],
    )
    def test_names_of_the_token(self, label: str, name: str) -> None:
        self.who(subscriptions=EMAILS).must_name(label, name)

    @pytest.mark.parametrize(
        ("label", "name"),
        [
            ("external_id", "Ann"), ("external_id", "bob"), ("external_id", ""),
            ("external_id", None), ("external_id", 1), ("email", "bob@example.org"),
            ("email", "ann"), ("sms", "+12346"), ("customer", "ann"), ("onesignal_id", PLAYER),
            ("onesignal_id", ids.alias_id(OTHER_APP, USER, "external_id", "ann")),
            ("x" * 1_000, "ann"), ("external_id", "\ud800"),
        ],
    )  # fmt: skip
    def test_names_that_are_not(self, label: str, name: object) -> None:
        with pytest.raises(Refused) as caught:
            self.who(subscriptions=EMAILS).must_name(label, name)
        assert caught.value.status == 403
        assert "server" in caught.value.errors[0]

    def test_a_users_own_id(self) -> None:
        who = self.who(identity={"onesignal_id": PLAYER.upper()})
        who.must_name("onesignal_id", PLAYER)
        who.must_own(PLAYER)

    def test_without_a_token(self) -> None:
        nobody = Identity(APP, needed=True)
        with pytest.raises(Refused) as caught:
            nobody.must_name("external_id", "ann")
        assert caught.value.status == 401
        assert caught.value.headers["WWW-Authenticate"].startswith("Bearer")
        nobody.must_reach(PLAYER)
        with pytest.raises(Refused):
            nobody.must_reach(ids.alias_id(APP, USER, "external_id", "ann"))

    def test_nothing_is_asked_where_nothing_is_needed(self) -> None:
        anyone = Identity(APP, needed=False)
        anyone.must_name("external_id", "ann")
        anyone.must_own(PLAYER)
        anyone.admitted(update(kind="email", identifier="bob@example.org"))

    def test_users_that_are_read(self) -> None:
        self.who().must_see({})
        self.who().must_see({"customer": "7", "external_id": "ann"})
        Identity(APP, needed=True).must_see({})
        Identity(APP, needed=False).must_see({"external_id": "bob"})
        for aliases in ({"external_id": "bob"}, {"customer": "ann"}):
            with pytest.raises(Refused) as caught:
                self.who().must_see(aliases)
            assert caught.value.status == 403
            with pytest.raises(Refused) as caught:
                Identity(APP, needed=True).must_see(aliases)
            assert caught.value.status == 401

    @pytest.mark.parametrize(
        "change",
        [
            {"kind": "email", "identifier": "ann@example.org"},
            {"external_user_id": "ann"},
            {"email": "Ann@example.org", "sms_number": "+12345"},
            {"links": {"email": ids.record_id(APP, "email", "ann@example.org")}},
            {"links": {"user": ids.alias_id(APP, USER, "external_id", "ann")}},
            {"links": {"user": PLAYER, "email": None}},
            {"record": ids.alias_id(APP, USER, "external_id", "ann"), "kind": USER},
            {"kind": USER, "aliases": {"external_id": "ann"}},
            {"kind": "email", "aliases": {TOKEN: "ann@example.org"}},
            {
                "record": ids.alias_id(APP, USER, "external_id", "ann"),
                "kind": USER,
                "aliases": {"external_id": "ann", "customer": None},
            },
            {"kind": "push", "aliases": {TOKEN: None}},
            {"kind": "push", "aliases": {TOKEN: "anything"}, "identifier": "anything"},
        ],
    )
    def test_updates_that_a_token_allows(self, change: dict[str, Any]) -> None:
        self.who(subscriptions=EMAILS).admitted(update(**change))

    @pytest.mark.parametrize(
        "change",
        [
            {"kind": "email", "identifier": "bob@example.org"},
            {"kind": "sms", "identifier": "+999"},
            {"external_user_id": "bob"},
            {"email": "bob@example.org"},
            {"sms_number": "+999"},
            {"links": {"email": ids.record_id(APP, "email", "bob@example.org")}},
            {"links": {"sms": PLAYER}},
            {"links": {"user": ids.alias_id(APP, USER, "external_id", "bob")}},
            {"record": ids.alias_id(APP, USER, "external_id", "bob"), "kind": USER},
            {"kind": USER, "aliases": {"external_id": "bob"}},
            {"kind": USER, "aliases": {"external_id": "ann", "customer": "7"}},
            {"kind": USER, "aliases": {"external_id": None}},
            {"kind": "email", "aliases": {TOKEN: "bob@example.org"}},
            {"kind": "email", "aliases": {TOKEN: None}},
            {"kind": USER, "aliases": {"customer": None}},
        ],
    )
    def test_updates_that_it_does_not(self, change: dict[str, Any]) -> None:
        asked = update(**change)
        for who in (self.who(subscriptions=EMAILS), Identity(APP, needed=True)):
            with pytest.raises(Refused):
                who.admitted(asked)


def update(
    record: str = "11111111-1111-4111-8111-111111111111",
    kind: str | None = None,
    links: dict[str, str | None] | None = None,
    aliases: dict[str, str | None] | None = None,
    identifier: str | None = None,
    **properties: str,
) -> Update:
    ops: dict[str, Any] = {f"properties.{key}": (SET, value) for key, value in properties.items()}
    if identifier is not None:
        ops["identifier"] = (SET, identifier)
    made = Update(
        APP, record, 1, "m", kind=kind, patch=Patch(False, ops), links=links or {},
        aliases=aliases or {},
    )  # fmt: skip
    return updates.parse(updates.encode(made))


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Iterator["Web"]:
    settings.MIDDLEWARE = ["notify.web.http.edge.ApiFirst"]
    secret, _, digest = make_key()
    services, producer, _ = fake_services(
        KnownApp(APP, digests=(digest,), requires_identity=True, identity_keys=BOTH),
        KnownApp(OPEN_APP, digests=(digest_of("x"),), identity_keys=BOTH),
        KnownApp(OTHER_APP, requires_key=True, digests=(digest,)),
    )
    monkeypatch.setattr(wiring, "services", lambda: services)
    yield Web(services, secret, producer)
    services.apps.close()


class Web(Requests):
    """An app that requires tokens, one that does not, one that requires a key."""

    def __init__(self, services: wiring.Services, secret: str, producer: FakeProducer) -> None:
        super().__init__(services, secret)
        self.producer = producer

    def send(
        self, body: dict[str, Any], path: str = "/players", method: str = "POST", **sent: str
    ) -> Answer:
        """A call with `bearer` or `key`, of APP unless the body says another."""
        headers = {"Authorization": f"Bearer {sent['bearer']}"} if "bearer" in sent else {}
        body = {"app_id": APP} | body
        return self.call(method, path, body, key=sent.get("key", ""), headers=headers)


PUT = f"/players/{PLAYER}"
EMAIL_ID = ids.record_id(APP, "email", "ann@example.org")
#: Each names somebody: the path, the method, and the body.
NAMING: list[tuple[str, str, dict[str, Any]]] = [
    ("/players", "POST", {"device_type": 11, "identifier": "Ann@example.org"}),
    ("/players", "POST", {"device_type": 14, "identifier": "+1 234 5", "device_player_id": PLAYER}),
    ("/players", "POST", {"device_type": 1, "external_user_id": "ann"}),
    (PUT, "PUT", {"device_type": 11, "identifier": "ann@example.org"}),
    (PUT, "PUT", {"external_user_id": "ann"}),
    (PUT, "PUT", {"email": "ann@example.org"}),
    (PUT, "PUT", {"sms_number": "+12345"}),
    (PUT, "PUT", {"parent_player_id": EMAIL_ID}),
    (f"{PUT}/on_session", "POST", {"external_user_id": "ann"}),
]
#: And these nobody: what a device says of itself.
NAMELESS: list[tuple[str, str, dict[str, Any]]] = [
    ("/players", "POST", {"device_type": 1, "identifier": "push-token"}),
    (PUT, "PUT", {"tags": {"a": "b"}, "external_user_id": "", "email": None}),
    (PUT, "PUT", {"parent_player_id": None}),
    (f"{PUT}/on_session", "POST", {}),
    (f"{PUT}/on_focus", "POST", {"active_time": 5}),
    (f"{PUT}/email_logout", "POST", {"parent_player_id": EMAIL_ID}),
]


class TestIds:
    """Ids that can be worked out from a name are as good as the name."""

    def test_of_others(self, web: Web) -> None:
        put, body = f"/players/{EMAIL_ID}", {"tags": {"a": "b"}}
        assert web.send(body, put, "PUT").status == 403
        assert web.send(body, put, "PUT", bearer=token(APP, identity={"a": "b"})).status == 403
        path = f"/apps/{APP}/subscriptions/{EMAIL_ID}"
        assert web.send({"subscription": {"enabled": False}}, path, "PATCH").status == 401
        assert web.send({}, path, "DELETE").status == 401
        assert web.producer.sent() == []

    def test_of_a_named_user(self, web: Web) -> None:
        user = ids.named_user(APP, ids.alias_id(APP, USER, "external_id", "ann"), 0)
        assert ids.follows_from_a_name(user)
        body: dict[str, Any] = {"properties": {}}
        path = f"/apps/{APP}/users/by/onesignal_id/{user}"
        assert web.send(body, path, "PATCH").status == 401
        assert web.send(body, path, "PATCH", bearer=token(APP)).status == 403
        own = token(APP, identity={"onesignal_id": user})
        assert web.send(body, path, "PATCH", bearer=own).status == 202

    def test_of_the_device_itself(self, web: Web) -> None:
        made = web.send({"device_type": 1, "identifier": "a-push-token"})
        assert web.send({"tags": {"a": "b"}}, f"/players/{made.body['id']}", "PUT").status == 200
        keyed = web.call("POST", "/players", {"app_id": APP}, headers={"Idempotency-Key": "k"})
        assert web.send({"tags": {"a": "b"}}, f"/players/{keyed.body['id']}", "PUT").status == 200


class TestPlayers:
    @pytest.mark.parametrize(("path", "method", "body"), NAMING)
    def test_a_call_that_names_somebody(
        self, web: Web, path: str, method: str, body: dict[str, Any]
    ) -> None:
        said = body | {"external_user_id_auth_hash": "0" * 64, "email_auth_hash": "0" * 64}
        answer = web.send(said, path, method)
        assert answer.status == 403
        assert "5.x" in answer.body["errors"][0]
        for others in ({"external_id": "bob"}, {"email": "bob@example.org"}):
            answer = web.send(body, path, method, bearer=token(APP, identity=others))
            assert answer.status == 403
            assert "does not name" in answer.body["errors"][0]
        assert web.send(body, path, method, bearer=token(APP, pair("third"))).status == 401
        assert web.producer.sent() == []
        mine = token(APP, subscriptions=EMAILS)
        assert web.send(body, path, method, bearer=mine).status == 200
        assert web.send(body, path, method, key=web.secret).status == 200
        assert web.producer.sent()
        assert web.send(body | {"app_id": OPEN_APP}, path, method).status == 200

    @pytest.mark.parametrize(("path", "method", "body"), NAMELESS)
    def test_a_call_that_names_nobody_needs_no_token(
        self, web: Web, path: str, method: str, body: dict[str, Any]
    ) -> None:
        assert web.send(body, path, method).status == 200
        assert web.send(body, path, method, bearer=token(APP)).status == 200
        assert web.send(body, path, method, bearer=token(APP, pair("third"))).status == 401

    def test_where_no_token_is_required_none_is_looked_at(self, web: Web) -> None:
        body = {"app_id": OPEN_APP, "device_type": 11, "identifier": "a@b"}
        assert web.send(body, bearer=token(APP, pair("third"), exp=1)).status == 200

    def test_a_token_is_no_key(self, web: Web) -> None:
        good = token(OTHER_APP)
        assert web.send({"app_id": OTHER_APP}, PUT, "PUT", bearer=good).status == 401
        batch = web.send({"updates": []}, f"/apps/{APP}/batch", bearer=token(APP))
        assert batch.status == 401
        assert "Key" in batch.body["errors"][0]

    def test_a_key_is_no_token(self, web: Web) -> None:
        answer = web.send({}, PUT, "PUT", bearer=web.secret)
        assert answer.status == 401
        assert "Authorization: Key" in answer.body["errors"][0]

    @pytest.mark.parametrize("header", ["bearer {}", "BEARER   {} ", "Bearer {}"])
    def test_the_scheme_in_any_case(self, web: Web, header: str) -> None:
        headers = {"Authorization": header.format(token(APP))}
        body = {"app_id": APP, "external_user_id": "ann"}
        assert web.call("PUT", PUT, body, headers=headers).status == 200

    def test_401_says_which_scheme(self, web: Web) -> None:
        answer = web.send({}, PUT, "PUT", bearer="x")
        assert answer.headers["WWW-Authenticate"] == 'Bearer realm="notify", error="invalid_token"'


SDK = {"SDK-Version": "onesignal/android/050909"}
#: What makes an id: a device's own, an address, a name.
IDS = {
    4: PLAYER,
    5: EMAIL_ID,
    8: ids.alias_id(APP, USER, "external_id", "ann"),
}
#: Every read that names a user, a device or an address.
READS = [
    "/players/{id}?app_id=" + APP,
    f"/apps/{APP}/users/by/onesignal_id/{{id}}",
    f"/apps/{APP}/users/by/onesignal_id/{{id}}/identity",
    f"/apps/{APP}/users/by/external_id/ann",
    f"/apps/{APP}/users/by/external_id/ann/identity",
    f"/apps/{APP}/subscriptions/{{id}}/user/identity",
]


def give_player_to_ann(web: Web) -> None:
    path = f"/apps/{APP}/subscriptions/{PLAYER}/owner"
    body = {"identity": {"external_id": "ann"}}
    assert web.call("PATCH", path, body, key=web.secret).status == 200
    device = {"app_id": APP, "device_type": 1, "tags": {"vip": "1"}}
    assert web.call("PUT", PUT, device, key=web.secret).status == 200


@pytest.mark.parametrize("path", READS)
@pytest.mark.parametrize("version", IDS)
@pytest.mark.parametrize("headers", [{}, SDK], ids=["server", "sdk"])
@pytest.mark.parametrize("whose", [None, "bob"], ids=["no token", "token of another"])
def test_no_read_tells_others_who_somebody_is(
    web: Web, path: str, version: int, headers: dict[str, str], whose: str | None
) -> None:
    def read(**sent: str) -> Answer:
        given = headers | (
            {"Authorization": f"Bearer {sent['bearer']}"} if "bearer" in sent else {}
        )
        return web.call("GET", path.format(id=IDS[version]), key=sent.get("key", ""), headers=given)

    user = f"/apps/{APP}/users/by/external_id/ann"
    owned = [{"type": "Email", "token": "ann@example.org"}, {"type": "AndroidPush", "token": "t"}]
    made = {"identity": {"external_id": "ann"}, "subscriptions": owned}
    assert web.call("POST", f"/apps/{APP}/users", made, key=web.secret).status == 202
    assert web.call("GET", user, key=web.secret).status == 200
    give_player_to_ann(web)
    assert IDS[version].split("-")[2][0] == str(version)

    answer = read() if whose is None else read(bearer=token(APP, identity={"external_id": whose}))
    text = json.dumps(answer.body)
    assert '"ann"' not in text
    assert "ann@" not in text
    assert answer.status in ((200,) if version == 4 else ()) + (401, 403, 404, 503)


def test_an_sdk_that_was_updated_gets_the_user_of_its_device_with_that_users_token(
    web: Web,
) -> None:
    give_player_to_ann(web)
    path = f"/apps/{APP}/subscriptions/{PLAYER}/user/identity"
    assert web.call("GET", path, headers=SDK).status == 503  # it asks again, and keeps its device
    mine = {**SDK, "Authorization": f"Bearer {token(APP)}"}
    answer = web.call("GET", path, headers=mine)
    assert (answer.status, answer.body["identity"]["external_id"]) == (200, "ann")


def test_params_tell_the_sdk(web: Web) -> None:
    flags = ("jwt_required", "require_email_auth", "require_user_id_auth")
    required, open_ = (web.call("GET", f"/apps/{app}/android_params.js") for app in (APP, OPEN_APP))
    assert [required.body[flag] for flag in flags] == [True] * 3
    assert [open_.body[flag] for flag in flags] == [False] * 3
    assert required.headers["ETag"] != open_.headers["ETag"]
    path = f"/apps/{APP}/android_params.js"
    for answer, status in ((required, 304), (open_, 200)):
        headers = {"If-None-Match": answer.headers["ETag"]}
        assert web.call("GET", path, headers=headers).status == status


@pytest.mark.usefixtures("logs_as_before")
def test_no_token_key_or_address_in_the_logs(
    web: Web, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoint, "REFUSED_LINES_PER_S", 1_000)
    settings.NOTIFY_LOG_LEVEL = "DEBUG"
    good = token(APP, subscriptions=EMAILS)
    bad = token(APP, pair("third"))
    other = token(APP, identity={"external_id": "bob"})
    written = io.StringIO()
    with redirect_stdout(written):
        logs.configure("web")
        for text in (good, bad, other, good[:-3], "." * 5):
            for path, method, body in NAMING:
                web.send(body, path, method, bearer=text)
        web.send({}, PUT, "PUT", key="nk_wrong")
        web.producer.fails = RuntimeError("a bug")
        assert web.send({}, PUT, "PUT", bearer=good).status == 503
        assert web.send({}, PUT, "PUT", key=web.secret).status == 503
    text = written.getvalue()
    assert "request_refused" in text
    assert "view_failed" in text
    parts = [part for each in (good, bad, other) for part in each.split(".")[1:]]
    for secret in (*parts, web.secret, "nk_wrong", "ann@example.org", "PUBLIC KEY"):
        assert secret.lower() not in text.lower()


class TestPublicKeys:
    def test_one_form_and_the_fingerprint_that_openssl_prints(self) -> None:
        pem = public_pem(pair())
        messy = "\n\n  " + pem.replace("\n", "\r\n") + "\n"
        found, fingerprint = public_keys.checked(messy)
        assert found == pem
        der = jwt.utils.base64url_decode(
            "".join(pem.splitlines()[1:-1]).translate({43: 45, 47: 95})
        )
        assert fingerprint == hashlib.sha256(der).hexdigest()

    def test_a_private_key_is_never_taken_nor_repeated(self) -> None:
        private = private_pem(pair())
        with pytest.raises(KeyRefused) as caught:
            public_keys.checked(private)
        assert "make a new pair" in str(caught.value)
        assert not any(line in str(caught.value) for line in private.splitlines() if len(line) > 30)

    @pytest.mark.parametrize(
        "text",
        ["", "x", "é", "\ud800", "-----BEGIN PUBLIC KEY-----\nMFkw\n-----END PUBLIC KEY-----"],
    )
    def test_what_is_no_key(self, text: str) -> None:
        with pytest.raises(KeyRefused, match="openssl"):
            public_keys.checked(text)

    def test_a_key_for_another_algorithm(self) -> None:
        with pytest.raises(KeyRefused, match="P-256"):
            public_keys.checked(public_pem(ec.generate_private_key(ec.SECP384R1())))

    def test_length(self) -> None:
        with pytest.raises(KeyRefused, match="2000 characters"):
            public_keys.checked(public_pem(pair()) + "x" * 2_000)


def test_a_token_made_now_is_good_now() -> None:
    """Nothing in this file may hold only at NOW."""
    Verifier(LIMITS).verify(known(), token(APP), now_s=time.time())
