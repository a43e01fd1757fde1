"""Which anonymous users are logged in as a user: the newest logins, as many as the limit of `merged` allows.

An installation that was removed never says so, and a test suite logs in anew with each run. So a login is
never refused for those before it: the oldest end.

Logins of a user are counted in generations of a record of their own (`ids.logins_id`), each up to half the
limit. Those of the present generation and of the one before count. With a limit of 4:

    u1 u2 -> ann      generation 0 has its two
    u3 u4 -> ann      generation 1; all four are ann
    u5 -> ann         generation 2; the logins of u1 and u2 end, however many they were, by this one change
"""

from typing import Final

from notify.domain import ids
from notify.domain import links as linking
from notify.domain.links import Change, Detached, Links, Trial
from notify.domain.update import MERGED

#: The label of the link from an anonymous user to the generation of logins that it is in.
LOGIN: Final = "login"


def user_of(links: Links, app: str, record: str) -> str | None:
    """The user that the anonymous user `record` is logged in as; None where it is not, or not any more.

    A login that an earlier release made has no generation, and does not end by others.
    """
    user = links.parent(app, record, MERGED)
    login = links.parents.get((app, record, LOGIN))
    if user is None or login is None:
        return user
    logins, generation = login
    return user if generation >= links.generation(app, logins) - 1 else None


def begin(trial: Trial, app: str, record: str, user: str, limit: int) -> None:
    """Log `record` in as `user`, which has at most `limit` logins, one or more, from then on."""
    trial.put(linking.join(trial, app, record, MERGED, user))
    logins = ids.logins_id(app, user, trial.generation(app, user))
    trial.put(linking.leave(trial, app, record, LOGIN))
    if trial.count(app, logins, LOGIN) >= max(1, limit // 2):
        # A limit of one has no half: the generation before must not count either.
        by = 1 if limit > 1 else 2
        trial.put([Detached(app, logins, trial.generation(app, logins) + by)])
    trial.put(linking.join(trial, app, record, LOGIN, logins))


def end(links: Links, app: str, record: str) -> list[Change]:
    """The changes that end the login of `record`, if it has one."""
    return [
        *linking.leave(links, app, record, MERGED),
        *linking.leave(links, app, record, LOGIN),
    ]
