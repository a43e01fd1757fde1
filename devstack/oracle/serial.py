"""The meaning of the topic, one message after the other: docs/protocol.md, "Meaning".

No chunks, lanes, patches that merge, generations that spare work, or recorded decisions. A message is
read, what it does is done to plain dicts, and the next one is read.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from uuid import UUID
from zlib import crc32

from devstack.oracle import wire
from devstack.oracle.state import Dead, Dropped, Row, State

LABELS: Final = ("email", "sms", "user")
MIRROR_LABELS: Final = ("email", "sms")
MIRRORED_PROPERTIES: Final = ("language", "timezone", "timezone_id", "country", "last_active")

Message = Mapping[str, Any]
Place = tuple[str, str, str]  # app, parent, label
Write = tuple[int, str, str]  # offset, app, record


class Skip(NamedTuple):
    """A skip rule: `scope` is "all", or "mirrored" for writes mirrored to the record only."""

    rule: int
    scope: str


class Rules(NamedTuple):
    """The policy in force: skip rules by (app, record), limits by (app or None for all, label)."""

    skips: Mapping[tuple[str, str], Skip]
    limits: Mapping[tuple[str | None, str], int]

    def limit(self, app: str, label: str) -> int:
        """The most children of a parent by the label: the app's own, else everyone's, else 100."""
        return self.limits.get((app, label), self.limits.get((None, label), 100))


class Serial:
    """One partition, interpreted in log order. `rules_at` gives the policy for an offset.

    `refused` are writes that must not be done but dead-lettered, and why: of whose it is not known
    from the log that PostgreSQL, or the worker, cannot do them.
    """

    def __init__(
        self,
        *,
        partition: int,
        partitions: int,
        rules_at: Callable[[int], Rules],
        refused: Mapping[Write, str] = MappingProxyType({}),
    ) -> None:
        self._partition = partition
        self._partitions = partitions
        self._rules_at = rules_at
        self._refused = refused
        self._taken = (-1, b"")
        self._state = State()
        self._children: defaultdict[Place, set[str]] = defaultdict(set)

    def take(self, offset: int, value: bytes | None) -> None:
        """Do what the next message says."""
        message, body = wire.read(value), value or b""
        self._taken = (offset, body)
        if message is None:
            self._state.dead[Dead(self._partition, offset, "malformed", None, None, body)] += 1
            return
        app, record, op, only = _head(message)
        if crc32(UUID(app).bytes) % self._partitions != self._partition:
            self._state.dead[Dead(self._partition, offset, "misrouted", app, record, body)] += 1
        elif op == "update":
            self._update(message, self._rules_at(offset))
        elif op == "delete":
            self._delete(message)
        elif not only:
            self._detach(app, record)

    def end(self) -> State:
        """What the messages came to."""
        for (app, parent, label), children in self._children.items():
            generation = self._state.generations.get((app, parent), 0)
            self._state.counts[app, parent, label, generation] = len(children)
        return self._state

    def _update(self, message: Message, rules: Rules) -> None:
        app, record, _, only = _head(message)
        if not only:
            self._link(message, rules)
        skip = rules.skips.get((app, record))
        if skip is not None and skip.scope == "all":
            self._drop("skip_rule", app, record, skip.rule)
            return
        self._write_own(message)
        if not only:
            self._mirror(message, rules)

    def _link(self, message: Message, rules: Rules) -> None:
        app, child, _, _ = _head(message)
        for label, parent in message.get("links", {}).items():
            if parent is None:
                self._leave(app, child, label)
            elif parent == self._state.links.get((app, child, label)):
                pass
            elif len(self._children[app, parent, label]) >= rules.limit(app, label):
                self._drop("link_limit", app, parent)
            else:
                self._leave(app, child, label)
                self._state.links[app, child, label] = parent
                self._children[app, parent, label].add(child)

    def _leave(self, app: str, child: str, label: str) -> None:
        parent = self._state.links.pop((app, child, label), None)
        if parent is not None:
            self._children[app, parent, label].remove(child)

    def _write_own(self, message: Message) -> None:
        app, record, _, _ = _head(message)
        if self._is_refused(app, record):
            return
        row = self._row(app, record, message["at"])
        _change(row, message.get("patch", {}))
        row["kind"] = message.get("kind") or row["kind"]
        row["deleted"] = False

    def _mirror(self, message: Message, rules: Rules) -> None:
        app, child, _, _ = _head(message)
        mirrored = set()
        for label in MIRROR_LABELS:
            parent = self._state.links.get((app, child, label))
            if parent is None or parent in mirrored:
                continue
            if (app, parent) in rules.skips:
                self._drop("skip_rule", app, parent, rules.skips[app, parent].rule)
            elif len(self._children[app, parent, label]) > rules.limit(app, label):
                self._drop("mirror_limit", app, parent)
            else:
                mirrored.add(parent)
                if self._is_refused(app, parent):
                    continue
                row = self._row(app, parent, message["at"])
                _change(row, _mirrored(message.get("patch", {})))
                row["mirrored_updates"] += 1

    def _delete(self, message: Message) -> None:
        app, record, _, only = _head(message)
        if not only:
            for label in LABELS:
                self._leave(app, record, label)
            self._detach(app, record)
        if self._is_refused(app, record):
            return
        tombstone = {"kind": message.get("kind"), "deleted": True}
        self._state.records[app, record] = _new_row(message["at"]) | tombstone

    def _detach(self, app: str, parent: str) -> None:
        """All children leave, at once: how many they were stays written under the old generation."""
        generation = self._state.generations.get((app, parent), 0)
        for label in LABELS:
            children = self._children.pop((app, parent, label), set())
            self._state.counts[app, parent, label, generation] = len(children)
            for child in children:
                del self._state.links[app, child, label]
        self._state.generations[app, parent] = generation + 1

    def _drop(self, reason: str, app: str, record: str, rule: int | None = None) -> None:
        self._state.dropped[Dropped(app, record, reason, rule)] += 1
        if rule is not None:
            self._state.hits[rule] += 1

    def _is_refused(self, app: str, record: str) -> bool:
        """Whether the write is one that is dead-lettered, and then lists it."""
        offset, body = self._taken
        why = self._refused.get((offset, app, record))
        if why is None:
            return False
        self._state.dead[Dead(self._partition, offset, why, app, record, body)] += 1
        return True

    def _row(self, app: str, record: str, at: int) -> Row:
        """The record's row, new if need be, touched at `at`."""
        row = self._state.records.setdefault((app, record), _new_row(at))
        row["updated_at"] = at
        return row


