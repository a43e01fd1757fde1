"""The ids that the server gives to records.

An id is derived from what identifies the record, such as its email address, within the namespace of its
app. So the same address always gets the same record, a retry gets the same answer, no database is
needed, and two apps never share an id.
"""

import uuid
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from notify.domain.errors import Malformed

#: Kinds whose token is an address, which one person can give up and another person can take.
ADDRESSES: Final = ("email", "sms")
#: Each new owner of an address gets a new id, made from the address and a number. A caller who knows the
#: address may use this many of those ids.
ADDRESS_HANDS: Final = 10
#: Kinds of tokens that are not kinds of records. No kind contains a colon.
_IDEMPOTENCY_KEY: Final = "idempotency-key"
_NO_VERSION: Final = ~(0xF << 76)
_VERSION_8: Final = 8 << 76
_VERSION_4: Final = 4 << 76
_NOT_IN_NUMBERS: Final = str.maketrans("", "", " \t\u00a0-().")


def normalised(kind: str, token: str) -> str:
    """`token` in the normalised spelling from which ids are made.

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
    """The id for a request without a token, made from its Idempotency-Key, so that a retry gets it again."""
    return _as_if_random(_hashed(app, f"{_IDEMPOTENCY_KEY}:{key}"))


def alias_id(app: str, kind: str, label: str, name: str) -> str:
    """The id of the alias (label, name) of this kind. It stands for the record that the alias names.

    An address is normalised first.
    """
    if kind in ADDRESSES:
        name = normalised(kind, name)
    made = _hashed(app, f"alias:{kind}:{len(label)}:{label}:{name}")
    return str(uuid.UUID(int=made.int & _NO_VERSION | _VERSION_8))


def is_alias(record: str) -> bool:
    """Whether this id is the id of an alias. Only these have UUID version 8."""
    return record[14:15] == "8"


def follows_from_a_name(record: str) -> bool:
    """Whether somebody who knows an alias, an address or a number can compute this id."""
    return record[14:15] in ("5", "8")


def is_named(record: str) -> bool:
    """Whether this id is made from an address, a number or a user's alias: it then has UUID version 5. The
    id does not tell which of them."""
    return record[14:15] == "5"


def named_user(app: str, record: str, generation: int) -> str:
    """The id of the user that an unused alias stands for, or that owns a subscription without a user. It
    is another user each time that the generation of `record` goes up.

    It can be computed only from `record`, so it is as hard to guess as `record` is.
    """
    made = _hashed(app, f"user:{record}:{generation}")
    return str(made) if follows_from_a_name(record) else _as_if_random(made)


def logins_id(app: str, user: str, generation: int) -> str:
    """The id under which the logins of the user in this generation are counted. It has the form of an
    alias's id, so that no update can have it as its record."""
    made = _hashed(app, f"logins:{user}:{generation}")
    return str(uuid.UUID(int=made.int & _NO_VERSION | _VERSION_8))


def of_address(app: str, kind: str, address: str) -> Iterator[str]:
    """The ids of the records of the address's successive owners, the first owner first."""
    yield record_id(app, kind, address)
    alias = alias_id(app, kind, "token", address)
    for generation in range(ADDRESS_HANDS - 1):
        yield named_user(app, alias, generation)


def random_id() -> str:
    """A random id, for a request with nothing that identifies the record."""
    return str(uuid.uuid4())


def _as_if_random(made: uuid.UUID) -> str:
    return str(uuid.UUID(int=made.int & _NO_VERSION | _VERSION_4))


def _hashed(app: str, words: str) -> uuid.UUID:
    """The UUIDv5 of the words in the app's namespace. Raises Malformed for a lone surrogate."""
    try:
        return uuid.uuid5(_namespace(app), words)
    except UnicodeEncodeError:
        raise Malformed("a name or token contains a lone surrogate, which is not text") from None


@lru_cache(maxsize=4096)
def _namespace(app: str) -> uuid.UUID:
    return uuid.UUID(app)
