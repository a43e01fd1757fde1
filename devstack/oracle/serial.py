"""Applies a topic's messages one after the other, to plain dicts: docs/protocol.md, "Meaning".

It has no chunks, lanes, merged patches or recorded decisions.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from uuid import UUID, uuid5
from zlib import crc32

from devstack.oracle import wire
from devstack.oracle.state import Dead, Dropped, Row, State

LINK_LABELS: Final = ("email", "sms", "user")
LABELS: Final = (*LINK_LABELS, "alias", "merged")
MIRROR_LABELS: Final = ("email", "sms")
ADDRESSES: Final = ("email", "sms")
COUNTERS: Final = (*wire.COUNTERS, "mirrored_updates")
MIRRORED_PROPERTIES: Final = ("language", "timezone", "timezone_id", "country", "last_active")

Message = Mapping[str, Any]
Place = tuple[str, str, str]  # app, parent, label
Write = tuple[int, str, str]  # offset, app, record


class Skip(NamedTuple):
    """A skip rule. `scope` is "all"; or "mirrored": only writes that are mirrored to the record."""

    rule: int
    scope: str


class Rules(NamedTuple):
    """The policy in force at the time `at`, in milliseconds: skip rules by (app, record), and limits by
    (app, or None for all apps; label)."""

    skips: Mapping[tuple[str, str], Skip]
    limits: Mapping[tuple[str | None, str], int]
    at: int = 0

    def limit(self, app: str, label: str) -> int:
        """The maximum number of children of a parent for a label: the app's own limit, else that of all apps,
        else 100; for `merged`, the users that logged in as one, 1,000."""
        default = 1_000 if label == "merged" else 100
        return self.limits.get((app, label), self.limits.get((None, label), default))


class Serial:
    """Interprets one partition in log order. `rules_at` returns the policy for an offset.

    It remembers a client's message id for `seen_ms`. `refused` are writes that must be dead-lettered, with
    the reason: the log does not show that PostgreSQL or the worker refuses them.
    """

    def __init__(
        self,
        *,
        partition: int,
        partitions: int,
        rules_at: Callable[[int], Rules],
        refused: Mapping[Write, str] = MappingProxyType({}),
        seen_ms: int = 3_600_000,
    ) -> None:
        self._seen_ms = seen_ms
        self._seen: dict[tuple[str, str], int] = {}
        self._partition = partition
        self._partitions = partitions
        self._rules_at = rules_at
        self._refused = refused
        self._taken = (-1, b"")
        self._state = State()
        self._children: defaultdict[Place, set[str]] = defaultdict(set)
        #: For each record that logged in: the counter of that user's logins, and its generation at the time.
        self._logins: dict[tuple[str, str], tuple[str, int]] = {}

    def take(self, offset: int, value: bytes | None) -> None:
        """Applies the next message."""
        message, body = wire.read(value), value or b""
        self._taken = (offset, body)
        if message is None:
            kept = body[: 32 * 1024]
            self._state.dead[Dead(self._partition, offset, "malformed", None, None, kept)] += 1
            return
        app, record, op, only = _head(message)
        if crc32(UUID(app).bytes) % self._partitions != self._partition:
            self._state.dead[Dead(self._partition, offset, "misrouted", app, record, body)] += 1
        elif op == "update":
            self._update(message, self._rules_at(offset))
        elif op == "delete":
            self._delete(message)
        elif not only:
            self._detach(app, self._meant(message))

    def end(self) -> State:
        """The state after all messages."""
        for (app, parent, label), children in self._children.items():
            generation = self._state.generations.get((app, parent), 0)
            self._state.counts[app, parent, label, generation] = len(children)
        return self._state

    def _update(self, message: Message, rules: Rules) -> None:
        app, record, _, only = _head(message)
        names = message.get("aliases", {})
        if not only:
            record = self._meant(message)
            record, names = self._name(message, record, rules)
            self._link(message, record, rules)
        skip = rules.skips.get((app, record))
        if skip is not None and skip.scope == "all":
            self._drop("skip_rule", app, record, skip.rule)
            return
        is_new = self._count_once(message, rules.at)
        self._write_own(message, record, names, is_new=is_new)
        if not only:
            self._mirror(message, record, rules)

    # -- names -------------------------------------------------------------------------------------

    def _meant(self, message: Message) -> str:
        """The record that the message updates."""
        app, record, _, _ = _head(message)
        if message.get("owner"):
            owner = self._state.links.get((app, record, "user"))
            if owner is not None:
                return self._named(app, owner)
            generation = self._state.generations.get((app, record), 0)
            owner = self._named(app, _unnamed_user(app, record, generation))
            if owner != record:
                self._join(app, record, "user", owner)
            return owner
        kind, names = _names(message)
        token = names.get("token")
        if (
            kind in ADDRESSES
            and message.get("kind")
            and token is not None
            and record in (_home(app, kind, token), _alias(app, kind, "token", token))
        ):
            return self._named(app, self._holder(app, kind, token))
        if _is_alias(record) and kind != "user" and token is not None:
            owner = self._state.links.get((app, record, "alias"))
            if owner is None:
                return _home(app, kind, token)
        return self._named(app, record)

    def _holder(self, app: str, kind: str, address: str) -> str:
        """The record that has the address: the one that took it; else the address's own record, unless that
        has another address or lost this one; else a new record."""
        alias, home = _alias(app, kind, "token", address), _home(app, kind, address)
        owner = self._state.links.get((app, alias, "alias"))
        if owner is None and self._bears(app, home, "token") is not None:
            return _unnamed_user(app, alias, self._state.generations.get((app, alias), 0))
        return owner or home

    def _named(self, app: str, record: str) -> str:
        if _is_alias(record):
            owner = self._state.links.get((app, record, "alias"))
            generation = self._state.generations.get((app, record), 0)
            record = owner or _unnamed_user(app, record, generation)
        return self._is(app, record)

    def _is(self, app: str, record: str) -> str:
        """The user that the record is logged in as, or the record itself."""
        user = self._state.links.get((app, record, "merged"), record)
        if (app, record) in self._logins:
            counter, then = self._logins[app, record]
            if then < self._state.generations.get((app, counter), 0) - 1:
                return record
        return user

    def _name(
        self, message: Message, record: str, rules: Rules
    ) -> tuple[str, dict[str, str | None]]:
        """Assigns and removes aliases. Returns the record to update, and the aliases that it got."""
        app = message["app"]
        kind, names = _names(message)
        wanted = dict(names)
        if kind == "user":
            record = self._log_in(app, record, wanted, rules)
        for label, name in list(wanted.items()):
            if name is None:
                self._nameless(app, record, label)
                if kind in ADDRESSES:
                    self._without_address(app, record)
                continue
            alias = _alias(app, kind, label, name)
            owner = self._state.links.get((app, alias, "alias"))
            if owner == record:
                continue
            if kind == "user":
                others = self._children[app, record, "alias"] - {self._bears(app, record, label)}
                if owner is not None:
                    self._drop("alias_taken", app, record)
                    del wanted[label]
                    continue
                if len(others) >= rules.limit(app, "alias"):
                    self._drop("alias_limit", app, record)
                    del wanted[label]
                    continue
            self._nameless(app, record, label)
            if owner is not None and kind != "user":
                self._nameless(app, owner, label)
            if kind != "user" and self._keeps_home(message, kind, record, name, owner):
                continue
            self._leave(app, alias, "alias")
            self._join(app, alias, "alias", record)
            self._state.links[app, record, self._bearing(app, record, label)] = alias
        return record, wanted

    def _keeps_home(
        self, message: Message, kind: str | None, record: str, token: str, owner: str | None
    ) -> bool:
        """Takes a token from the records that had it. Returns whether the token is already the record's own,
        so that no alias is needed."""
        app, home = message["app"], _home(message["app"], kind, token)
        if kind == "push":
            if owner is not None:
                self._leave(app, owner, "user")
            elif home != record and not self._bears(app, home, "token"):
                self._leave(app, home, "user")
        for loser in {owner or home, home} - {record} if kind in ADDRESSES else ():
            if self._bears(app, loser, "token") is None:
                self._without_address(app, loser)
        return record == home and message["record"] != _alias(app, kind, "token", token)

    def _log_in(self, app: str, record: str, wanted: Mapping[str, str | None], rules: Rules) -> str:
        """Logs a user without a name in as the user that has one of its new names. Returns the user."""
        if self._children[app, record, "alias"] or self._children[app, record, "merged"]:
            return record
        for label, name in wanted.items():
            if name is None:
                continue
            owner = self._state.links.get((app, _alias(app, "user", label, name), "alias"))
            if owner is None or owner == record:
                continue
            limit = rules.limit(app, "merged")
            if limit == 0:
                return record
            self._leave(app, record, "merged")
            self._join(app, record, "merged", owner)
            self._count_login(app, record, owner, limit)
            return owner
        return record

    def _count_login(self, app: str, record: str, owner: str, limit: int) -> None:
        """Counts a login. At half of the limit a new generation begins; logins two generations ago end."""
        counter = _logins(app, owner, self._state.generations.get((app, owner), 0))
        self._leave(app, record, "login")
        if len(self._children[app, counter, "login"]) >= max(1, limit // 2):
            self._next_logins(app, counter)
            if limit == 1:
                self._next_logins(app, counter)
        self._join(app, record, "login", counter)
        self._logins[app, record] = counter, self._state.generations.get((app, counter), 0)

    def _next_logins(self, app: str, counter: str) -> None:
        generation = self._state.generations.get((app, counter), 0)
        children = self._children.pop((app, counter, "login"), set())
        self._state.counts[app, counter, "login", generation] = len(children)
        for child in children:
            del self._state.links[app, child, "login"]
        self._state.generations[app, counter] = generation + 1

    def _bearing(self, app: str, record: str, label: str) -> str:
        return f"is:{self._state.generations.get((app, record), 0)}:{label}"

    def _bears(self, app: str, record: str, label: str) -> str | None:
        return self._state.links.get((app, record, self._bearing(app, record, label)))

    def _nameless(self, app: str, record: str, label: str) -> None:
        """Takes the alias from the record. Nobody has it then, and the next to have it is a new record."""
        alias = self._bears(app, record, label)
        if alias == record:
            del self._state.links[app, record, self._bearing(app, record, label)]
        elif alias is not None:
            self._leave(app, alias, "alias")
            self._detach(app, alias)

    def _without_address(self, app: str, record: str) -> None:
        """Marks that the record lost its address, by a link to itself."""
        self._state.links[app, record, self._bearing(app, record, "token")] = record

    def _count_once(self, message: Message, at: int) -> bool:
        """Whether to add the message's counters: not if its client has sent the message before."""
        if not message.get("once") or not message.get("patch", {}).get("+"):
            return True
        key = (message["app"], message["message_id"])
        if key in self._seen and at - self._seen[key] < self._seen_ms:
            return False
        self._seen[key] = at
        return True

    # -- links and writes ----------------------------------------------------------------------------

    def _join(self, app: str, child: str, label: str, parent: str) -> None:
        self._state.links[app, child, label] = parent
        self._children[app, parent, label].add(child)

    def _link(self, message: Message, child: str, rules: Rules) -> None:
        app = message["app"]
        for label, named in message.get("links", {}).items():
            parent = None if named is None else self._named(app, named)
            if parent is None:
                self._leave(app, child, label)
            elif parent in (child, self._belongs(app, child, label)):
                pass
            else:
                if label == "user":
                    self._log_out(app, child)
                self._leave(app, child, label)
                if len(self._children[app, parent, label]) >= rules.limit(app, label):
                    self._drop("link_limit", app, parent)
                else:
                    self._join(app, child, label, parent)

    def _belongs(self, app: str, child: str, label: str) -> str | None:
        parent = self._state.links.get((app, child, label))
        if parent is None or label != "user":
            return parent
        return self._is(app, parent)

    def _log_out(self, app: str, subscription: str) -> None:
        """Ends the login of an anonymous user whose last subscription moves to another user."""
        before = self._state.links.get((app, subscription, "user"))
        if before is not None and self._children[app, before, "user"] == {subscription}:
            self._leave(app, before, "merged")
            self._leave(app, before, "login")
            self._logins.pop((app, before), None)

    def _leave(self, app: str, child: str, label: str) -> None:
        parent = self._state.links.pop((app, child, label), None)
        if parent is not None:
            self._children[app, parent, label].remove(child)

    def _write_own(
        self, message: Message, record: str, names: Mapping[str, str | None], *, is_new: bool
    ) -> None:
        app = message["app"]
        if self._is_refused(app, record):
            return
        row = self._row(app, record, message["at"])
        row["kind"] = row["kind"] or message.get("kind")
        patch = dict(message.get("patch", {}))
        if not is_new:
            del patch["+"]
        if message.get("kind") == "push" and row["kind"] != "push":
            patch = _without_identifier(patch)
        _change(row, patch)
        for label, name in names.items() if message.get("kind") == "user" else ():
            if name is None:
                row["properties"].pop(f"alias:{label}", None)
            else:
                row["properties"][f"alias:{label}"] = name
        row["deleted"] = False

    def _mirror(self, message: Message, child: str, rules: Rules) -> None:
        app = message["app"]
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
            record = self._meant(message)
            for label in LINK_LABELS:
                self._leave(app, record, label)
            self._detach(app, record)
        if self._is_refused(app, record):
            return
        tombstone = {"kind": message.get("kind"), "deleted": True}
        self._state.records[app, record] = _new_row(message["at"]) | tombstone

    def _detach(self, app: str, parent: str) -> None:
        """Removes all children of the parent. Their count stays stored under the old generation."""
        generation = self._state.generations.get((app, parent), 0)
        for label in LABELS:
            children = self._children.pop((app, parent, label), set())
            self._state.counts[app, parent, label, generation] = len(children)
            for child in children:
                del self._state.links[app, child, label]
        for key, alias in list(self._state.links.items()):
            if alias == parent and key[0] == app and key[2].startswith("is:"):
                del self._state.links[key]
        self._state.generations[app, parent] = generation + 1

    def _drop(self, reason: str, app: str, record: str, rule: int | None = None) -> None:
        self._state.dropped[Dropped(app, record, reason, rule)] += 1
        if rule is not None:
            self._state.hits[rule] += 1

    def _is_refused(self, app: str, record: str) -> bool:
        """Whether the write must be dead-lettered; if so, adds it to the dead letters."""
        offset, body = self._taken
        why = self._refused.get((offset, app, record))
        if why is None:
            return False
        self._state.dead[Dead(self._partition, offset, why, app, record, body)] += 1
        return True

    def _row(self, app: str, record: str, at: int) -> Row:
        """The record's row, with `updated_at` set. Creates the row if it is missing."""
        row = self._state.records.setdefault((app, record), _new_row(at))
        row["updated_at"] = at
        return row