def _head(message: Message) -> tuple[str, str, str, bool]:
    return message["app"], message["record"], message["op"], message.get("only", False)


def _new_row(at: int) -> Row:
    counters = ("session_count", "session_time_s", "purchase_count", "spent_micros")
    return {
        "kind": None,
        "identifier": None,
        "tags": {},
        "properties": {},
        **dict.fromkeys((*counters, "mirrored_updates"), 0),
        "created_at": at,
        "updated_at": at,
        "deleted": False,
    }


def _change(row: Row, patch: Message) -> None:
    """Do the parts of a patch, `=` set, `-` remove, `?` set if absent, `+` add, to a row."""
    for key, value in patch.get("=", {}).items():
        holder, name = _find(row, key)
        holder[name] = value
    for key in patch.get("-", []):
        holder, name = _find(row, key)
        if holder is row:
            row[name] = None
        else:
            holder.pop(name, None)
    for key, value in patch.get("?", {}).items():
        holder, name = _find(row, key)
        holder.setdefault(name, value)
    for key, number in patch.get("+", {}).items():
        row[key] += number


def _find(row: Row, key: str) -> tuple[dict[str, Any], str]:
    """`tags.NAME` and `properties.NAME` are in a map of the row, anything else is a column."""
    family, dot, name = key.partition(".")
    return (row[family], name) if dot else (row, key)


def _mirrored(patch: Message) -> Message:
    """What of a patch goes to the parents."""
    return {
        op: [key for key in part if _is_mirrored(key)]
        if op == "-"
        else {key: value for key, value in part.items() if _is_mirrored(key)}
        for op, part in patch.items()
    }


def _is_mirrored(key: str) -> bool:
    family, _, name = key.partition(".")
    return family == "tags" or (family == "properties" and name in MIRRORED_PROPERTIES)
