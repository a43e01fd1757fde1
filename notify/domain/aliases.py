"""Names: which record an update is one of, and who gets an alias.

An alias is a record id of its own kind (`ids.is_alias`) and a child like any other, linked to what it
names; so names are resolved, given and taken in log order, by the links as of the update's offset.

* An alias that nobody was given stands for a user of its own (`ids.named_user`), and a token for the
  subscription with that token's id: what is sent under a name that was never seen is not lost.
* An address stands for its own record until that one takes another address, or another record takes
  this one. Who comes by the address then is a newcomer, with a record of its own (`holder`).
* A user's alias is its own until it gives it up or is deleted. A token belongs to the subscription
  that said so last; for a push token, the subscription that had it before leaves its user: two
  subscriptions of one device would get every message twice.
* An anonymous user that asks for another user's alias logs in: it is merged, and its updates are
  that user's until its last subscription moves to another user, or newer logins take its place (`logins`).
"""

from typing import Final

from notify.domain import ids, logins
from notify.domain import links as linking
from notify.domain.links import Change, Detached, Linked, Links, Trial
from notify.domain.patch import PUSH
from notify.domain.policy import Policy
from notify.domain.update import ALIAS, MERGED, TOKEN, USER, Names, Update, names_in

#: Why an alias was not given.
ALIAS_TAKEN: Final = "alias_taken"
ALIAS_LIMIT: Final = "alias_limit"


def resolve(links: Links, app: str, record: str, *, token: str | None = None) -> str:
    """The record that is meant by the id `record`. `token` is what an alias that is a token's
    stands for by itself."""
    if ids.is_alias(record):
        owner = links.parent(app, record, ALIAS)
        if owner is None and token is not None:
            return token
        record = owner or ids.named_user(app, record, links.generation(app, record))
    return logins.user_of(links, app, record) or record


def target(links: Links, update: Update) -> str:
    """The record that the update is one of, before it gets aliases itself."""
    if update.owner:
        record = update.record
        owner = links.parent(update.app, record, USER)
        if owner is None:
            owner = ids.named_user(update.app, record, links.generation(update.app, record))
        return resolve(links, update.app, owner)
    names = names_in(update)
    token = None
    if names is not None and names.kind != USER and (name := names.aliases.get(TOKEN)) is not None:
        token = ids.record_id(update.app, names.kind, name)
        if _is_by_address(update, names.kind, name, token):
            return resolve(links, update.app, holder(links, update.app, names.kind, name))
    return resolve(links, update.app, update.record, token=token)


def holder(links: Links, app: str, kind: str, address: str) -> str:
    """The record that has the address: the one that took it last, or the one whose id is made of it, or
    where that one has given it up a newcomer's.

        POST players old@ -> E      E has old@: its id is made of it
        PUT players/E new@          E has new@, and gives up old@
        POST players old@           a newcomer: its id is made of old@'s alias
    """
    alias = ids.alias_id(app, kind, TOKEN, address)
    owner = links.parent(app, alias, ALIAS)
    if owner is not None:
        return owner
    home = ids.record_id(app, kind, address)
    if _borne(links, app, home, TOKEN) is None:
        return home
    return ids.named_user(app, alias, links.generation(app, alias))


def _is_by_address(update: Update, kind: str, address: str, home: str) -> bool:
    """Whether the update means whoever has the address. A change of address, which does not say its kind,
    means the record with the id that it says."""
    if kind not in ids.ADDRESSES or update.kind is None:
        return False
    return update.record in (home, ids.alias_id(update.app, kind, TOKEN, address))


def owned(links: Links, update: Update, record: str) -> list[Change]:
    """The change that gives what the update names to its owner `record`, if it has none."""
    app, child = update.app, update.record
    if links.parent(app, child, USER) is not None or child == record:
        return []
    return linking.join(links, app, child, USER, record)


def resolve_parent(links: Links, app: str, record: str, label: str) -> str | None:
    """The parent of the record by this label; of a subscription whose anonymous user logged in, the user
    that this one is since."""
    parent = links.parent(app, record, label)
    if parent is None or label != USER:
        return parent
    return logins.user_of(links, app, parent) or parent


def logged_out(links: Links, app: str, subscription: str) -> list[Change]:
    """The change that ends a login, where `subscription` moves to another user and is the last one of an
    anonymous user that had logged in.

    A shared tablet makes an anonymous user at each logout, and logs it in:

        tablet -> u2 -> till-7      logout: tablet -> u3      u2 has nothing, and is till-7 no more
        tablet -> u3 -> till-7      login: one user is merged into till-7, as before
    """
    before = links.parent(app, subscription, USER)
    if before is None or links.count(app, before, USER) > 1:
        return []
    return logins.end(links, app, before)


