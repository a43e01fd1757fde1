"""Decides updates one after the other, without a bridge, to test what names and links mean."""

from typing import Final

from notify.domain.records import links as linking
from notify.domain.records.aliases import resolve
from notify.domain.records.decide import Decision, decide
from notify.domain.records.links import Links
from notify.domain.records.policy import Policy
from notify.domain.records.update import TOKEN, USER, Update

APP: Final = "00000000-0000-0000-0000-0000000000a0"
ANN, BOB = (f"00000000-0000-0000-0000-0000000000b{n}" for n in range(2))
DEVICE, OTHER_DEVICE = (f"00000000-0000-0000-0000-0000000000d{n}" for n in range(2))
NO_POLICY: Final = Policy()


def user(record: str, **names: str | None) -> Update:
    return Update(APP, record, 1, "m", kind=USER, aliases=names)


def device(record: str, token: str | None = None, *, owner: str | None = None) -> Update:
    return Update(
        APP,
        record,
        1,
        "m",
        kind="push",
        aliases={TOKEN: token} if token else {},
        links={USER: owner} if owner else {},
    )


class Serial:
    """Decides one update after the other, each with no more than what it must know."""

    def __init__(self) -> None:
        self.links = Links()

    def take(self, message: Update, policy: Policy = NO_POLICY) -> Decision:
        self.update = message
        known = linking.gather(self._read, linking.named([message]))
        decision, changes = decide(message, known, policy)
        self.links.put(changes)
        return decision

    def _read(self, children: set[linking.ParentKey], parents: set[linking.ParentKey]) -> Links:
        found = {key: it for key, it in self.links.parents.items() if key[:2] in children}
        asked = parents | {(key[0], it[0]) for key, it in found.items()}
        return Links(
            found,
            {key: gen for key, gen in self.links.generations.items() if key in asked},
            {key: n for key, n in self.links.counts.items() if key[:2] in asked},
        )

    def meant(self, record: str) -> str:
        return resolve(self.links, APP, record)

    def count(self, record: str, label: str) -> int:
        return self.links.count(APP, record, label)
