"""/openapi.json: all routes are in it, and its fields are the parsers' own."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import jsonschema_rs
import pytest
import schemathesis
from django.urls import get_resolver, path
from hypothesis import given, settings
from hypothesis import strategies as st

from notify.domain.records import nobody
from notify.domain.records.update import (
    COUNTER_MAX,
    INTEGER_MAX,
    KEY_CHARS_MAX,
    SPENT_MICROS_MAX,
    TAGS_MAX,
    VALUE_CHARS_MAX,
)
from notify.web.access.auth import KeyNeeded
from notify.web.http import bodies
from notify.web.http.endpoint import endpoint
from notify.web.openapi import document, requests
from notify.web.openapi.operations import OPERATIONS
from notify.web.resources.purchases import PURCHASES_MAX
from tests.fake_web import APP, PLAYER, STRICT_APP, Answer, Web
from tests.qa.fuzz.generated import FromSchema
from tests.qa.fuzz.operations import Operation, described, operations

ALL = operations()
WITH_BODY = [each for each in ALL if each.schema is not None]


def named(operation: Operation) -> str:
    """For pytest."""
    return operation.name


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it."""
    return Web.with_fakes(monkeypatch)


def send(web: Web, operation: Operation, body: Any = None, *, app: str = APP) -> Answer:
    """The answer to the operation with this body, from a server that has a key."""
    return web.call(
        operation.method, operation.path(app), body, key=web.secret, headers=operation.headers
    )


def undescribed(patterns: document.Patterns) -> list[str]:
    """Methods of routes that have no line in `OPERATIONS`."""
    return [
        f"{method} {route.path} ({route.name})"
        for route in document.routes(patterns)
        for method in route.methods
        if method not in OPERATIONS.get(route.name, {})
    ]


def test_every_method_of_every_route_is_described() -> None:
    patterns = get_resolver().url_patterns
    assert undescribed(patterns) == [], "add them to notify/web/openapi/operations.py"
    in_document = {
        (where, method.upper())
        for where, item in described()["paths"].items()
        for method in item.keys() - {"parameters", "servers"}
    }
    assert in_document == {
        (route.path, method) for route in document.routes(patterns) for method in route.methods
    }


def test_a_route_that_is_not_described_is_missed() -> None:
    more = path("apps/<app_id>/new", endpoint("new", POST=document.show, GET=document.show))
    assert undescribed([*get_resolver().url_patterns, more]) == [
        "POST /apps/{app_id}/new (new)",
        "GET /apps/{app_id}/new (new)",
    ]


def test_it_is_served_and_is_openapi(web: Web) -> None:
    answer = web.call("GET", "/openapi.json")
    assert answer.status == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.body == described()
    schemathesis.openapi.from_dict(answer.body).validate()
    assert web.call("GET", "/api/v1/openapi.json").status == 404


def test_both_prefixes_are_in_it() -> None:
    paths = described()["paths"]
    assert paths["/players"]["servers"] == [{"url": "/"}, {"url": "/api/v1"}]
    assert "servers" not in paths["/healthz/live"]


@pytest.mark.parametrize("operation", WITH_BODY, ids=named)
def test_examples_are_accepted_and_fit(web: Web, operation: Operation) -> None:
    body = operation.json(APP)
    assert validator(operation).is_valid(body)
    answer = send(web, operation, body)
    assert answer.status in (200, 202), answer.body
    assert bool(web.sent()) == operation.is_stored


@pytest.mark.parametrize("operation", ALL, ids=named)
def test_keys_are_needed_where_it_says_so(web: Web, operation: Operation) -> None:
    by_name = {
        f"{name}_{method.lower()}": op
        for name, of in OPERATIONS.items()
        for method, op in of.items()
    }
    needed = by_name[operation.name].key
    # By an alias, as the path is filled in here; by onesignal_id it is read without.
    by_alias = operation.name == "user_get"
    for app, refused in (
        (APP, needed in (KeyNeeded.ALWAYS, KeyNeeded.BY_USER) or by_alias),
        (STRICT_APP, needed is not KeyNeeded.NEVER),
    ):
        body = None if operation.schema is None else operation.json(app)
        data = b"" if body is None else json.dumps(body).encode()
        answer = web.client.generic(
            operation.method,
            operation.path(app),
            data,
            content_type="application/json",
            secure=True,
        )
        assert (answer.status_code == 401) == refused, answer.content


class Asked(dict[str, Any]):
    """An object of a body that remembers the keys that it was asked for."""

    def __init__(self, fields: dict[str, Any], keys: set[str]) -> None:
        super().__init__(fields)
        self.keys_asked = keys

    def __contains__(self, key: object) -> bool:
        self.keys_asked.add(str(key))
        return super().__contains__(key)

    def __getitem__(self, key: str) -> Any:
        self.keys_asked.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """dict.get."""
        self.keys_asked.add(key)
        return super().get(key, default)


