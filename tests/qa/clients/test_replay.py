"""What the clients were recorded to send, sent to the views with fakes behind them: every answer is one
that all three take for what it is, and what is the same from all of them comes to the same updates."""

import json
from collections.abc import Iterator
from typing import Any, Final

import pytest
from django.urls import Resolver404, resolve

from notify.domain.records.update import encode
from tests.fake_web import APP, Answer, Web
from tests.qa.clients.drivers import COMMANDS
from tests.qa.clients.operations import faults
from tests.qa.clients.record import FIXTURES, same

RECORDED: Final = {
    name: json.loads((FIXTURES / f"{name}.json").read_text())["steps"] for name in COMMANDS
}
#: Refused with 400: what one client or another lets its caller send, and what no tag can hold.
MISTAKES: Final = frozenset((
    "name_is_a_number", "transfer_with_two_aliases",
))  # fmt: skip
#: The server sees paths decoded, so Rust's plus for a space is taken for a plus.
SPACED: Final = frozenset((
    "name_with_everything", "name_given", "name_deleted", "token_with_slash",
))  # fmt: skip
#: Reads of what nobody has sent.
NOBODYS: Final = frozenset(("name_with_everything", "name_with_marks"))
#: A read by an alias that carries no key: no SDK makes it, so an open app does not answer it either.
KEYLESS: Final = frozenset(("without_a_key",))
#: Their user is a new one each time.
NAMELESS: Final = frozenset(("user_of_nothing", "null_of_an_object"))


def sent(web: Web, step: dict[str, Any]) -> Answer:
    """The answer to a recorded request."""
    request = step["request"]
    headers = {
        name: value.replace("{KEY}", web.secret)
        for name, value in request["headers"].items()
        if name != "content-type"
    }
    text = "" if request["body"] is None else request.get("text", json.dumps(request["body"]))
    path = request["path"].replace("{APP_ID}", APP)
    return web.call(request["method"], path, raw=text.encode(), headers=headers)


def faults_of(step: dict[str, Any], answer: Answer) -> list[str]:
    """What is wrong with the answer."""
    content_type = answer.headers.get("Content-Type", "")
    if not step["is_route"] or step["step"] in NOBODYS:
        refusal = 404
    elif step["step"] in MISTAKES:
        refusal = 400
    elif step["step"] in KEYLESS:
        refusal = 401
    else:
        return faults(step["operation"], answer.status, content_type, answer.body)
    errors = answer.body.get("errors")
    is_readable = content_type == "application/json" and isinstance(errors, list) and errors
    return [] if is_readable and answer.status == refusal else [f"not refused with {refusal}"]


def played(web: Web, name: str) -> Iterator[tuple[dict[str, Any], Answer, list[str]]]:
    """Each request of the client, its answer, and the updates that it put into Kafka."""
    for step in RECORDED[name]:
        if "request" in step:
            before = len(web.sent())
            answer = sent(web, step)
            # All are of one app, so of one partition.
            yield step, answer, [plain(update) for update in web.sent()[before:]]


def plain(update: Any) -> str:
    """An update without what is never the same twice."""
    message = json.loads(encode(update))
    return json.dumps(
        {key: message[key] for key in message if key not in {"message_id", "at"}}, sort_keys=True
    )


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it, where it has the user model's routes."""
    try:
        resolve(f"/apps/{APP}/users")
    except Resolver404:
        pytest.skip("the user model has no routes yet")
    return Web.with_fakes(monkeypatch)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_request_is_answered_as_all_clients_need(web: Web, name: str) -> None:
    found = {}
    for step, answer, updates in played(web, name):
        wrong = faults_of(step, answer)
        is_write = step["request"]["method"] != "GET"
        if is_write and answer.status < 300 and not updates:
            wrong.append("nothing is in Kafka")
        if (not is_write or answer.status >= 300) and updates:
            wrong.append("something is in Kafka")
        if wrong:
            found[step["step"]] = (answer.status, answer.body, wrong)
    assert found == {}


def test_the_same_from_every_client_comes_to_the_same_updates(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_client = {
        name: {
            step["step"]: (step["request"]["body"], updates)
            for step, _, updates in played(Web.with_fakes(monkeypatch), name)
        }
        for name in COMMANDS
    }
    python = by_client.pop("python")
    compared = 0
    for name, steps in by_client.items():
        for step, (body, updates) in steps.items():
            is_comparable = step in python and same(python[step][0], body) and step not in NAMELESS
            if not is_comparable or (name == "rust" and step in SPACED):
                continue
            assert (name, step, updates) == (name, step, python[step][1])
            compared += bool(updates)
    assert compared > 20


def test_a_space_of_the_rust_client_is_taken_for_a_plus(web: Web) -> None:
    records = {
        name: {
            step["step"]: updates
            for step, _, updates in played(web, name)
            if step["step"] == "name_given"
        }
        for name in ("python", "rust")
    }
    assert records["python"] != records["rust"]
