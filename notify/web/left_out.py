"""What of a request is not taken: the one rule for all calls that SDKs make.

A value that is over a limit, or that cannot be stored, is left out, and the rest of the request is
taken: an SDK drops a request that is refused, or sends it again at every start, so one tag that is too
long would cost the session, the push token and all other tags. The answer says it in `warnings`, and
the app's page in the admin counts it. A request of another shape (`tags` that are no object) is refused
as a whole: no SDK sends it. docs/sdks.md has the rule, docs/decisions/0032 the reasons.

A batch has no LeftOut: its items fail alone, with their reason, and a server can correct them.
"""

from collections import Counter
from typing import Final

#: What is counted, by the words of the app's page.
TAG: Final = "tag"
PROPERTY: Final = "property"
IDENTIFIER: Final = "identifier"
NAME: Final = "name"
LINK: Final = "link"
PURCHASE: Final = "purchase"
SUBSCRIPTION: Final = "subscription"

#: Sentences that a request keeps; `counts` has all.
SENTENCES_MAX: Final = 5


class LeftOut:
    """What was left out of one request: how many of what, and the first sentences that say why."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.sentences: list[str] = []

    def add(self, what: str, why: object, *, n: int = 1) -> None:
        """`n` of `what` are left out; `why` is a sentence without its full stop."""
        self.counts[what] += n
        if len(self.sentences) < SENTENCES_MAX:
            self.sentences.append(f"left out: {why}")