def fields_of(schema: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The schemas of each field, one for each alternative that has it."""
    found: dict[str, list[dict[str, Any]]] = {}
    for each in schema.get("anyOf", [schema]):
        for name, field in each["properties"].items():
            found.setdefault(name, []).append(field)
    return found


def variants(operation: Operation) -> Iterator[dict[str, Any]]:
    """Good bodies that go different ways through the parser."""
    body = operation.json(APP)
    yield body
    if operation.schema in ("Player", "NewPlayer"):
        for device_type, identifier in ((1, "token"), (11, "a@example.com"), (14, "+49 170 1")):
            yield body | {"device_type": device_type, "identifier": identifier}


@pytest.mark.parametrize("operation", WITH_BODY, ids=named)
def test_what_a_view_asks_for_is_what_is_described(
    web: Web, monkeypatch: pytest.MonkeyPatch, operation: Operation
) -> None:
    asked: set[str] = set()
    read = bodies.read_object
    monkeypatch.setattr(
        bodies, "read_object", lambda *given, **more: Asked(read(*given, **more), asked)
    )
    for body in variants(operation):
        assert send(web, operation, body).status in (200, 202)
    schema = described()["components"]["schemas"][operation.schema]
    stored = {
        name
        for name, alternatives in fields_of(schema).items()
        if not alternatives[0].get("description", "").startswith("not stored")
    }
    assert stored <= asked <= fields_of(schema).keys()


def validator(operation: Operation, *, component: str | None = None) -> Any:
    """Of the operation's bodies, or of another component."""
    schemas = described()["components"]["schemas"]
    root = {"$ref": f"#/components/schemas/{component or operation.schema}"}
    return jsonschema_rs.validator_for(root | {"components": {"schemas": schemas}})


OTHER = requests.PARENT
#: Values at the edges of what some field may be, and others that none may be.
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 11, 0.5,
    COUNTER_MAX, COUNTER_MAX + 1, SPENT_MICROS_MAX, SPENT_MICROS_MAX + 1,
    INTEGER_MAX, INTEGER_MAX + 1, -INTEGER_MAX, -INTEGER_MAX - 1,
    "", " ", "x", "5", "ping", "Email", "eMAIL", "update", "delete", "push", "\0", "a\0b", "\u00e9",
    "x" * KEY_CHARS_MAX, "x" * (KEY_CHARS_MAX + 1),
    "x" * VALUE_CHARS_MAX, "x" * (VALUE_CHARS_MAX + 1),
    APP, OTHER.upper(), PLAYER + "\n", "{" + PLAYER + "}",
    [], [1], [[]], [{}], [{}] * PURCHASES_MAX, [{}] * (PURCHASES_MAX + 1),
    {}, {"a": None}, {"a": ""}, {"a": 1.5}, {"a": "\0"}, {"a": []}, {"a": {"b": 1}},
    {"a": INTEGER_MAX + 1}, {"": "a"}, {"a\0": 1}, {"x" * (KEY_CHARS_MAX + 1): 1}, {"alias:a": "b"},
    {f"k{n}": 1 for n in range(TAGS_MAX)}, {f"k{n}": 1 for n in range(TAGS_MAX + 1)},
    {"email": OTHER}, {"email": OTHER.upper()}, {"push": OTHER},
    {"session_count": 1}, {"session_count": COUNTER_MAX + 1}, {"session_count": None},
    {"spent_micros": -SPENT_MICROS_MAX}, {"spent_micros": SPENT_MICROS_MAX + 1},
]  # fmt: skip
#: Fields whose name in the text of an error is another.
_CALLED = {
    "token": "identifier",
    "device_type": "identifier",
    "tags": "tag",
    "properties": "propert",
    "links": "link",
    "updates": "item",
    "identity": "alias",
    "subscriptions": "subscription",
}
#: Fields whose schema says less than what is left out of them.
_FORGIVING = ("purchases", "amount_spent", "device_type", "type")
#: Fields that are never refused, so that an SDK does not send the same again for ever.
_FREE = ("state", "existing", "refresh_device_metadata")


def errors_in(answer: Answer) -> list[Any]:
    """All errors of an answer, a batch's items' too."""
    results = answer.body.get("results", [])
    return [*answer.body["errors"]] + [
        each for result in results for each in result.get("errors", [])
    ]


def is_not_taken(answer: Answer, field: str, value: Any) -> bool:
    """Whether the answer says of the field that it is wrong, by refusing the request or by warning that
    it is left out."""
    if answer.status in (200, 202):
        return says(left_out(answer), field, value)
    return answer.status == 400 and says(errors_in(answer), field, value)


def left_out(answer: Answer) -> list[str]:
    """What an answer says was left out."""
    return [each for each in answer.body.get("warnings", []) if each.startswith("left out: ")]


