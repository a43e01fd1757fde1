"""Identity verification: checks by a token of the app's server which users an SDK's call may name.

The token is a JWT in `Authorization: Bearer`. It must be signed with ES256, whatever its header says, and
has the claims `iss` (the app's id), `exp`, `identity` (an object of label to name) and `subscriptions` (a
list of `{"type": "Email"|"SMS", "token": ...}`). docs/identity.md has the details.

A call with the app's key may name anybody. An app that requires neither keys nor tokens is open: tokens are
ignored, and docs/security.md lists what a call may do. What a call without a key may do depends on the id
that it names and how that id is made (`notify/domain/records/ids.py`), never on the kind of a record, because
callers set that.
"""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeGuard

import jwt
from django.conf import settings
from msgspec.structs import replace

from notify.domain.engine.lanes import is_uuid
from notify.domain.records import ids
from notify.domain.records.patch import IDENTIFIER, PROPERTIES, PUSH, SET
from notify.domain.records.update import (
    DELETE,
    INTEGER_MAX,
    MIRROR_LABELS,
    TOKEN,
    UPDATE,
    USER,
    Update,
)
from notify.security import public_keys
from notify.web.access import auth
from notify.web.access.apps_cache import KnownApp
from notify.web.http.answers import Refused

_ALGORITHM: Final = "ES256"
_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="notify"'}
_INVALID: Final = {"WWW-Authenticate": 'Bearer realm="notify", error="invalid_token"'}
#: Labels of addresses, which identify a subscription of that kind.
_ADDRESSES: Final = ("email", "sms")
#: The label of an address of unknown kind; no alias has an empty label.
_ADDRESS: Final = ""
_ONESIGNAL_ID: Final = "onesignal_id"
#: The error of a call for a user that does not exist or that the caller may not see.
NO_SUCH_USER: Final = (
    "there is no user with this id or alias, or none of its updates has been applied yet"
)
#: The properties of the players API that name a user, with their labels.
_NAMING: Final = {"external_user_id": "external_id", "email": "email", "sms_number": "sms"}
#: PyJWT checks only the signature. We check the rest ourselves, so that tests can set the time.
_SIGNATURE_ONLY: Final[Any] = {
    f"verify_{claim}": False for claim in ("exp", "nbf", "iat", "aud", "iss", "sub", "jti")
}


@dataclass(frozen=True, slots=True)
class TokenLimits:
    """The limits of tokens, and how many verified ones a process remembers; times are in seconds."""

    leeway_s: int
    lifetime_s: int
    chars_max: int
    kept_max: int

    @classmethod
    def of_settings(cls) -> "TokenLimits":
        """The limits of the settings NOTIFY_IDENTITY_..."""
        return cls(
            leeway_s=settings.NOTIFY_IDENTITY_LEEWAY_S,
            lifetime_s=settings.NOTIFY_IDENTITY_LIFETIME_S,
            chars_max=settings.NOTIFY_IDENTITY_TOKEN_CHARS,
            kept_max=settings.NOTIFY_IDENTITY_TOKENS,
        )


@dataclass(frozen=True, slots=True)
class Claims:
    """The content of a valid token: its names by label, and the ids of the records that they name.

    It is valid until `ends_s`, as long as `pem` is one of the app's keys.
    """

    names: frozenset[tuple[str, str]]
    records: frozenset[str]
    ends_s: float
    pem: str


class Verifier:
    """Verifies tokens and remembers the last valid ones, at most `limits.kept_max`. Thread-safe.

    It does not keep the tokens themselves, only a digest of each with its claims.
    """

    def __init__(self, limits: TokenLimits | None = None) -> None:
        self._limits = TokenLimits.of_settings() if limits is None else limits
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, Claims] = OrderedDict()

    def verify(self, app: KnownApp, token: str, *, now_s: float) -> Claims:
        """The claims of the token. Raises Refused 401 for a token that is not valid for this app now."""
        if len(token) > self._limits.chars_max:
            raise _bad(f"it is longer than {self._limits.chars_max} characters")
        digest = hashlib.sha256(f"{app.id} {token}".encode(errors="surrogatepass")).digest()
        claims = self._recalled(digest)
        if claims is None or claims.pem not in app.identity_keys:
            claims = _claims(app, token, self._limits, now_s)
            self._keep(digest, claims)
        elif claims.ends_s <= now_s:
            raise _expired()
        return claims

    def __len__(self) -> int:
        return len(self._kept)

    def _recalled(self, digest: bytes) -> Claims | None:
        with self._lock:
            claims = self._kept.get(digest)
            if claims is not None:
                self._kept.move_to_end(digest)
            return claims

    def _keep(self, digest: bytes, claims: Claims) -> None:
        with self._lock:
            self._kept[digest] = claims
            while len(self._kept) > self._limits.kept_max:
                self._kept.popitem(last=False)


