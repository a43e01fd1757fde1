"""Notes which values of a request are left out: the same rule for all calls of SDKs.

A value that exceeds a limit or cannot be stored is left out, and the rest of the request is accepted. If the
whole request were refused, an SDK would drop it, or send it again at each start: one tag that is too long
would cost the session, the push token and all other tags. The answer's `warnings` say what is left out, and
the app's page in the admin counts it. A request of a wrong form (such as `tags` that are not an object) is
refused as a whole, because no SDK sends it. docs/sdks.md has the rule, docs/decisions/0032 the reasons.

A batch has no LeftOut: its items are refused one by one with their reason, and a server can correct them.
"""

from collections import Counter
from typing import Final

#: The kinds of values that are counted, as the app's page calls them.
TAG: Final = "tag"
PROPERTY: Final = "property"
IDENTIFIER: Final = "identifier"
NAME: Final = "name"
LINK: Final = "link"
PURCHASE: Final = "purchase"
SUBSCRIPTION: Final = "subscription"

#: How many sentences are kept for a request; `counts` has all values.
SENTENCES_MAX: Final = 5


class LeftOut:
    """The values that are left out of one request: their number by kind, and the first reasons."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.sentences: list[str] = []

    def add(self, what: str, why: object, *, n: int = 1) -> None:
        """Notes that `n` values of the kind `what` are left out; `why` is a sentence without a full stop."""
        self.counts[what] += n
        if len(self.sentences) < SENTENCES_MAX:
            self.sentences.append(f"left out: {why}")
