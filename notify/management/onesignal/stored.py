"""Removes from an import's updates what is already stored here, since that is newer.

Tags and properties need no such check: an import sets only those that are absent, in the log's order. The
rest is compared with what PostgreSQL has now. It misses what an SDK sends between this read and the
import's message; docs/moving.md says why that does not matter where the import comes first.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from msgspec.structs import replace

from notify.domain.errors import Malformed
from notify.domain.records import aliases, ids
from notify.domain.records import links as linking
from notify.domain.records.links import Links
from notify.domain.records.patch import ADD, IDENTIFIER, PUSH, Patch
from notify.domain.records.update import ALIAS, TOKEN, Update
from notify.management.onesignal.updates import IMPORTED_AT
from notify.models import Record
from notify.operations.stored_links import links_now


class StoredRecord(NamedTuple):
    """What is stored of a record."""

    has_identifier: bool = False
    is_imported: bool = False
    is_deleted: bool = False


_ABSENT: Final = StoredRecord()


class DeletedHere(Malformed):
    """The record was deleted on this server, so it is not imported again."""


@dataclass(frozen=True, slots=True)
class StoredState:
    """The stored links and records that some updates name."""

    links: Links
    records: Mapping[str, StoredRecord]

    def without(self, update: Update) -> Update | None:
        """The update without what is stored already; None if nothing is left. Raises DeletedHere."""
        record = aliases.target(self.links, update)
        present = self.records.get(record, _ABSENT)
        if present.is_deleted:
            raise DeletedHere(f"{record}: {DeletedHere.__doc__}")
        ops, names = dict(update.patch.ops), dict(update.aliases)
        if present.is_imported:
            ops = {key: op for key, op in ops.items() if op[0] != ADD}
        if present.has_identifier or self._is_anothers(update, record):
            ops.pop(IDENTIFIER, None)
            names = {label: name for label, name in names.items() if label != TOKEN}
        links = {
            label: parent
            for label, parent in update.links.items()
            if self.links.parent(update.app, record, label) is None
            if not self._is_deleted(update.app, parent)
        }
        if record in self.records and not (ops or links or names):
            return None
        return replace(update, patch=Patch(False, ops), links=links, aliases=names)

    def _is_anothers(self, update: Update, record: str) -> bool:
        """Whether another device has the token: this one installed the app anew and came here first."""
        token = update.aliases.get(TOKEN)
        if token is None or update.kind != PUSH:
            return False
        by_itself = ids.record_id(update.app, PUSH, token)
        owner = self.links.parent(update.app, ids.alias_id(update.app, PUSH, TOKEN, token), ALIAS)
        if owner is None and self.records.get(by_itself, _ABSENT).has_identifier:
            owner = by_itself
        return owner not in (None, record)

    def _is_deleted(self, app: str, parent: str | None) -> bool:
        if parent is None:
            return False
        return self.records.get(aliases.resolve(self.links, app, parent), _ABSENT).is_deleted


def read(updates: Collection[Update]) -> StoredState:
    """Reads what these updates, all of one app, name. Raises django.db.Error."""
    links = linking.gather(links_now, linking.named(updates))
    return StoredState(links, _records(updates, set(_ids(updates, links))))


def _ids(updates: Iterable[Update], links: Links) -> Iterable[str]:
    for update in updates:
        yield aliases.target(links, update)
        for parent in update.links.values():
            if parent is not None:
                yield aliases.resolve(links, update.app, parent)
        token = update.aliases.get(TOKEN)
        if token is not None and update.kind == PUSH:
            yield ids.record_id(update.app, PUSH, token)


def _records(updates: Collection[Update], wanted: Collection[str]) -> dict[str, StoredRecord]:
    apps = {update.app for update in updates}
    rows = Record.objects.filter(app__in=apps, id__in=wanted).values_list(
        "id", "identifier", "deleted", f"properties__{IMPORTED_AT}"
    )
    return {
        str(record): StoredRecord(identifier is not None, imported_at is not None, deleted)
        for record, identifier, deleted, imported_at in rows
    }
