"""One app never reads or writes another's rows: every route, asked for one app's rows by another.

The routes are those of `notify.web.urls`: one that is added and not described here fails. Reads
are PostgreSQL's; what is written is looked at as the messages that would be in Kafka.
"""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

import pytest
from django.urls import URLPattern, URLResolver
from django.utils import timezone
from pytest_django import Settings

from notify.domain.records import ids
from notify.domain.records import patch as patches
from notify.domain.records import update as updates
from notify.domain.records.decide import decide, writes
from notify.domain.records.links import Links
from notify.domain.records.patch import Value
from notify.domain.records.policy import Policy
from notify.domain.records.update import ALIAS, USER, Update
from notify.models import App, Link, Record, Topic
from notify.operations import app_keys, identity_keys
from notify.web import urls, wiring
from notify.web.access.apps_cache import AppsCache
from notify.web.reads import PostgresReads
from tests.fake_producer import FakeProducer
from tests.fake_web import Answer, Requests
from tests.identity_tokens import pair, public_pem, token

pytestmark = pytest.mark.django_db(transaction=True)
TOPIC: Final = "isolation"
NAME: Final = "ann"
ADDRESS: Final = "ann@example.org"
#: Both apps have a user and a device by these ids; only A has the others.
USER_ID: Final = str(uuid.UUID(int=1, version=4))
PUSH_ID: Final = str(uuid.UUID(int=2, version=4))
ONLY_USER_ID: Final = str(uuid.UUID(int=3, version=4))
ONLY_PUSH_ID: Final = str(uuid.UUID(int=4, version=4))
LONE_PUSH_ID: Final = str(uuid.UUID(int=5, version=4))
#: Stands in A's rows, in every place that an answer could show, and in nothing that is sent.
MARK_A: Final = "only-a-may-see-this"
MARK_B: Final = "this-is-of-b"

EMAIL: Final = {"type": "Email", "token": ADDRESS}
#: What each call sends, by route and method.
BODIES: Final[dict[tuple[str, str], dict[str, Any]]] = {
    ("players", "POST"): {
        "device_type": 14,
        "identifier": "+12345",
        "device_player_id": PUSH_ID,
        "external_user_id": NAME,
    },
    ("player", "PUT"): {"tags": {"a": "b"}, "external_user_id": NAME, "email": ADDRESS},
    ("on_session", "POST"): {"tags": {"a": "b"}},
    ("on_focus", "POST"): {"active_time": 5},
    ("on_purchase", "POST"): {"purchases": [{"amount": "1.00"}]},
    ("email_logout", "POST"): {},
    ("users", "POST"): {"identity": {"external_id": NAME}, "subscriptions": [EMAIL]},
    ("user", "PATCH"): {"properties": {"tags": {"a": "b"}}, "deltas": {"session_count": 1}},
    ("user_tags", "PUT"): {"tags": {"a": "b"}},
    ("user_identity", "PATCH"): {"identity": {"external_id": NAME}},
    ("user_subscriptions", "POST"): {"subscription": EMAIL},
    ("subscription", "PATCH"): {"subscription": {"enabled": False}},
    ("subscription_owner", "PATCH"): {"identity": {"external_id": NAME}},
    ("subscription_identity", "PATCH"): {"identity": {"external_id": NAME}},
    ("subscription_by_token", "PATCH"): {"subscription": {"enabled": False}},
    ("batch", "POST"): {
        "updates": [
            {"record": PUSH_ID, "tags": {"a": "b"}, "links": {"user": USER_ID}},
            {"record": PUSH_ID, "op": "delete"},
            {"kind": "email", "identifier": ADDRESS, "op": "detach"},
        ]
    },
}
#: What SDKs alone are answered, and nobody stores.
UNSTORED: Final = {
    *(("custom_events", "POST"), ("sdk_custom_events", "POST"), ("sdk_features", "GET")),
    *(("in_app_messages", "GET"), ("user_in_app_messages", "GET")),
    *(("live_activity_token", "POST"), ("live_activity_token_of", "DELETE")),
    *(("activity_start_token", "PUT"), ("activity_start_token", "DELETE")),
    *(("activity_update_token", "PUT"), ("activity_update_token", "DELETE")),
}
UNSTORED_BODIES: Final = {
    *(("outcome", "POST"), ("outcome_sources", "POST"), ("usage", "POST")),
    *(("notification_opened", "PUT"), ("notification_received", "PUT")),
    *(("in_app_impression", "POST"), ("in_app_page", "POST"), ("in_app_click", "POST")),
}
#: Of which the body may say nothing that is not read.
STRICT: Final = {"batch"}
#: Calls without a body.
BARE: Final = {
    *(("player", "GET"), ("player", "DELETE")),
    *(("user", "GET"), ("user", "DELETE"), ("user_identity", "GET")),
    *(("user_alias", "DELETE"), ("subscription", "DELETE"), ("subscription_identity", "GET")),
}
#: Answers in which nothing is of any app; they are the same whoever asks.
PUBLIC: Final = {
    *(("live", "GET"), ("ready", "GET"), ("pipeline", "GET"), ("metrics", "GET")),
    *(("openapi", "GET"), ("android_params", "GET"), ("ios_params", "GET")),
}
#: Shows nothing but the id that it was asked for, which the web SDK needs.
ECHOES: Final = {("page_config", "GET")}
#: Who asks by a name instead of an id. Each fills the paths of all routes.
BY_ID: Final = {"label": "onesignal_id", "name": USER_ID, "player": PUSH_ID}
BY_NAME: Final = {"label": "external_id", "name": NAME, "player": PUSH_ID}
ONLY: Final = {"label": "onesignal_id", "name": ONLY_USER_ID, "player": ONLY_PUSH_ID}
FILLS: Final = {"by id": BY_ID, "by name": BY_NAME, "only a has it": ONLY}


