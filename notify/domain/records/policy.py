"""The policy that support staff set: which records to skip, and how many children a parent may have.

A policy is one version of an append-only history. `at` returns the rules in force at a moment. A tick
records version and moment, so that its decisions can be reproduced later.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from notify.domain.records.update import MERGED

#: How many children a parent may have by one label, if no limit is set for the app or for all apps.
LINK_LIMIT_DEFAULT: Final = 100
#: How many logins a user may have at a time. Each installation and each login after a logout is one; more
#: logins end the oldest ones.
MERGED_LIMIT_DEFAULT: Final = 1_000

SCOPE_ALL: Final = "all"
SCOPE_MIRRORED: Final = "mirrored"


@dataclass(frozen=True, slots=True)
class Skip:
    """A rule that drops the writes to one record. `expires_at` is in milliseconds; None: never."""

    rule: int
    scope: str = SCOPE_ALL
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Limit:
    """How many children a parent may have by a label."""

    children: int
    expires_at: int | None = None


@dataclass(frozen=True, slots=True)
class Policy:
    """One version: skips by (app, record), and limits by (app, label), where app None means all apps."""

    version: int = 0
    skips: Mapping[tuple[str, str], Skip] = field(default_factory=dict)
    limits: Mapping[tuple[str | None, str], Limit] = field(default_factory=dict)

    def at(self, now: int) -> "Policy":
        """The policy without the rules that have expired at `now` (in milliseconds)."""
        return Policy(
            self.version,
            {key: skip for key, skip in self.skips.items() if _alive(skip.expires_at, now)},
            {key: limit for key, limit in self.limits.items() if _alive(limit.expires_at, now)},
        )

    def limit(self, app: str, label: str) -> int:
        """How many children a parent of `app` may have by `label`."""
        limit = self.limits.get((app, label)) or self.limits.get((None, label))
        return limit_default(label) if limit is None else limit.children


def limit_default(label: str) -> int:
    """The built-in limit of a label, which holds if none is set for the app or for all apps."""
    return MERGED_LIMIT_DEFAULT if label == MERGED else LINK_LIMIT_DEFAULT


def _alive(expires_at: int | None, now: int) -> bool:
    return expires_at is None or now < expires_at
