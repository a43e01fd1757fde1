"""Key pairs and tokens for tests of identity verification: real ones, made as a server makes them."""

import base64
import json
import time
from functools import cache
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)


def pair(name: str = "first") -> ec.EllipticCurvePrivateKey:
    """A P-256 key pair, the same for the same name."""
    return _pair(name)


@cache
def _pair(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def public_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """The public key as a server gives it to us."""
    made = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return made.decode()


def private_pem(key: ec.EllipticCurvePrivateKey) -> str:
    """The private key, which we must never be given."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def claims(app: str, **changed: Any) -> dict[str, Any]:
    """What a token of `app` says: a user, an hour, no subscriptions. A claim of None is left out."""
    said = {"iss": app, "exp": int(time.time()) + 3600, "identity": {"external_id": "ann"}}
    return {name: value for name, value in (said | changed).items() if value is not None}


def token(app: str, key: ec.EllipticCurvePrivateKey | None = None, **changed: Any) -> str:
    """A token as an app's server signs it."""
    return jwt.encode(claims(app, **changed), key or pair(), algorithm="ES256")


def signed(payload: bytes) -> str:
    """A token with a good signature over what no library would sign."""
    return jwt.api_jws.encode(payload, pair(), "ES256")


def unsigned(header: object, said: object, signature: bytes = b"") -> str:
    """A token that no library would make."""
    parts = (json.dumps(header).encode(), json.dumps(said).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)
