"""The ids that the server assigns to records.

An id follows from what identifies the record, so the same email is the same record, a retry gets
the same answer, and no database is asked. The app's id is the namespace: apps share no ids.
"""

import uuid
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from notify.domain.errors import Malformed

#: Kinds whose token is an address: a person can give it up, and another can take it.
ADDRESSES: Final = ("email", "sms")
#: Who names an address may act by so many ids that are made of it: one for each time that it changed hands.
ADDRESS_HANDS: Final = 10
#: Kinds of tokens that are not a record's kind; no kind contains a colon.
_IDEMPOTENCY_KEY: Final = "idempotency-key"
_NO_VERSION: Final = ~(0xF << 76)
_VERSION_8: Final = 8 << 76
_VERSION_4: Final = 4 << 76
_NOT_IN_NUMBERS: Final = str.maketrans("", "", " \t\u00a0-().")


def normalised(kind: str, token: str) -> str:
    """`token` in the one spelling that ids are made from.

    Emails are trimmed and lower-cased. Telephone numbers lose spaces, hyphens, dots and brackets
    and start with one `+`. Tokens that are UUIDs are lower-cased; other push tokens are only
    trimmed, as their case matters.
    """
    text = token.strip()
    if kind == "email":
        return text.lower()
    if kind == "sms":
        return "+" + text.translate(_NOT_IN_NUMBERS).lstrip("+")
    try:
        return str(uuid.UUID(text)) if len(text) == 36 else text
    except ValueError:
        return text


def record_id(app: str, kind: str, token: str) -> str:
    """The id of the record of this kind that `token` identifies. `token` must not be blank.

    A push token is a secret of its device, so its id looks like a random one.
    """
    made = _hashed(app, f"{kind}:{normalised(kind, token)}")
    return _as_if_random(made) if kind == "push" else str(made)


def keyed_id(app: str, key: str) -> str:
    """The id for a request without any token, from its Idempotency-Key: a retry gets it again."""
    return _as_if_random(_hashed(app, f"{_IDEMPOTENCY_KEY}:{key}"))


def alias_id(app: str, kind: str, label: str, name: str) -> str:
    """The id of the alias (label, name) of this kind: it stands for what the alias names. See `is_alias`.

    The name of an address is taken in its one spelling, whoever sends it.
    """
    if kind in ADDRESSES:
        name = normalised(kind, name)
    made = _hashed(app, f"alias:{kind}:{len(label)}:{label}:{name}")
    return str(uuid.UUID(int=made.int & _NO_VERSION | _VERSION_8))


def is_alias(record: str) -> bool:
    """Whether this id is an alias's: they have UUID version 8, which no other id of ours has."""
    return record[14:15] == "8"


def follows_from_a_name(record: str) -> bool:
    """Whether who knows an alias, an address or a number can work this id out."""
    return record[14:15] in ("5", "8")


def is_named(record: str) -> bool:
    """Whether this id is made of an address, a number, or the alias of a user: it has UUID version 5.
    Which of them, the id does not say."""
    return record[14:15] == "5"


def named_user(app: str, record: str, generation: int) -> str:
    """The id of the user that an alias names that was given to nobody, or that owns a subscription
    without an owner: a new one each time that the generation of `record` goes up.

    Only who knows `record` can work it out, so it looks random if `record` does.
    """
    made = _hashed(app, f"user:{record}:{generation}")
    return str(made) if follows_from_a_name(record) else _as_if_random(made)


def logins_id(app: str, user: str, generation: int) -> str:
    """The id of what counts the logins of the user in this generation of it. It reads as an alias's, so no
    update can be one of it."""
    made = _hashed(app, f"logins:{user}:{generation}")
    return str(uuid.UUID(int=made.int & _NO_VERSION | _VERSION_8))


def of_address(app: str, kind: str, address: str) -> Iterator[str]:
    """The ids that records are made with by whom registers the address, first hand to last."""
    yield record_id(app, kind, address)
    alias = alias_id(app, kind, "token", address)
    for generation in range(ADDRESS_HANDS - 1):
        yield named_user(app, alias, generation)


def random_id() -> str:
    """An id for a request that carries nothing that identifies the record."""
    return str(uuid.uuid4())


def _as_if_random(made: uuid.UUID) -> str:
    return str(uuid.UUID(int=made.int & _NO_VERSION | _VERSION_4))


def _hashed(app: str, words: str) -> uuid.UUID:
    """UUIDv5 of the words in the app's namespace. Raises Malformed for half a character."""
    try:
        return uuid.uuid5(_namespace(app), words)
    except UnicodeEncodeError:
        raise Malformed("a name or token contains a lone surrogate, which is not text") from None


@lru_cache(maxsize=4096)
def _namespace(app: str) -> uuid.UUID:
    return uuid.UUID(app)