@dataclass(frozen=True)
class Route:
    """One method of one path."""

    path: str
    name: str
    method: str

    @property
    def key(self) -> tuple[str, str]:
        return self.name, self.method


def routes(patterns: urls.Patterns, prefix: str = "") -> Iterator[Route]:
    """Every method of every path, the admin's pages left out: they are for staff."""
    for each in patterns:
        path = prefix + str(each.pattern)
        if isinstance(each, URLResolver):
            if path != "admin/":
                yield from routes(each.url_patterns, path)
            continue
        assert isinstance(each, URLPattern)
        view: Any = each.callback
        for method in view.methods:
            yield Route(path, view.route, method)


ALL: Final = list(routes(urls.urlpatterns))
NOT_STORED: Final = UNSTORED | UNSTORED_BODIES
OF_APPS: Final = [route for route in ALL if route.key not in PUBLIC | ECHOES | NOT_STORED]


def filled(route: Route, app: str, fill: Mapping[str, str]) -> str:
    """The path with ids in it. A parameter that is not known here is a new one: say what it is."""
    values = {
        "app_id": app,
        "alias": "external_id",
        "subscription": fill["player"],
        "type_": "Email",
        "token": ADDRESS,
        **dict.fromkeys(("notification", "message", "activity", "platform", "version"), "x"),
        "external_id": NAME,
        **fill,
    }
    path = route.path
    while "<" in path:
        before, _, rest = path.partition("<")
        name, _, after = rest.partition(">")
        path = before + quote(values[name.removeprefix("path:")], safe="") + after
    return f"/{path}"


class Two(Requests):
    """App A, whose rows are asked for, and app B, who asks; each with a key and with a token."""

    def __init__(
        self, services: wiring.Services, producer: FakeProducer, a: "Party", b: "Party"
    ) -> None:
        super().__init__(services, b.key)
        self.producer, self.a, self.b = producer, a, b

    def ask(
        self, route: Route, app: str, fill: Mapping[str, str], *, decoy: str = "", **credential: str
    ) -> Answer:
        """The call for `app`, as the path says it, or else the body, or else the query. Wherever
        else an app can be said, it says `decoy`."""
        decoy = decoy or app
        body = {} if route.key in UNSTORED_BODIES else BODIES.get(route.key)
        in_path = "<app_id>" in route.path
        if body is not None and route.name not in STRICT:
            body = {"app_id": decoy if in_path else app} | body
        in_query = app if body is None and not in_path else decoy
        path = f"{filled(route, app, fill)}?app_id={in_query}"
        bearer = credential.get("bearer")
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        if sdk := credential.get("sdk"):
            headers["SDK-Version"] = sdk
        return self.call(route.method, path, body, key=credential.get("key", ""), headers=headers)

    def taken(self) -> list[Update]:
        """What was sent since the last look."""
        found = self.producer.sent()
        self.producer.log.clear()
        return found