def token_needed() -> Refused:
    """The refusal of a call that needs a token and has none."""
    return Refused(
        401,
        "this app verifies identities: a call that names a user, an email address or a number "
        "needs Authorization: Bearer <a JWT of the app's server>, or the app's key",
        headers=_CHALLENGE,
    )


def hash_unusable() -> Refused:
    """The same for SDKs of version 4.x, which have no tokens. It is a 403, because they repeat a 401."""
    return Refused(
        403,
        "this app verifies identities, by a JWT that SDKs of version 4.x cannot send; their "
        "..._auth_hash cannot be checked here. Update the SDK to 5.x and log in with a JWT, or "
        "send this call from the app's server with its key",
    )


@dataclass(frozen=True, slots=True)
class Identity:
    """Which users a call may name. `needed`: it must have a token, whose content is `claims`; without one,
    `absent` makes the refusal. `has_key`: it may name anybody."""

    app: str
    needed: bool
    claims: Claims | None = None
    absent: Callable[[], Refused] = token_needed
    has_key: bool = False

    @property
    def is_open(self) -> bool:
        """Whether the caller has shown only the app's public id, and the app requires no more."""
        return not self.needed and not self.has_key

    def must_not_be_open(self, what: str) -> None:
        """Raises Refused 401 unless the call has a key, or its app requires tokens."""
        if self.is_open:
            raise auth.key_needed(what)

    def must_name(self, label: str, name: object) -> None:
        """Checks that the token names this alias, or this address (labels `email` and `sms`).

        Raises Refused: by `absent` without a token, else with 403.
        """
        if not self.needed:
            return
        claims = self._claims()
        if not isinstance(name, str) or not _is_named(claims, label, name):
            raise Refused(403, _other(label))

    def must_own(self, record: str) -> None:
        """Checks that the record is a user or an address that the token names. Raises as `must_name`."""
        if self.needed and record not in self._claims().records:
            raise Refused(403, "the token does not name the user or the address with this id")

    def must_reach(self, record: str) -> None:
        """Checks that the token names the record, or that its id is not derived from a name: a caller can
        know such an id only from the device itself. Raises as `must_name`."""
        if ids.follows_from_a_name(record):
            self.must_own(record)

    def must_see(self, aliases: Mapping[str, str]) -> None:
        """Checks that the token names the user with these aliases, or that it has none: a caller can know
        the id of an anonymous user only from the device itself. Raises as `must_name`."""
        if self.needed and aliases and self._claims().names.isdisjoint(aliases.items()):
            raise Refused(403, "the token does not name this user")

    def admitted(self, update: Update) -> Update:
        """The update as this caller may send it. Raises Refused if the caller may not send it.

        An identifier without a kind, for an id that is not derived from a name, is taken as a push token
        unless the caller may name addresses. Workers, who know the row, decide whether it is a device.
        """
        if self.has_key:
            return update
        if update.kind == PUSH and ids.is_named(update.record):
            raise Refused(
                403, "this id is derived from an address or a name: it cannot be the id of a device"
            )
        if self.is_open:
            return _open_to_all(update)
        self._must_allow(update)
        is_told = update.kind is not None or IDENTIFIER not in update.patch.ops
        if is_told or ids.follows_from_a_name(update.record):
            return update
        return replace(update, kind=PUSH)

    def _must_allow(self, update: Update) -> None:
        """Checks that the token names everything that the update names."""
        self.must_reach(update.record)
        for label, name in _named_by(update):
            if name is None:
                self.must_own(update.record)
            else:
                self.must_name(label, name)
        for label, parent in update.links.items():
            if parent is not None:
                (self.must_own if label in MIRROR_LABELS else self.must_reach)(parent)

    def _claims(self) -> Claims:
        if self.claims is None:
            raise self.absent()
        return self.claims