def _head(message: Message) -> tuple[str, str, str, bool]:
    return message["app"], message["record"], message["op"], message.get("only", False)


def _names(message: Message) -> tuple[str | None, Mapping[str, str | None]]:
    """The kind of record, and the names in the message: its aliases, or the address that is its
    identifier."""
    kind, patch = message.get("kind"), message.get("patch", {})
    said = message.get("aliases")
    if said:
        return kind, said
    text = patch.get("=", {}).get("identifier", "")
    if text.strip() and kind in (None, *ADDRESSES) and message["record"][14] == "5":
        digits = [char for char in text.strip() if char not in " \t\u00a0-()."]
        is_number = "".join(digits).lstrip("+").isdecimal()
        kind = kind or ("email" if "@" in text else "sms" if is_number else None)
        return kind, {} if kind is None else {"token": text}
    return kind, {}


def _is_alias(record: str) -> bool:
    return UUID(record).int >> 76 & 0xF == 8


def _unnamed_user(app: str, record: str, generation: int) -> str:
    """The id of the user of an alias or subscription that has no user yet. UUID version 5 means that it can
    be computed from a name; from a random id comes an id of version 4."""
    made = str(uuid5(UUID(app), f"user:{record}:{generation}"))
    return made if record[14] in "58" else f"{made[:14]}4{made[15:]}"


