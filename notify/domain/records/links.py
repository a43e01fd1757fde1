"""The links between records, and from aliases to records, as of one offset of the log.

Each parent has a number, its generation, and each link stores the generation in which it was made. A
link counts only while the two are the same. So raising the parent's generation by one detaches all its
children at once, whether there are three or 4.8 million.
"""

from collections import ChainMap
from collections.abc import Callable, Iterable, Iterator, MutableMapping, Set
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from notify.domain.records import ids
from notify.domain.records.update import (
    ALIAS,
    LINK_LABELS,
    MERGED,
    TOKEN,
    USER,
    Names,
    Unreadable,
    Update,
    is_plain,
    names_in,
)


class Linked(NamedTuple):
    """A change: the child's link by this label is now to `parent`, made in `generation`; None: no link."""

    app: str
    child: str
    label: str
    parent: str | None
    generation: int


class Counted(NamedTuple):
    """A change: the parent has `by` more children by this label, in this generation."""

    app: str
    parent: str
    label: str
    generation: int
    by: int


class Detached(NamedTuple):
    """A change: the parent has this new generation, in which it has no children."""

    app: str
    parent: str
    generation: int


Change = Linked | Counted | Detached

ChildKey = tuple[str, str, str]  # app, child, label
ParentKey = tuple[str, str]  # app, parent
CountKey = tuple[str, str, str, int]  # app, parent, label, generation

#: Links that a look-up follows, beside those from a record to its aliases (`bearing`), and where owners
#: must be known those of subscriptions to their users. An alias may lead to such a subscription.
_FOLLOWED: Final = (ALIAS, MERGED)
_BEARING: Final = "is:"


@dataclass(slots=True)
class Links:
    """Links, generations and counts of the records that a chunk of updates names.

    A record that is absent has no link, generation 0 and no children. `put` changes this object in place
    and notes in the `new_*` sets what the tick has to write.
    """

    parents: MutableMapping[ChildKey, tuple[str, int]] = field(default_factory=dict)
    generations: MutableMapping[ParentKey, int] = field(default_factory=dict)
    counts: MutableMapping[CountKey, int] = field(default_factory=dict)
    new_parents: set[ChildKey] = field(default_factory=set)
    new_generations: set[ParentKey] = field(default_factory=set)
    new_counts: set[CountKey] = field(default_factory=set)

    def parent(self, app: str, child: str, label: str) -> str | None:
        """The child's parent by this label; None if it has no link, or one of an earlier generation."""
        link = self.parents.get((app, child, label))
        if link is None or link[1] != self.generation(app, link[0]):
            return None
        return link[0]

    def generation(self, app: str, parent: str) -> int:
        """The present generation of `parent`; only links with this generation count."""
        return self.generations.get((app, parent), 0)

    def count(self, app: str, parent: str, label: str) -> int:
        """How many children `parent` has by `label`, in its present generation."""
        return self.counts.get((app, parent, label, self.generation(app, parent)), 0)

    def shared(self) -> "Links":
        """The same links, which notes its own changes: what is put here is seen there, but not noted."""
        return Links(self.parents, self.generations, self.counts)

    def put(self, changes: Iterable[Change]) -> None:
        """Applies the changes that `decide` returned, in order."""
        for change in changes:
            if isinstance(change, Linked):
                key = (change.app, change.child, change.label)
                self.new_parents.add(key)
                if change.parent is None:
                    self.parents.pop(key, None)
                else:
                    self.parents[key] = (change.parent, change.generation)
            elif isinstance(change, Counted):
                count = (change.app, change.parent, change.label, change.generation)
                self.counts[count] = self.counts.get(count, 0) + change.by
                self.new_counts.add(count)
            else:
                self.generations[change.app, change.parent] = change.generation
                self.new_generations.add((change.app, change.parent))


class Trial(Links):
    """A copy of `links` to try changes on: `changes` collects them, and `links` itself stays unchanged."""

    def __init__(self, links: Links) -> None:
        super().__init__(
            ChainMap({}, links.parents), ChainMap({}, links.generations), ChainMap({}, links.counts)
        )
        self.changes: list[Change] = []

    def put(self, changes: Iterable[Change]) -> None:
        """Applies the changes to this copy and appends them to `changes`."""
        for change in changes:
            self.changes.append(change)
            if isinstance(change, Linked) and change.parent is None:
                # No generation is negative: this link counts for nobody, and hides the one below.
                self.parents[change.app, change.child, change.label] = (change.child, -1)
            else:
                super().put((change,))


class Named(NamedTuple):
    """What to load before a chunk can be decided, as sets of (app, record).

    `children`: records whose own links are needed. `parents`: those whose generation and counts are
    needed. `owned`: those whose user is needed too, because it is updated or loses a subscription.
    `logins`: those that lead to a user as which another user may log in.
    """

    children: set[ParentKey]
    parents: set[ParentKey]
    owned: set[ParentKey]
    logins: Set[ParentKey] = frozenset()