def claim(
    trial: Trial, update: Update, names: Names, record: str, policy: Policy
) -> tuple[str, dict[str, str]]:
    """Put into `trial` what becomes of the update's `names`, `record` being its target.

    Returns the target, which is another one if `record` is merged, and why by label for those
    aliases that it does not get.
    """
    app, kind = update.app, names.kind
    wanted = {
        label: None if name is None else ids.alias_id(app, kind, label, name)
        for label, name in names.aliases.items()
    }
    if kind == USER:
        record = _merged(trial, app, record, wanted, policy)
    refused: dict[str, str] = {}
    for label, alias in wanted.items():
        if alias is None:
            _release(trial, app, record, label)
            if kind in ids.ADDRESSES:
                _give_up(trial, app, record)
        elif kind != USER:
            _take_token(trial, update, names, record, alias)
        elif (why := _take(trial, app, record, label, alias, policy)) is not None:
            refused[label] = why
    return record, refused


def _merged(
    trial: Trial, app: str, record: str, wanted: dict[str, str | None], policy: Policy
) -> str:
    """The user that `record` is from now on: its own, or the one whose alias it asks for."""
    if trial.count(app, record, ALIAS) or trial.count(app, record, MERGED):
        return record
    for alias in wanted.values():
        owner = None if alias is None else trial.parent(app, alias, ALIAS)
        if owner is not None and owner != record:
            limit = policy.limit(app, MERGED)
            if limit < 1:
                return record
            logins.begin(trial, app, record, owner, limit)
            return owner
    return record


def _take(
    trial: Trial, app: str, record: str, label: str, alias: str, policy: Policy
) -> str | None:
    """Give the user `record` the alias; or why not."""
    owner = trial.parent(app, alias, ALIAS)
    if owner == record:
        return None
    if owner is not None:
        return ALIAS_TAKEN
    before = _borne(trial, app, record, label)
    if trial.count(app, record, ALIAS) - (before is not None) >= policy.limit(app, ALIAS):
        return ALIAS_LIMIT
    _release(trial, app, record, label)
    _give(trial, app, record, label, alias)
    return None


def _take_token(trial: Trial, update: Update, names: Names, record: str, alias: str) -> None:
    """Give the subscription `record` the token, whoever had it: the one that claimed it, or the one whose
    id follows from it and that claimed no other.

        POST users, AndroidPush t  -> S = record_id(t)     S is u1's, and needs no claim for its token
        the app is installed again
        POST users, AndroidPush    -> R, a random id       R is u2's
        PATCH R, token t                                   R has t; S leaves u1
    """
    app, name = update.app, names.aliases[TOKEN]
    assert name is not None
    home = ids.record_id(app, names.kind, name)
    owner = trial.parent(app, alias, ALIAS)
    if owner == record:
        return
    _release(trial, app, record, TOKEN)
    before = owner
    if owner is not None:
        _release(trial, app, owner, TOKEN)
    elif record != home and _borne(trial, app, home, TOKEN) is None:
        before = home
    if before is not None and names.kind == PUSH:
        trial.put(linking.leave(trial, app, before, USER))
    if names.kind in ids.ADDRESSES:
        for loser in (owner, home):
            if loser not in (None, record) and _borne(trial, app, loser, TOKEN) is None:
                _give_up(trial, app, loser)
    if record != home or update.record == alias:
        _give(trial, app, record, TOKEN, alias)


def _give_up(trial: Trial, app: str, record: str) -> None:
    """Note that the record has no address, not even the one that its id is made of: it bears itself."""
    bearing = linking.bearing(trial, app, record, TOKEN)
    trial.put([Linked(app, record, bearing, record, trial.generation(app, record))])


def _borne(links: Links, app: str, record: str, label: str) -> str | None:
    return links.parent(app, record, linking.bearing(links, app, record, label))


def _give(trial: Trial, app: str, record: str, label: str, alias: str) -> None:
    bearing = linking.bearing(trial, app, record, label)
    trial.put(linking.join(trial, app, alias, ALIAS, record))
    trial.put([Linked(app, record, bearing, alias, trial.generation(app, alias))])


def _release(trial: Trial, app: str, record: str, label: str) -> None:
    """Take from `record` its alias by `label`, if it has one. A user's next use is another user's."""
    alias = _borne(trial, app, record, label)
    if alias is None:
        return
    bearing = linking.bearing(trial, app, record, label)
    trial.put([Linked(app, record, bearing, None, 0)])
    if alias == record:  # it had given up its address
        return
    trial.put(linking.leave(trial, app, alias, ALIAS))
    trial.put([Detached(app, alias, trial.generation(app, alias) + 1)])