def says(errors: list[Any], field: str, value: Any) -> bool:
    """Whether the errors name the field, or the one inside it that is wrong."""
    text = " ".join(map(str, errors))
    inner = [key for key in value if key] if isinstance(value, dict) else []
    return any(name in text for name in (field, _CALLED.get(field, field), *inner, "a key "))


def cases() -> Iterator[Any]:
    """(operation, component, field) of each field of a body, and of what is inside it."""
    schemas = described()["components"]["schemas"]
    for operation in WITH_BODY:
        for field in fields_of(schemas[operation.schema]):
            yield pytest.param(operation, field, id=f"{operation.name}-{field}")


@pytest.mark.parametrize(("operation", "field"), list(cases()))
def test_a_field_is_taken_exactly_where_its_schema_allows_it(
    web: Web, operation: Operation, field: str
) -> None:
    good = operation.json(APP)
    if field == "parent_player_id":
        good["device_type"] = 1  # others have none
    check = validator(operation)
    refused = 0
    for value in VALUES:
        body = good | {field: value}
        if field == "device_player_id" and not value:
            continue  # what is false is as if it were absent
        answer = send(web, operation, body)
        if check.is_valid(body):
            is_foreign = field == "app_id" and value != APP
            assert answer.status in ((403,) if is_foreign else (200, 202)), (value, answer.body)
            assert field in _FORGIVING or not left_out(answer), (value, answer.body)
            continue
        refused += 1
        if field == "app_id" and isinstance(value, str) and value:
            assert answer.status == 403, value
            continue
        assert is_not_taken(answer, field, value), (value, answer.body)
    assert (refused == 0) == (field in _FREE)


def item_fields() -> list[str]:
    """The fields of a batch's item."""
    return sorted(fields_of(described()["components"]["schemas"]["BatchItem"]))


@pytest.mark.parametrize("op", ["update", "delete"])
@pytest.mark.parametrize("field", item_fields())
def test_a_field_of_an_item_is_refused_exactly_where_its_schema_refuses_it(
    web: Web, op: str, field: str
) -> None:
    (batch,) = (each for each in WITH_BODY if each.schema == "Batch")
    check = validator(batch, component="BatchItem")
    for value in VALUES:
        for good in ({"record": PLAYER}, {"kind": "email", "identifier": "a@b"}):
            item = good | {"op": op, field: value}
            answer = send(web, batch, {"updates": [item]})
            if check.is_valid(item):
                assert answer.status == 202, (item, answer.body)
            else:
                assert answer.status == 400, (item, answer.body)
                assert says(errors_in(answer), field, value), (item, answer.body)


#: Objects inside of bodies: (operation, its name in the body).
INSIDE = [
    ("subscription_patch", "subscription"),
    ("user_subscriptions_post", "subscription"),
    ("users_post", "properties"),
    ("user_patch", "properties"),
    ("user_patch", "deltas"),
]


def inside() -> Iterator[Any]:
    """Each field of each of these objects."""
    for name, within in INSIDE:
        (operation,) = (each for each in WITH_BODY if each.name == name)
        schema = fields_of(described()["components"]["schemas"][operation.schema])[within][0]
        for field in schema.get("anyOf", [schema])[0]["properties"]:
            yield pytest.param(operation, within, field, id=f"{name}-{within}-{field}")


@pytest.mark.parametrize(("operation", "within", "field"), list(inside()))
def test_a_field_inside_is_taken_exactly_where_its_schema_allows_it(
    web: Web, operation: Operation, within: str, field: str
) -> None:
    check = validator(operation)
    good = operation.json(APP)
    for value in VALUES:
        body = good | {within: good[within] | {field: value}}
        answer = send(web, operation, body)
        if check.is_valid(body):
            assert answer.status in (200, 202), (value, answer.body)
            assert field in _FORGIVING or not left_out(answer), (value, answer.body)
        else:
            assert is_not_taken(answer, field, value), (value, answer.body)


@cache
def made_bodies(component: str) -> st.SearchStrategy[Any]:
    """What the schema of a body makes. Parents are other records than children: none is its own."""
    parents = st.uuids(version=4).map(str)
    return FromSchema(described(), AppId=st.just(APP), StoredId=parents).component(component)


@pytest.mark.parametrize("operation", WITH_BODY, ids=named)
@settings(max_examples=25)
@given(data=st.data())
def test_what_the_schema_makes_is_accepted(
    web: Web, operation: Operation, data: st.DataObject
) -> None:
    body = data.draw(made_bodies(str(operation.schema)))
    if operation.name == "subscription_by_token_patch":
        fields = {key: value for key, value in body["subscription"].items() if key != "type"}
        body = body | {"subscription": fields}  # the path says the type
    answer = send(web, operation, body)
    if operation.schema == "Owner" and any(map(nobody.is_nobody, body["identity"].values())):
        assert answer.status == 400, (body, answer.body)
        return
    assert answer.status in (200, 202, 413), (body, answer.body)
    if operation.schema == "Batch":
        assert answer.body["rejected"] == 0
