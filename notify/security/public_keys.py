"""Public keys of apps: P-256, as PEM, told apart by the SHA-256 of their DER form."""

import hashlib
from functools import lru_cache
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_public_key,
)

#: A P-256 key in PEM has 178 characters; nobody pastes more than this by mistake but a file.
PEM_CHARS_MAX: Final = 2_000
#: Keys that a process keeps parsed: the live ones of as many apps as call at a time.
_PARSED_MAX: Final = 4_096
_HOW: Final = "make one with `openssl ec -in private.pem -pubout`"


class KeyRefused(ValueError):
    """The text is not a public key that can verify tokens."""


def checked(text: str) -> tuple[str, str]:
    """Checks the key in `text`; returns (normalised PEM, fingerprint). Raises KeyRefused without the text."""
    text = text.strip()
    if "PRIVATE KEY" in text:
        raise KeyRefused(
            "this is a private key, which must never leave your server: make a new pair, keep its "
            f"private key there, and add the public key ({_HOW})"
        )
    if len(text) > PEM_CHARS_MAX:
        raise KeyRefused(f"a public key in PEM may have at most {PEM_CHARS_MAX} characters: {_HOW}")
    try:
        key = load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        raise KeyRefused(f"this is not a public key in PEM: {_HOW}") from None
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise KeyRefused(
            "ES256 needs a key on the curve P-256: make a pair with "
            "`openssl ecparam -name prime256v1 -genkey -noout -out private.pem`"
        )
    der = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    return pem, hashlib.sha256(der).hexdigest()


@lru_cache(maxsize=_PARSED_MAX)
def parsed(pem: str) -> EllipticCurvePublicKey:
    """Parses a PEM that `checked` returned."""
    key = load_pem_public_key(pem.encode())
    assert isinstance(key, EllipticCurvePublicKey)
    return key