def _logins(app: str, user: str, generation: int) -> str:
    """The id of the counter of a user's logins: UUID version 8, as for an alias."""
    digits = str(uuid5(UUID(app), f"logins:{user}:{generation}"))
    return f"{digits[:14]}8{digits[15:]}"


def _alias(app: str, kind: str | None, label: str, name: str) -> str:
    """The id of an alias: UUID version 8, otherwise with the bits of the version 5 of its text."""
    if kind in ADDRESSES:
        name = _spelled(kind, name)
    digits = str(uuid5(UUID(app), f"alias:{kind}:{len(label)}:{label}:{name}"))
    return f"{digits[:14]}8{digits[15:]}"


def _home(app: str, kind: str | None, token: str) -> str:
    """The id of the subscription that a token belongs to until another subscription takes it."""
    digits = str(uuid5(UUID(app), f"{kind}:{_spelled(kind, token)}"))
    return digits if kind in ADDRESSES else f"{digits[:14]}4{digits[15:]}"


def _spelled(kind: str | None, token: str) -> str:
    """The normalised form of a token."""
    if kind == "email":
        token = token.strip().lower()
    elif kind == "sms":
        token = "+" + "".join(char for char in token.strip() if char not in " \t\u00a0-().").lstrip(
            "+"
        )
    else:
        token = token.strip()
        with suppress(ValueError):
            token = str(UUID(token)) if len(token) == 36 else token
    return token


