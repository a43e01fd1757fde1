"""The ids that the server assigns."""

import uuid

import pytest

from notify.domain.engine.lanes import is_uuid
from notify.domain.records import ids
from notify.web.resources import draft
from tests.fake_web import APP, PLAYER


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [
        ("email", "Anna@Example.com ", "anna@example.com"),
        ("sms", "+49 (171) 123-45.67", "49171 1234567"),
        ("sms", "++49171", "+49171"),
        ("push", f" {PLAYER.upper()}", PLAYER),
        ("push", " aB:c ", "aB:c"),
    ],
)
def test_two_spellings_of_one_token(kind: str, one: str, other: str) -> None:
    assert ids.record_id(APP, kind, one) == ids.record_id(APP, kind, other)


@pytest.mark.parametrize(
    ("kind", "one", "other"),
    [("push", "ab", "aB"), ("email", "a@b.c", "a@b.d"), ("push", "x" * 36, "X" * 36)],
)
def test_two_tokens(kind: str, one: str, other: str) -> None:
    assert ids.record_id(APP, kind, one) != ids.record_id(APP, kind, other)


def test_ids_differ_by_app_and_kind_and_key() -> None:
    made = {
        ids.record_id(APP, "push", "k"),
        ids.record_id(PLAYER, "push", "k"),
        ids.record_id(APP, "user", "k"),
        ids.keyed_id(APP, "k"),
        ids.keyed_id(PLAYER, "k"),
        ids.random_id(),
        ids.random_id(),
    }
    assert len(made) == 7
    assert all(is_uuid(id_) for id_ in made)


def test_an_id_says_how_it_came_about() -> None:
    """By its UUID version: who may see what depends on it."""
    alias, mail = ids.alias_id(APP, "user", "external_id", "x"), ids.record_id(APP, "email", "a@b")
    made = {
        "8": [alias, ids.alias_id(APP, "email", "token", "a@b")],
        "5": [
            mail,
            ids.record_id(APP, "sms", "+1"),
            *(ids.named_user(APP, each, 0) for each in (alias, mail)),
        ],
        "4": [
            ids.record_id(APP, "push", "t"),
            ids.keyed_id(APP, "k"),
            ids.random_id(),
            ids.named_user(APP, PLAYER, 0),
        ],
    }
    for version, found in made.items():
        for each in found:
            assert str(uuid.UUID(each).version) == version
            assert ids.follows_from_a_name(each) == (version != "4")
            assert ids.is_alias(each) == (version == "8")
            assert ids.is_named(each) == (version == "5")


def test_an_update_without_a_message_id_gets_a_random_one() -> None:
    made = {draft.update_of(APP, PLAYER, at=1).message_id for _ in range(50)}
    assert len(made) == 50
    assert all(is_uuid(each) and uuid.UUID(each).version == 4 for each in made)
    assert {uuid.UUID(each).variant for each in made} == {uuid.RFC_4122}


def test_an_id_is_the_same_for_ever() -> None:
    """Stored ids depend on it: never change this value."""
    assert ids.record_id(APP, "email", "a@example.com") == str(
        uuid.uuid5(uuid.UUID(APP), "email:a@example.com")
    )
    assert ids.record_id(APP, "email", "anna@example.com") == "1270a0e5-ea40-5077-a7a2-d0f56be2f335"
