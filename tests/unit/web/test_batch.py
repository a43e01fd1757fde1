"""POST /apps/{app}/batch."""

from typing import Any

import pytest
from pytest_django import Settings

from notify.domain.records import ids
from notify.domain.records.patch import ADD, REMOVE, SET
from tests.fake_web import APP, PLAYER, Answer, Web

PATH = f"/apps/{APP}/batch"


@pytest.fixture
def web(monkeypatch: pytest.MonkeyPatch) -> Web:
    """The API with fakes behind it."""
    return Web.with_fakes(monkeypatch)


def batch(web: Web, *items: object, **options: Any) -> Answer:
    """The answer to a batch of these items."""
    return web.call("POST", PATH, {"updates": items}, key=web.secret, **options)


def test_a_batch_needs_a_key(web: Web) -> None:
    assert web.call("POST", PATH, {"updates": [{"record": PLAYER}]}).status == 401
    assert web.call("POST", PATH, {"updates": [{"record": PLAYER}]}, key="no").status == 403


def test_every_kind_of_item(web: Web) -> None:
    parent = ids.record_id(APP, "email", "a@example.com")
    answer = batch(
        web,
        {
            "record": PLAYER,
            "tags": {"a": 1, "b": None},
            "properties": {"language": "de", "carrier": ""},
            "counters": {"session_count": 2, "spent_micros": -5},
            "links": {"email": parent, "user": None},
        },
        {"kind": "email", "identifier": " A@Example.com", "message_id": "mine"},
        {"record": PLAYER, "kind": "push", "identifier": ""},
        {"op": "delete", "record": PLAYER},
        {"op": "detach", "kind": "email", "identifier": "a@example.com"},
        headers={"Idempotency-Key": "k"},
    )
    assert answer.status == 202
    assert (answer.body["accepted"], answer.body["rejected"]) == (5, 0)
    assert [result["id"] for result in answer.body["results"]] == [
        PLAYER,
        parent,
        PLAYER,
        PLAYER,
        parent,
    ]
    first, email, cleared, delete, detach = web.sent()
    assert first.patch.ops == {
        "tags.a": (SET, 1),
        "tags.b": (REMOVE, None),
        "properties.language": (SET, "de"),
        "properties.carrier": (REMOVE, None),
        "session_count": (ADD, 2),
        "spent_micros": (ADD, -5),
    }
    assert first.links == {"email": parent, "user": None}
    assert (email.kind, email.patch.ops) == ("email", {"identifier": (SET, "a@example.com")})
    assert cleared.patch.ops == {"identifier": (REMOVE, None)}
    assert (delete.op, delete.kind, detach.op, detach.kind) == ("delete", None, "detach", None)
    assert [update.message_id for update in web.sent()] == ["k", "mine", "k:2", "k:3", "k:4"]
    assert len({update.at for update in web.sent()}) == 1


@pytest.mark.parametrize(
    "item",
    [
        None,
        [],
        {},
        {"record": "x"},
        {"record": 5},
        {"kind": "email"},
        {"identifier": "x"},
        {"kind": "fax", "identifier": "x"},
        {"kind": "email", "identifier": " "},
        {"kind": "email", "identifier": 5},
        {"record": PLAYER, "op": "drop"},
        {"record": PLAYER, "unheard_of": 1},
        {"record": PLAYER, "op": "delete", "tags": {}},
        {"record": PLAYER, "tags": []},
        {"record": PLAYER, "tags": {"a": {}}},
        {"record": PLAYER, "properties": []},
        {"record": PLAYER, "counters": []},
        {"record": PLAYER, "counters": {"mirrored_updates": 1}},
        {"record": PLAYER, "counters": {"session_count": "1"}},
        {"record": PLAYER, "counters": {"session_count": 2**31}},
        {"record": PLAYER, "links": []},
        {"record": PLAYER, "links": {"alias": PLAYER}},
        {"record": PLAYER, "links": {"email": PLAYER}},
        {"record": PLAYER, "message_id": 5},
        {"record": PLAYER, "message_id": "x" * 129},
        {"record": PLAYER, "tags": {f"tag {n}": "x" * 1024 for n in range(50)}},
    ],
)
def test_a_bad_item_fails_alone(web: Web, item: object) -> None:
    answer = batch(web, {"record": PLAYER}, item, {"record": PLAYER})
    assert answer.status == 202
    assert (answer.body["accepted"], answer.body["rejected"]) == (2, 1)
    assert answer.body["results"][1].keys() == {"errors"}
    assert len(web.sent()) == 2
    alone = batch(web, item)
    assert alone.status == 400
    assert alone.body["results"] == [answer.body["results"][1]]


@pytest.mark.parametrize(
    "body", [{}, {"updates": []}, {"updates": {}}, {"updates": [{"record": PLAYER}], "x": 1}]
)
def test_what_is_no_batch(web: Web, body: object) -> None:
    assert web.call("POST", PATH, body, key=web.secret).status == 400
    assert web.sent() == []


def test_limits_of_a_batch(web: Web, settings: Settings) -> None:
    item = {"record": PLAYER}
    assert batch(web, *[item] * settings.NOTIFY_BATCH_UPDATES).status == 202
    assert batch(web, *[item] * (settings.NOTIFY_BATCH_UPDATES + 1)).status == 413
    settings.NOTIFY_BATCH_BYTES = 1_000
    head = b'{"updates":[{"record":"' + PLAYER.encode() + b'"}]'

    def status(size: int) -> int:
        raw = head + b" " * (size - len(head) - 1) + b"}"
        return web.call("POST", PATH, raw=raw, key=web.secret).status

    assert status(1_000) == 202
    assert status(1_001) == 413
