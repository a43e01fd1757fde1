"""Which answers the clients take for a success, what they make of errors, and how often they ask."""

import json
from typing import Any, Final, NamedTuple

import pytest

from tests.qa.clients.drivers import COMMANDS, Driver, Raised
from tests.qa.clients.operations import OPERATIONS, faults
from tests.qa.clients.stub import Answer, Request, stub

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

JSON: Final = "application/json"
ALL: Final = frozenset(COMMANDS)
NODE: Final = frozenset({"node"})
PYTHON: Final = frozenset({"python"})
RUST: Final = frozenset({"rust"})
NONE: Final[frozenset[str]] = frozenset()
TYPED: Final = frozenset(name for name, known in OPERATIONS.items() if known.answer)
#: Its answer may be any object, and is one.
BY_TOKEN: Final = "update_subscription_by_token"
TRANSFER: Final = {"identity": {"external_id": "a"}}


class Case(NamedTuple):
    """An answer to an operation, and who raises at it."""

    operation: str
    status: int
    body: bytes
    raises: frozenset[str]
    content_type: str | None = JSON


def _generic() -> list[Case]:
    cases = []
    for name in OPERATIONS:
        is_typed = name in TYPED
        read_by = ALL if is_typed or name == BY_TOKEN else NONE
        documented = 202 if name == "delete_subscription" else 200
        cases += [Case(name, status, b"{}", NONE) for status in (200, 201, 202)]
        cases += [
            Case(name, documented, b"", read_by),
            Case(name, 204, b"", read_by | NODE),
            Case(name, 200, b"null", PYTHON | RUST if is_typed else read_by & PYTHON),
            Case(name, 200, b"[]", RUST if is_typed else read_by & PYTHON),
            Case(name, 200, b"{}", NONE, "text/plain"),
        ]
        # Node reads no body of what it expects none of, with exactly the status it expects.
        unread = not read_by
        cases.append(Case(name, documented, b"{}", NONE if unread else NODE, None))
    return cases


def _user(raises: frozenset[str], **fields: Any) -> Case:
    return Case("get_user", 200, json.dumps(fields).encode(), raises)


def _properties(raises: frozenset[str], **fields: Any) -> Case:
    return _user(raises, properties=fields)


TYPES: Final = (
    _properties(PYTHON, language=None),
    _properties(PYTHON, tags=None),
    _user(PYTHON, properties=None),
    _user(PYTHON | RUST, identity={"crm": None}),
    _user(PYTHON | RUST, identity={"crm": 17}),
    _properties(PYTHON | RUST, first_active=1_700_000_000.5),
    _properties(PYTHON | RUST, first_active="1700000000"),
    _properties(RUST, first_active=1_700_000_000_000),
    _properties(NONE, lat=48, amount_spent=3),
    _properties(PYTHON | RUST, purchases=[{"sku": "a"}]),
    _properties(PYTHON | RUST, purchases=[{"sku": "a", "iso": "EUR", "amount": 4.5}]),
    _properties(NONE, tags={"a": None, "b": 1, "c": [1], "d": {"e": "x"}, "day": "2024-01-02"}),
    _user(PYTHON | RUST, subscriptions=[{"type": "email"}]),
    _user(PYTHON, subscriptions=[{"type": None}]),
    _user(PYTHON | RUST, subscriptions=[{"session_count": 1.5}]),
    _user(PYTHON | RUST, subscriptions=[{"enabled": 1}]),
    _user(NONE, warnings=["x"], subscriptions=[{"app_id": "x", "type": "SMS"}]),
)
CASES: Final = (*_generic(), *TYPES)


def answered(client: Driver, operation: str, answer: Answer) -> tuple[list[Request], Any, Any]:
    """The requests, the typed answer, and what was raised, where every request gets `answer`."""
    known = OPERATIONS[operation]
    path = ["x"] * known.path.count("{")
    body: Any = {} if known.method in {"POST", "PATCH"} else None
    if operation == "transfer_subscription":
        body = TRANSFER
    with stub() as server:
        server.answer = lambda request: answer
        try:
            found = client.call(server.url, "k", operation, *path, body=body)
        except Raised as raised:
            return server.requests, None, raised
        return server.requests, found, None


def test_who_takes_which_answer_for_a_success(client: Driver) -> None:
    seen, expected = [], []
    for case in CASES:
        headers = {} if case.content_type is None else {"Content-Type": case.content_type}
        _, _, raised = answered(client, case.operation, Answer(case.status, case.body, headers))
        seen.append((case, raised is not None))
        expected.append((case, client.name in case.raises))
    assert seen == expected


def test_an_answer_without_faults_is_one_that_no_client_raises_at() -> None:
    for case in CASES:
        try:
            body = json.loads(case.body)
        except ValueError:
            body = None
        found = faults(case.operation, case.status, case.content_type or "", body)
        assert found or not case.raises, case
    for case in TYPES:
        assert bool(faults("get_user", 200, JSON, json.loads(case.body))) == bool(case.raises), case


def test_numbers_in_tags_are_read_as_each_client_reads_them(client: Driver) -> None:
    body = b'{"properties": {"tags": {"visits": 3, "plan": "gold"}}}'
    _, answer, _ = answered(client, "get_user", Answer(200, body))
    tags = answer["properties"]["tags"]
    assert tags == {"visits": 3, "plan": "gold"}
    assert isinstance(tags["visits"], float if client.name == "python" else int)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 429, 500, 503])
def test_every_client_reads_our_errors(client: Driver, status: int) -> None:
    body = b'{"errors": ["what to do next"], "request_id": "r"}'
    requests, _, raised = answered(client, "create_user", Answer(status, body))
    assert (raised.status, raised.messages) == (status, ["what to do next"])
    assert len(requests) == 1


@pytest.mark.parametrize("status", [413, 429, 503])
@pytest.mark.parametrize(
    ("operation", "is_repeated"),
    [("get_user", True), ("delete_user", True), ("create_user", False), ("update_user", False)],
)
def test_what_is_asked_again_after_retry_after(
    client: Driver, status: int, operation: str, is_repeated: bool
) -> None:
    answer = Answer(status, b'{"errors": ["later"]}', {"Content-Type": JSON, "Retry-After": "0"})
    requests, _, raised = answered(client, operation, answer)
    assert raised.status == status
    assert len(requests) == (4 if is_repeated and client.name == "python" else 1)


def test_python_does_not_survive_a_retry_after_that_is_no_integer(client: Driver) -> None:
    answer = Answer(429, b'{"errors": []}', {"Content-Type": JSON, "Retry-After": "0.5"})
    _, _, raised = answered(client, "get_user", answer)
    assert raised.kind == {"python": "InvalidHeader", "node": "ApiException"}.get(
        client.name, "ResponseError"
    )


def test_node_does_not_survive_an_error_without_a_body(client: Driver) -> None:
    _, _, raised = answered(client, "get_user", Answer(400, b""))
    assert raised.status == (None if client.name == "node" else 400)