def named(updates: Iterable[Update | Unreadable]) -> Named:
    """What to load to decide `updates`, as far as the updates name it. `gather` finds the rest."""
    children: set[ParentKey] = set()
    parents: set[ParentKey] = set()
    owned: set[ParentKey] = set()
    logins: set[ParentKey] = set()
    for update in updates:
        if isinstance(update, Unreadable):
            continue
        app, record = update.app, update.record
        children.add((app, record))
        if is_plain(update):
            continue
        if update.op != "update" or update.owner or ids.is_alias(record):
            parents.add((app, record))
        if update.owner or update.links.get(USER) is not None:
            owned.add((app, record))
        for parent in update.links.values():
            if parent is not None:
                parents.add((app, parent))
                children.add((app, parent))
        if names := names_in(update):
            also = {(app, record), *((app, each) for each in _named_by(app, names))}
            children |= also
            parents |= also
            if update.kind == USER and len(also) > 1:
                logins |= also
    return Named(children, parents, owned, logins)


def _named_by(app: str, names: Names) -> Iterable[str]:
    """The ids of an update's aliases, and of the subscription whose id is made from its token."""
    for label, name in names.aliases.items():
        if name is not None:
            yield ids.alias_id(app, names.kind, label, name)
            if names.kind != USER and label == TOKEN:
                yield ids.record_id(app, names.kind, name)


def gather(load: Callable[[set[ParentKey], set[ParentKey]], Links], names: Named) -> Links:
    """Loads all links that are needed to decide the updates that name `names`.

    `load(children, parents)` returns the links of `children`, and the generations and counts of their
    parents and of `parents`. It is called again for the records that aliases lead to; without aliases
    it is called once.
    """
    found = load(names.children, names.parents)
    seen = set(names.children)
    while more := _led_to(found, seen, names):
        seen |= more
        also = load(more, more)
        found.parents.update(also.parents)
        found.generations.update(also.generations)
        found.counts.update(also.counts)
    return found


def _led_to(found: Links, seen: set[ParentKey], names: Named) -> set[ParentKey]:
    """The records that those in `seen` lead to and that are not in it yet."""
    followed = (*_FOLLOWED, USER) if names.owned else _FOLLOWED
    to = {
        (app, parent)
        for (app, _, label), (parent, _) in found.parents.items()
        if label in followed or label.startswith(_BEARING)
    }
    for app, record in seen:
        if ids.is_alias(record) or (app, record) in names.owned:
            to.add((app, ids.named_user(app, record, found.generation(app, record))))
    for app, user in _logged_in_as(found, names.logins):
        to.add((app, ids.logins_id(app, user, found.generation(app, user))))
    return to - seen


def _logged_in_as(found: Links, names: Set[ParentKey]) -> Iterator[ParentKey]:
    """The users that these lead to. Each may get an alias in this chunk for which another user asks later
    in the chunk, to log in."""
    for app, record in names:
        user = record
        if ids.is_alias(record):
            user = found.parent(app, record, ALIAS) or ids.named_user(
                app, record, found.generation(app, record)
            )
        yield app, user
        if (merged := found.parent(app, user, MERGED)) is not None:
            yield app, merged


def bearing(links: Links, app: str, record: str, label: str) -> str:
    """The label of the record's link to its own alias by `label`. It contains the record's generation, so
    that a deleted record, whose generation went up, has no aliases."""
    return f"{_BEARING}{links.generation(app, record)}:{label}"


def leave(links: Links, app: str, child: str, label: str) -> list[Change]:
    """The changes that remove the link of `child` by `label`, if it has one."""
    if (app, child, label) not in links.parents:
        return []
    changes: list[Change] = [Linked(app, child, label, None, 0)]
    parent = links.parent(app, child, label)
    if parent is not None:
        changes.append(Counted(app, parent, label, links.generation(app, parent), -1))
    return changes


def join(links: Links, app: str, child: str, label: str, parent: str) -> list[Change]:
    """The changes that link `child` to `parent`, which must not be its parent by `label` already."""
    generation = links.generation(app, parent)
    return [
        *leave(links, app, child, label),
        Linked(app, child, label, parent, generation),
        Counted(app, parent, label, generation, 1),
    ]


def detach(links: Links, app: str, parent: str) -> list[Change]:
    """The change that detaches all children from `parent`: always one, whatever their number."""
    return [Detached(app, parent, links.generation(app, parent) + 1)]


def leave_all(links: Links, app: str, child: str) -> list[Change]:
    """The changes that remove all links of `child`."""
    return [change for label in LINK_LABELS for change in leave(links, app, child, label)]
