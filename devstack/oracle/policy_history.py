"""The policy that each offset was decided under: the version and moment in `plan_log`.

A version is an edit of one key (a record's skip rule, an app's limit for a label). In force is a key's
newest edit up to the version, if it is not lifted and has not expired at the moment.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, TypeVar

from psycopg import Connection

from devstack.oracle.serial import Rules, Skip

# Moments are compared in milliseconds, rounded as the planner rounds them.
_SKIPS: Final = """
    SELECT version, app_id::text, record::text, rule, scope, active,
        (extract(epoch FROM expires_at) * 1000)::bigint
    FROM skip_rule ORDER BY version
"""
_LIMITS: Final = """
    SELECT version, app_id::text, label, children,
        (extract(epoch FROM expires_at) * 1000)::bigint
    FROM link_limit ORDER BY version
"""
_CHUNKS: Final = """
    SELECT first, next, policy_version, (extract(epoch FROM at) * 1000)::bigint
    FROM plan_log WHERE stream = %s ORDER BY first
"""

_Key = TypeVar("_Key")
_Rule = TypeVar("_Rule")


class NotPlanned(LookupError):
    """No chunk in plan_log holds the offset: it is not planned yet, or the log was tidied."""


class Chunk(NamedTuple):
    """Offsets first..next-1 were decided under the policy of `version` as of `at`."""

    first: int
    next: int
    version: int
    at: int


class Edit(NamedTuple):
    """A version: from then on `rule` is in force for `key`, or nothing where it is None."""

    version: int
    key: Any
    rule: Any
    expires_at: int | None


class PolicyHistory:
    """All versions, read once."""

    def __init__(self, skips: Iterable[Edit], limits: Iterable[Edit]) -> None:
        self._skips = list(skips)
        self._limits = list(limits)

    @classmethod
    def read(cls, connection: Connection[Any]) -> "PolicyHistory":
        """The versions in the database, oldest first."""
        return cls(
            (
                Edit(version, (app, record), Skip(rule, scope) if active else None, end)
                for version, app, record, rule, scope, active, end in connection.execute(_SKIPS)
            ),
            (
                Edit(version, (app, label), children, end)
                for version, app, label, children, end in connection.execute(_LIMITS)
            ),
        )

    def rules(self, version: int, at: int) -> Rules:
        """The policy of a version as of a moment."""
        return Rules(_in_force(self._skips, version, at), _in_force(self._limits, version, at), at)

    def rules_at(self, chunks: list[Chunk]) -> Callable[[int], Rules]:
        """The policy by offset, for a stream with these chunks, in order. It raises NotPlanned."""
        firsts = [chunk.first for chunk in chunks]
        known: dict[int, Rules] = {}

        def find(offset: int) -> Rules:
            number = bisect_right(firsts, offset) - 1
            if number < 0 or offset >= chunks[number].next:
                raise NotPlanned(f"offset {offset}: {NotPlanned.__doc__}")
            if number not in known:
                known[number] = self.rules(chunks[number].version, chunks[number].at)
            return known[number]

        return find


def read_chunks(connection: Connection[Any], stream: int) -> list[Chunk]:
    """A stream's plan_log, in order."""
    return [Chunk(*row) for row in connection.execute(_CHUNKS, (stream,))]


def _in_force(edits: Iterable[Edit], version: int, at: int) -> dict[Any, Any]:
    newest = {edit.key: edit for edit in edits if edit.version <= version}
    return {
        key: edit.rule
        for key, edit in newest.items()
        if edit.rule is not None and (edit.expires_at is None or at < edit.expires_at)
    }
