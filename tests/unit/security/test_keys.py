"""App keys."""

import hashlib
import hmac
import secrets

import pytest
from pytest_django import Settings

from notify.security import keys


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


def test_the_random_bits_are_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def token_urlsafe(n: int) -> str:
        asked.append(n)
        return "x" * 43

    monkeypatch.setattr(secrets, "token_urlsafe", token_urlsafe)
    assert keys.make_key()[0].endswith("_" + "x" * 43)
    assert [8 * n for n in asked] == [256]


def test_what_is_kept_is_hmac_sha256_under_the_pepper(settings: Settings) -> None:
    settings.NOTIFY_KEY_PEPPER = "pepper"
    secret, _, digest = keys.make_key()
    assert digest == hmac.new(b"pepper", secret.encode(), hashlib.sha256).hexdigest()


@pytest.mark.parametrize("place", [0, 1, 2])
def test_each_digest_is_compared_in_constant_time(
    place: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever the right one stands: all are compared, by the function that takes as long for any."""
    secret, _, digest = keys.make_key()
    digests = [keys.digest_of(str(n)) for n in range(2)]
    digests.insert(place, digest)
    compared: list[str] = []
    real = hmac.compare_digest

    def compare_digest(mine: str, theirs: str) -> bool:
        compared.append(theirs)
        return real(mine, theirs)

    monkeypatch.setattr(hmac, "compare_digest", compare_digest)
    assert keys.matches_any(secret, digests)
    assert compared == digests


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
