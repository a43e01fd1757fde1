"""What support staff decided: which records to skip, and how many children a parent may have.

A policy is a version of append-only history. `at` gives what is in force at a moment; the tick
records version and moment, so that anyone can replay a decision.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from notify.domain.update import MERGED

#: Children of one parent by one label, where neither app nor default says otherwise.
LINK_LIMIT_DEFAULT: Final = 100
#: Logins of one user at a time: each new installation, and each login after a logout. The oldest end.
MERGED_LIMIT_DEFAULT: Final = 1_000

SCOPE_ALL: Final = "all"
SCOPE_MIRRORED: Final = "mirrored"


@dataclass(frozen=True, slots=True)
class Skip:
    """A rule to drop writes to one record; `expires_at` is in milliseconds, None is never."""

    rule: int
    scope: str = SCOPE_ALL
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """The most children that count for one parent and label."""

    children: int
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """One version. Skips by (app, record); limits by (app, label), the app None for all apps."""

    version: int = 0
    skips: Mapping[tuple[str, str], Skip] = field(default_factory=dict)
    limits: Mapping[tuple[str | None, str], Limit] = field(default_factory=dict)

    def at(self, now: int) -> "Policy":
        """The rules that have not expired at `now` (milliseconds)."""
        return Policy(
            self.version,
            {key: skip for key, skip in self.skips.items() if _alive(skip.expires_at, now)},
            {key: limit for key, limit in self.limits.items() if _alive(limit.expires_at, now)},
        )

    def limit(self, app: str, label: str) -> int:
        """How many children by `label` may count for one parent of `app`."""
        limit = self.limits.get((app, label)) or self.limits.get((None, label))
        return limit_default(label) if limit is None else limit.children


def limit_default(label: str) -> int:
    """The limit of a label where neither app nor default says otherwise."""
    return MERGED_LIMIT_DEFAULT if label == MERGED else LINK_LIMIT_DEFAULT


def _alive(expires_at: int | None, now: int) -> bool:
    return expires_at is None or now < expires_at