def of_call(
    app: KnownApp,
    meta: Mapping[str, Any],
    *,
    has_key: bool,
    verifier: Verifier,
    now_s: float,
    absent: Callable[[], Refused] = token_needed,
) -> Identity:
    """Which users the call may name. Raises Refused 401 for an invalid token; a missing one is refused only
    when the call names somebody."""
    if has_key or not app.requires_identity:
        return Identity(app.id, needed=False, has_key=has_key)
    token = auth.bearer(meta)
    claims = verifier.verify(app, token, now_s=now_s) if token else None
    return Identity(app.id, needed=True, claims=claims, absent=absent)


def _open_to_all(update: Update) -> Update:
    """The update as the callers of an open app may send it. Raises Refused.

    An id of version 5 may belong to an address or to a named user. A caller who knows only names must not
    choose which, or it could delete a person, or read an address, as something else.

    * The id of an alias must be that of a user, or of a token that the update contains.
    * A user must be named by the id that creating it returns. Other ids get 404 and not 401: an SDK with an
      id from an earlier release then creates its user again, and gets an id that it can use.
    * The kind of an address is accepted if the id is made from the update's own address.
    * A deletion takes the subscription from its user, but keeps the record.
    """
    if ids.is_alias(update.record) and update.kind != USER and TOKEN not in update.aliases:
        raise Refused(404, "there is no subscription with this id")
    if not ids.is_named(update.record):
        return update
    if update.owner:
        raise auth.key_needed("changing the user of an email or SMS subscription")
    if update.kind == USER:
        raise Refused(404, NO_SUCH_USER)
    if update.op == DELETE:
        return replace(update, op=UPDATE, links={USER: None})
    if update.kind is None or _follows(update):
        return update
    if update.aliases:
        raise auth.key_needed("changing an address")
    return replace(update, kind=None)


def _follows(update: Update) -> bool:
    """Whether the record's id is made from the address in the update."""
    assert update.kind is not None
    _, address = update.patch.ops.get(IDENTIFIER, (None, None))
    return (
        isinstance(address, str)
        and update.kind in ids.ADDRESSES
        and update.record in ids.of_address(update.app, update.kind, address)
    )


def _named_by(update: Update) -> Iterator[tuple[str, object]]:
    """Each (label, name) that the update names or adds; None stands for a removed name."""
    for key, label in _NAMING.items():
        op, value = update.patch.ops.get(PROPERTIES + key, (None, None))
        if op == SET:
            yield label, value
    op, value = update.patch.ops.get(IDENTIFIER, (None, None))
    if op == SET and update.kind in _ADDRESSES:
        yield update.kind, value
    elif op == SET and update.kind is None and ids.follows_from_a_name(update.record):
        yield _ADDRESS, value
    for label, name in update.aliases.items():
        if label != TOKEN:
            yield label, name
        elif update.kind in _ADDRESSES:
            yield update.kind, name


def _is_named(claims: Claims, label: str, name: str) -> bool:
    if label == _ONESIGNAL_ID:
        return name.lower() in claims.records
    if label == _ADDRESS:
        return any(_is_named(claims, each, name) for each in _ADDRESSES)
    return (label, _normal(label, name)) in claims.names


def _claims(app: KnownApp, token: str, limits: TokenLimits, now_s: float) -> Claims:
    if not app.identity_keys:
        raise Refused(401, "this app requires tokens and has no public key to verify them with")
    pem, says = _signed(app, token)
    if str(says.get("iss")).lower() != app.id:
        raise _bad("iss is not this app's id")
    ends_s = _time(says, "exp") + limits.leeway_s
    if ends_s <= now_s:
        raise _expired()
    if ends_s > now_s + limits.lifetime_s + 2 * limits.leeway_s:
        raise _bad(f"exp is more than {limits.lifetime_s} s in the future")
    if "nbf" in says and _time(says, "nbf") > now_s + limits.leeway_s:
        raise _bad("nbf is in the future: it is not valid yet")
    names = frozenset(_names(says))
    records = frozenset(_records(app.id, names))
    return Claims(names, records, ends_s, pem)