@dataclass(frozen=True)
class Party:
    """An app with its credentials."""

    id: str
    key: str
    token: str


def party(name: str, mark: str, users: Mapping[str, str]) -> Party:
    """An app with these users and their devices, all of their rows with `mark` in them."""
    app, key = app_keys.create_app(name, requires_key=False)
    identity_keys.add(app, public_pem(pair(name)), by="test")
    identity_keys.require(app, required=True)
    for user, device in users.items():
        _rows(app, user, device, mark)
    app_id = str(app.id)
    alias = ids.alias_id(app_id, USER, "external_id", NAME)
    Link.objects.create(app=app.id, child=alias, label=ALIAS, parent=USER_ID, parent_gen=0)
    mine = [EMAIL, {"type": "SMS", "token": "+12345"}]
    signed = token(app_id, pair(name), identity={"external_id": NAME, "x": "y"}, subscriptions=mine)
    return Party(app_id, key.secret, signed)


def _rows(app: App, user: str, device: str, mark: str) -> None:
    for record, kind in ((user, USER), (device, "push")):
        _record(app.id, record, kind, mark)
    Link.objects.create(app=app.id, child=device, label=USER, parent=user, parent_gen=0)


def _record(app: str | uuid.UUID, record: str, kind: str, mark: str) -> None:
    now = timezone.now()
    Record.objects.create(
        app=app,
        id=record,
        kind=kind,
        identifier=f"{mark} {kind}",
        tags={"mark": mark},
        properties={"language": mark, "alias:external_id": NAME, "alias:mark": mark},
        created_at=now,
        updated_at=now,
    )


@pytest.fixture
def two(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Two]:
    settings.MIDDLEWARE = ["notify.web.http.edge.ApiFirst"]
    settings.NOTIFY_TOPIC = TOPIC
    Topic.objects.create(id=uuid.uuid4(), name=TOPIC, partitions=8)
    a = party("a", MARK_A, {USER_ID: PUSH_ID, ONLY_USER_ID: ONLY_PUSH_ID})
    b = party("b", MARK_B, {USER_ID: PUSH_ID})
    with ExitStack() as at_end:
        reads = PostgresReads(sessions=2)
        at_end.callback(reads.close)
        apps = AppsCache(lambda: reads.known(TOPIC), refresh_ms=3_600_000)
        at_end.callback(apps.close)
        producer = FakeProducer()
        services = wiring.Services(apps, producer, reads)
        monkeypatch.setattr(wiring, "services", lambda: services)
        yield Two(services, producer, a, b)


def shows(answer: Answer, mark: str) -> bool:
    return mark in str(answer.body)


def test_every_route_is_described_here() -> None:
    described = {*BODIES, *BARE, *PUBLIC, *ECHOES, *NOT_STORED}
    assert {route.key for route in ALL} == described
    assert not BODIES.keys() & BARE
    assert len(ALL) > len({route.key for route in ALL}), "the routes below api/v1 are there too"


def test_an_app_reaches_its_own_rows(two: Two) -> None:
    """Else the tests below would pass for any answer."""
    for route in OF_APPS:
        for name, fill in FILLS.items():
            answer = two.ask(route, two.a.id, fill, decoy=two.b.id, key=two.a.key)
            assert answer.status < 300, (route, name, answer)
            sent = two.taken()
            if route.method == "GET":
                assert shows(answer, MARK_A), (route, name, answer)
            else:
                assert {update.app for update in sent} == {two.a.id}, (route, name)


@pytest.mark.parametrize("fill", FILLS)
def test_another_apps_key_or_token_opens_nothing(two: Two, fill: str) -> None:
    for route in OF_APPS:
        for credential in ({"key": two.b.key}, {"bearer": two.b.token}):
            answer = two.ask(route, two.a.id, FILLS[fill], decoy=two.b.id, **credential)
            assert answer.status in {401, 403}, (route, credential.keys(), answer)
            assert two.taken() == [], route
            assert not shows(answer, MARK_A), route


