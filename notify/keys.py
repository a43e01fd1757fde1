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
    """A new key: (secret, prefix, digest). The secret is shown once and not kept."""
    secret = PREFIX + secrets.token_hex(4) + "_" + secrets.token_urlsafe(32)
    return secret, secret[:PREFIX_CHARS], digest_of(secret)


def digest_of(secret: str) -> str:
    """What is kept of `secret`: its HMAC-SHA256 under NOTIFY_KEY_PEPPER, 64 hexadecimal digits."""
    return hmac.digest(settings.NOTIFY_KEY_PEPPER.encode(), secret.encode(), "sha256").hex()


def matches_any(secret: str, digests: Iterable[str]) -> bool:
    """Whether one of `digests` is that of `secret`; all are compared, each in constant time."""
    mine = digest_of(secret)
    found = False
    for digest in digests:
        found |= hmac.compare_digest(mine, digest)
    return found