def _signed(app: KnownApp, token: str) -> tuple[str, Mapping[str, Any]]:
    """The key that signed the token, and the token's claims."""
    for pem in app.identity_keys:
        try:
            says = jwt.decode(
                token, public_keys.parsed(pem), algorithms=[_ALGORITHM], options=_SIGNATURE_ONLY
            )
        except jwt.InvalidSignatureError:
            continue
        except jwt.InvalidAlgorithmError:
            raise _bad(f"its alg is not {_ALGORITHM}") from None
        except (jwt.InvalidTokenError, UnicodeError, RecursionError):
            raise _bad("it is not a readable JWT") from None
        return pem, says
    raise _bad("it is not signed with a key of this app")


def _time(says: Mapping[str, Any], claim: str) -> float:
    at = says.get(claim)
    if isinstance(at, bool) or not isinstance(at, (int, float)) or not 0 <= at <= INTEGER_MAX:
        raise _bad(f"{claim} must be a number of seconds since 1970")
    return at


def _names(says: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    identity = says.get("identity")
    if not isinstance(identity, Mapping) or not identity:
        raise _bad('identity must be an object such as {"external_id": "..."}')
    for label, name in identity.items():
        if not _is_text(label) or not _is_text(name):
            raise _bad("a name in identity must be a string, not empty")
        yield label, _normal(label, name)
    subscriptions = says.get("subscriptions", [])
    if not isinstance(subscriptions, list):
        raise _bad("subscriptions must be a list")
    for each in subscriptions:
        yield from _address(each)


def _address(subscription: object) -> Iterator[tuple[str, str]]:
    """The address of an item of `subscriptions`; None for a push subscription, which names nobody."""
    if not isinstance(subscription, Mapping):
        raise _bad("each item of subscriptions must be an object with type and token")
    type_, token = subscription.get("type"), subscription.get("token")
    if not isinstance(type_, str) or not _is_text(token):
        raise _bad("each item of subscriptions must have a type and a token, both strings")
    if type_.lower() in _ADDRESSES:
        yield type_.lower(), ids.normalised(type_.lower(), token)


def _is_text(value: object) -> TypeGuard[str]:
    """Whether it is a string that is not blank and has no lone surrogates."""
    if not isinstance(value, str) or not value.strip():
        return False
    return value.encode(errors="ignore") == value.encode(errors="surrogatepass")


def _records(app: str, names: frozenset[tuple[str, str]]) -> Iterator[str]:
    for label, name in names:
        yield ids.alias_id(app, USER, label, name)
        if label == _ONESIGNAL_ID and is_uuid(name):
            yield name
        if label in _ADDRESSES:
            yield from ids.of_address(app, label, name)
            yield ids.alias_id(app, label, TOKEN, name)


def _normal(label: str, name: str) -> str:
    if label == _ONESIGNAL_ID:
        return name.lower()
    return ids.normalised(label, name) if label in _ADDRESSES else name


def _bad(what: str) -> Refused:
    return Refused(
        401,
        f"the token is not accepted: {what}. Get a new one from the app's server",
        headers=_INVALID,
    )


def _expired() -> Refused:
    return _bad("it has expired")


def _other(label: str) -> str:
    if label == _ADDRESS:
        return (
            "the token does not name this address: the app's server must put it into the token's "
            'subscriptions, as {"type": "Email" or "SMS", "token": ...}'
        )
    if label in _ADDRESSES:
        type_ = "Email" if label == "email" else "SMS"
        return (
            f"the token does not name this {label}: the app's server must put it into the token's "
            f'subscriptions, as {{"type": "{type_}", "token": ...}}'
        )
    return (
        f"the token does not name this {label:.50}: the app's server must put it into the token's "
        "identity"
    )