@pytest.mark.parametrize("fill", FILLS)
def test_an_app_with_anothers_ids_reaches_its_own_rows_only(two: Two, fill: str) -> None:
    for route in OF_APPS:
        for credential in ({"key": two.b.key}, {"bearer": two.b.token}, {}):
            answer = two.ask(route, two.b.id, FILLS[fill], decoy=two.a.id, **credential)
            assert not shows(answer, MARK_A), (route, credential.keys(), answer)
            assert two.a.id not in str(answer.body), route
            assert {update.app for update in two.taken()} <= {two.b.id}, route


def test_links_are_of_one_app(two: Two) -> None:
    """Both have the user and the device, and only A has linked them."""
    for app in (two.a, two.b):
        _record(app.id, LONE_PUSH_ID, "push", MARK_A if app is two.a else MARK_B)
    Link.objects.create(app=two.a.id, child=LONE_PUSH_ID, label=USER, parent=USER_ID, parent_gen=0)
    for app, status in ((two.a, 200), (two.b, 404)):
        path = f"/apps/{app.id}/subscriptions/{LONE_PUSH_ID}/user/identity"
        assert two.call("GET", path, key=app.key).status == status


def test_what_everybody_may_see_has_nothing_of_an_app(two: Two) -> None:
    public = [route for route in ALL if route.key in PUBLIC]
    for route in public:
        for credential in ({}, {"key": two.b.key}, {"bearer": two.b.token}):
            path = filled(route, two.a.id, BY_ID)
            key = credential.get("key", "")
            sent = {"Authorization": f"Bearer {two.b.token}"} if "bearer" in credential else {}
            response = two.client.generic(
                route.method,
                path,
                secure=True,
                headers={"Authorization": f"Key {key}"} if key else sent,
            )
            text = response.content.decode()
            for secret in (MARK_A, two.a.id, two.a.key, PUSH_ID, "PUBLIC KEY"):
                assert secret not in text, route
            assert two.taken() == [], route


def test_what_is_not_stored_is_of_the_app_that_sends_it(two: Two) -> None:
    sdk = "onesignal/ios/050601"
    for route in [route for route in ALL if route.key in NOT_STORED]:
        answer = two.ask(route, two.a.id, BY_NAME, decoy=two.b.id, key=two.b.key, sdk=sdk)
        assert answer.status == 403, route
        for credential in ({"key": two.a.key}, {"bearer": two.b.token}, {}):
            asked = {"fill": BY_NAME, "decoy": two.b.id, "sdk": sdk}
            answer = two.ask(route, two.a.id, **asked, **credential)  # type: ignore[arg-type]
            assert answer.status == 200, (route, answer)
            assert not shows(answer, MARK_A)
        assert two.taken() == [], route


def test_the_page_config_is_the_same_for_every_app(two: Two) -> None:
    for route in [route for route in ALL if route.key in ECHOES]:
        a, b = (two.ask(route, app.id, BY_ID) for app in (two.a, two.b))
        assert str(a.body).replace(two.a.id, two.b.id) == str(b.body)
        assert not shows(a, MARK_A)


def test_what_one_app_sends_changes_no_row_of_another(two: Two) -> None:
    """Both apps name the same ids in every call; each ends with its own rows as if it were alone."""
    sent: dict[str, list[Update]] = {}
    for each in (two.a, two.b):
        for route in OF_APPS:
            two.ask(route, each.id, BY_ID, key=each.key)
            two.ask(route, each.id, BY_NAME, key=each.key)
        sent[each.id] = two.taken()
    alone = {app: applied(mine) for app, mine in sent.items()}
    mixed = applied(
        [update for pair_ in zip(sent[two.a.id], sent[two.b.id], strict=True) for update in pair_]
    )
    for app, rows in alone.items():
        assert rows
        assert {key: row for key, row in mixed.items() if key[0] == app} == rows
    assert {app for app, _ in mixed} == {two.a.id, two.b.id}


def applied(log: list[Update]) -> dict[tuple[str, str], dict[str, Value]]:
    """The rows after these messages, by app and record."""
    states: dict[tuple[str, str], dict[str, Value]] = {}
    links = Links()
    for update in (updates.parse(updates.encode(each)) for each in log):
        decision, changes = decide(update, links, Policy())
        links.put(changes)
        for write in writes(update, decision):
            key = (write.app, write.record)
            states[key] = patches.apply(states.get(key, {}), write.patch)
    return states
