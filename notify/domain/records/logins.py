"""Which anonymous users are logged in as a user: the newest ones, as many as the limit `merged` allows.

A removed installation never logs out, and a test suite logs in again with each run. So a new login is
never refused because of earlier ones; the oldest logins end instead.

The logins of a user are counted in generations of a separate record (`ids.logins_id`). Each generation
has up to half of the limit, and the logins of the present generation and of the one before are valid.
With a limit of 4:

    u1 u2 -> ann      generation 0 has its two logins
    u3 u4 -> ann      generation 1; all four are logged in as ann
    u5 -> ann         generation 2; this one change ends all logins of generation 0 (u1 and u2)
"""

from typing import Final

from notify.domain.records import ids
from notify.domain.records import links as linking
from notify.domain.records.links import Change, Detached, Links, Trial
from notify.domain.records.update import MERGED

#: The label of the link from an anonymous user to its generation of logins.
LOGIN: Final = "login"


def user_of(links: Links, app: str, record: str) -> str | None:
    """The user that the anonymous user `record` is logged in as; None if it is not logged in.

    A login made by an earlier release has no generation, and newer logins do not end it.
    """
    user = links.parent(app, record, MERGED)
    login = links.parents.get((app, record, LOGIN))
    if user is None or login is None:
        return user
    logins, generation = login
    return user if generation >= links.generation(app, logins) - 1 else None


def begin(trial: Trial, app: str, record: str, user: str, limit: int) -> None:
    """Logs `record` in as `user`. From then on the user has at most `limit` logins (1 or more)."""
    trial.put(linking.join(trial, app, record, MERGED, user))
    logins = ids.logins_id(app, user, trial.generation(app, user))
    trial.put(linking.leave(trial, app, record, LOGIN))
    if trial.count(app, logins, LOGIN) >= max(1, limit // 2):
        # A limit of one cannot be halved: the generation before must not count either.
        by = 1 if limit > 1 else 2
        trial.put([Detached(app, logins, trial.generation(app, logins) + by)])
    trial.put(linking.join(trial, app, record, LOGIN, logins))


def end(links: Links, app: str, record: str) -> list[Change]:
    """The changes that end the login of `record`, if it has one."""
    return [
        *linking.leave(links, app, record, MERGED),
        *linking.leave(links, app, record, LOGIN),
    ]