def _new_row(at: int) -> Row:
    return {
        "kind": None,
        "identifier": None,
        "tags": {},
        "properties": {},
        **dict.fromkeys(COUNTERS, 0),
        "created_at": at,
        "updated_at": at,
        "deleted": False,
    }


def _change(row: Row, patch: Message) -> None:
    """Applies a patch to a row: `=` sets, `-` removes, `?` sets if absent, `+` adds."""
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


def _without_identifier(patch: Message) -> dict[str, Any]:
    """The patch without changes of the identifier: a push token must not replace an address."""
    kept = dict(patch)
    if "=" in kept:
        kept["="] = {key: value for key, value in kept["="].items() if key != "identifier"}
    if "-" in kept:
        kept["-"] = [key for key in kept["-"] if key != "identifier"]
    return kept


def _find(row: Row, key: str) -> tuple[dict[str, Any], str]:
    """Where a key is stored: `tags.NAME` and `properties.NAME` in a map of the row, others in a column."""
    family, dot, name = key.partition(".")
    return (row[family], name) if dot else (row, key)


def _mirrored(patch: Message) -> Message:
    """The part of a patch that is mirrored to the parents."""
    return {
        op: [key for key in part if _is_mirrored(key)]
        if op == "-"
        else {key: value for key, value in part.items() if _is_mirrored(key)}
        for op, part in patch.items()
    }


def _is_mirrored(key: str) -> bool:
    family, _, name = key.partition(".")
    return family == "tags" or (family == "properties" and name in MIRRORED_PROPERTIES)
