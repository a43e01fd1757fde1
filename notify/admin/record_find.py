"""Which record of an app a text means: an id, an address, a number, a token or an external id.

Ids follow from names (notify.domain.records.ids) and names are followed by links, both as the bridge does
it, so nothing is searched: each way to read the text is one id, looked up by its key.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from notify.databases import queries
from notify.domain.records import ids
from notify.domain.records.aliases import resolve
from notify.domain.records.links import Named, ParentKey, gather
from notify.domain.records.update import TOKEN, USER
from notify.operations.stored_links import links_now

_QUERIES: Final = queries.read(Path(__file__).with_name("sql") / "record.sql")
_EXTERNAL_ID: Final = "external_id"
_EMAIL: Final = "email"
_SMS: Final = "sms"
_PUSH: Final = "push"


@dataclass(frozen=True, slots=True)
class Found:
    """A record that the text stands for. `how`: as what it was read. `kind` is None if there is no row."""

    record: UUID
    how: str
    kind: str | None
    deleted: bool


@dataclass(frozen=True, slots=True)
class _Meaning:
    """A way to read the text: the id that it gives, and for a token's alias the record that the token
    stands for by itself."""

    how: str
    id: str
    token: str | None = None


def find(app: UUID, text: str) -> list[Found]:
    """The records of the app that the text means, none or more: a text may be an address and an external
    id. A few queries by key: two for each step that links lead on. Raises Malformed for half a character."""
    meanings = list(_meanings(str(app), text))
    links = gather(links_now, _named(app, meanings))
    by_id: dict[str, str] = {}
    for meaning in meanings:
        is_itself = meaning.token is None and not ids.is_alias(meaning.id)
        meant = (
            meaning.id if is_itself else resolve(links, str(app), meaning.id, token=meaning.token)
        )
        by_id.setdefault(meant, meaning.how)
    known = rows("known", app=app, ids=list(by_id))
    order = list(by_id)
    known.sort(key=lambda row: order.index(row[0]))
    return [Found(UUID(id_), by_id[id_], kind, bool(deleted)) for id_, kind, deleted in known]


def _meanings(app: str, text: str) -> Iterable[_Meaning]:
    """The possible meanings of the text, the likeliest first."""
    bare = text.strip()
    with suppress(ValueError):
        yield _Meaning("id", str(UUID(bare)))
    if "@" in bare:
        yield from _addressed(app, "email address", _EMAIL, bare)
    if any(letter.isdigit() for letter in bare):
        yield from _addressed(app, "phone number", _SMS, bare)
    for name in dict.fromkeys((text, bare)):
        yield _Meaning("external id", ids.alias_id(app, USER, _EXTERNAL_ID, name))
    yield from _addressed(app, "push token", _PUSH, bare)


def _addressed(app: str, how: str, kind: str, token: str) -> Iterable[_Meaning]:
    """The record that has the token now, and the record whose id is made from it."""
    itself = ids.record_id(app, kind, token)
    for spelling in dict.fromkeys((ids.normalised(kind, token), token)):
        yield _Meaning(how, ids.alias_id(app, kind, TOKEN, spelling), itself)
    yield _Meaning(f"{how}, for which the record was created", itself)


def _named(app: UUID, meanings: Iterable[_Meaning]) -> Named:
    keys: set[ParentKey] = set()
    for meaning in meanings:
        keys.add((str(app), meaning.id))
        if meaning.token is not None:
            keys.add((str(app), meaning.token))
    return Named(keys, keys, set())


def rows(name: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """Runs a statement of sql/record.sql and returns its rows."""
    return queries.rows(_QUERIES[name], parameters)
