"""Ids follow from what identifies a record."""

import uuid

import pytest

from notify.domain.records.ids import keyed_id, normalised, random_id, record_id

APP, OTHER = (f"00000000-0000-0000-0000-0000000000a{n}" for n in range(2))


@pytest.mark.parametrize(
    ("kind", "token", "spelling"),
    [
        ("email", " Ann@Example.COM\n", "ann@example.com"),
        ("sms", "+49 (30) 12-34.5", "+493012345"),
        ("sms", "49\u00a03012345", "+493012345"),
        ("sms", "++4930", "+4930"),
        ("push", " aB:cD ", "aB:cD"),
        ("push", "123E4567-E89B-12D3-A456-426614174000", "123e4567-e89b-12d3-a456-426614174000"),
        ("push", "Z" * 36, "Z" * 36),
    ],
)
def test_a_token_has_one_spelling(kind: str, token: str, spelling: str) -> None:
    assert normalised(kind, token) == spelling
    assert normalised(kind, spelling) == spelling
    assert record_id(APP, kind, token) == record_id(APP, kind, spelling)


def test_an_id_is_the_same_for_ever() -> None:
    assert record_id(APP, "email", "ann@example.com") == "88db22b6-9dec-595f-acdc-88820922ea7a"
    assert keyed_id(APP, "k") == "10d3aee1-5e07-48ec-bc8d-e38b57c2e8c0"


def test_other_apps_kinds_tokens_and_keys_have_other_ids() -> None:
    ids = [
        record_id(APP, "email", "a"),
        record_id(OTHER, "email", "a"),
        record_id(APP, "push", "a"),
        record_id(APP, "email", "b"),
        keyed_id(APP, "email:a"),
        keyed_id(APP, "a"),
        keyed_id(OTHER, "a"),
    ]
    assert len(set(ids)) == len(ids)


def test_without_any_token_an_id_is_random() -> None:
    assert uuid.UUID(random_id()).version == 4
    assert random_id() != random_id()
