"""App keys."""

import pytest
from pytest_django import Settings

from notify import keys


def test_a_key_matches_its_own_digest_only() -> None:
    secret, prefix, digest = keys.make_key()
    other, _, other_digest = keys.make_key()
    assert secret.startswith(prefix)
    assert keys.matches_any(secret, (digest,))
    assert not keys.matches_any(other, (digest,))
    assert keys.matches_any(secret, [other_digest, digest])
    assert not keys.matches_any(secret, [other_digest])
    assert not keys.matches_any(secret, [])


def test_a_key_has_256_random_bits_after_its_prefix() -> None:
    secret, prefix, _ = keys.make_key()
    random = secret.removeprefix(prefix).removeprefix("_")
    assert len(random) == 43
    assert len({keys.make_key()[0] for _ in range(50)}) == 50


def test_the_secret_cannot_be_read_off_what_is_kept() -> None:
    secret, prefix, digest = keys.make_key()
    assert len(prefix) == keys.PREFIX_CHARS <= 16
    assert len(digest) == 64
    assert secret.removeprefix(prefix) not in digest


def test_the_pepper_is_part_of_the_digest(settings: Settings) -> None:
    secret, _, digest = keys.make_key()
    settings.NOTIFY_KEY_PEPPER = "another pepper"
    assert not keys.matches_any(secret, (digest,))


@pytest.mark.parametrize("secret", ["", "é", "\ud7ff", "x" * 10_000])
def test_any_text_can_be_tried(secret: str) -> None:
    assert not keys.matches_any(secret, (keys.make_key()[2],))
