"""The warnings in answers: that values are left out, or that updates of a record are dropped.

What is left out is known at once. What is dropped web learns when it refreshes its cache of apps: records
that a rule skips, and those for which something was refused in the last WARNED_MINUTES. So the first refusal
causes warnings only in later answers.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from notify.domain.records.aliases import ALIAS_LIMIT, ALIAS_TAKEN
from notify.domain.records.decide import LINK_REFUSED, MIRROR_STOPPED, SKIPPED
from notify.domain.records.update import Update
from notify.web.access.apps_cache import AppsSnapshot

WARNED_MINUTES: Final = 10
#: For how many records a process knows warnings.
WARNED_MAX: Final = 10_000
#: The most warnings in one answer.
WARNINGS_MAX: Final = 10

_WORDS: Final[Mapping[str, str]] = {
    SKIPPED: "updates of {} are skipped: staff set a skip rule for it",
    LINK_REFUSED: "new links to {} are refused: it has reached its link limit",
    MIRROR_STOPPED: "updates are not mirrored to {}: it has more links than its limit allows",
    ALIAS_TAKEN: "an alias was not added to {}: it belongs to another user",
    ALIAS_LIMIT: "an alias was not added to {}: it has reached its limit of aliases",
}


def of_updates(
    known: AppsSnapshot, updates: Iterable[Update], left_out: Sequence[str] = ()
) -> dict[str, Any]:
    """`{"warnings": [...]}` for these updates of one app and what was left out of them; empty if there is
    nothing to warn of."""
    found = dict.fromkeys(left_out)
    for update in updates if known.dropping else ():
        for record in (update.record, *update.links.values()):
            for reason in known.dropping.get((update.app, record or ""), ()):
                found[_WORDS.get(reason, "updates of {} are dropped").format(record)] = None
    return {"warnings": list(found)[:WARNINGS_MAX]} if found else {}
