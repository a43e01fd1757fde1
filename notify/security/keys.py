"""App keys: a prefix to tell a key by, and 256 random bits; at rest only an HMAC of the whole."""

import hmac
import secrets
from collections.abc import Iterable
from typing import Final

from django.conf import settings

PREFIX: Final = "nk_"
#: Characters that are kept in clear, to tell keys apart.
PREFIX_CHARS: Final = len(PREFIX) + 8


def make_key() -> tuple[str, str, str]:
    """Makes a key: (secret, prefix, digest). The secret is shown once and not stored."""
    secret = PREFIX + secrets.token_hex(4) + "_" + secrets.token_urlsafe(32)
    return secret, secret[:PREFIX_CHARS], digest_of(secret)


def digest_of(secret: str) -> str:
    """The HMAC-SHA256 of `secret` under NOTIFY_KEY_PEPPER, in 64 hexadecimal digits, which is stored."""
    return hmac.digest(settings.NOTIFY_KEY_PEPPER.encode(), secret.encode(), "sha256").hex()


def matches_any(secret: str, digests: Iterable[str]) -> bool:
    """Whether one of `digests` is the digest of `secret`. Compares all of them in constant time."""
    mine = digest_of(secret)
    found = False
    for digest in digests:
        found |= hmac.compare_digest(mine, digest)
    return found
