"""Aliases: to which record an update belongs, and which user gets an alias.

An alias is a name for a user, such as its external id, or the token of a subscription. It has an id of
its own (`ids.is_alias`) and is linked to what it names, like any child to its parent. So aliases are
resolved, given and taken in the order of the log, by the links as of the update's offset.

* An alias that no user has yet stands for a new user (`ids.named_user`), and a new token for the
  subscription with that token's id. So updates under an unknown name are not lost.
* An email address or number stands for the record whose id is made from it, until that record takes
  another address, or another record takes this one. Whoever registers the address after that gets a
  record of its own (`holder`).
* A user keeps an alias until it gives the alias up or is deleted. A token belongs to the subscription
  that claimed it last. The subscription that had a push token before also leaves its user, because two
  subscriptions of one device would get every message twice.
* An anonymous user that asks for the alias of another user logs in as that user: it is merged, and its
  updates go to that user until its last subscription moves to another user, or newer logins take its
  place (`logins`).
"""

from typing import Final

from notify.domain.records import ids, logins
from notify.domain.records import links as linking
from notify.domain.records.links import Change, Detached, Linked, Links, Trial
from notify.domain.records.patch import PUSH
from notify.domain.records.policy import Policy
from notify.domain.records.update import ALIAS, MERGED, TOKEN, USER, Names, Update, names_in

#: Reasons why a user does not get an alias.
ALIAS_TAKEN: Final = "alias_taken"
ALIAS_LIMIT: Final = "alias_limit"


def resolve(links: Links, app: str, record: str, *, token: str | None = None) -> str:
    """The record that the id `record` stands for: itself, the record that it is an alias of, or the user
    that it is logged in as. `token`: the record of a token that no subscription has claimed."""
    if ids.is_alias(record):
        owner = links.parent(app, record, ALIAS)
        if owner is None and token is not None:
            return token
        record = owner or ids.named_user(app, record, links.generation(app, record))
    return logins.user_of(links, app, record) or record


def target(links: Links, update: Update) -> str:
    """The record that the update belongs to, before the update's own aliases are given to it."""
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
    """The record that has the address: the one that claimed it last; else the one whose id is made from it;
    else, if that one has given the address up, a new record.

        POST players old@ -> E      E has old@, because its id is made from old@
        PUT players/E new@          E has new@ and gives up old@
        POST players old@ -> F      a new record, whose id is made from the alias of old@
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
    """Whether the update is meant for whoever has the address. A change of address (it has no kind) is
    meant for the record whose id it names."""
    if kind not in ids.ADDRESSES or update.kind is None:
        return False
    return update.record in (home, ids.alias_id(update.app, kind, TOKEN, address))


def owned(links: Links, update: Update, record: str) -> list[Change]:
    """The change that links the update's record to its user `record`, if it has no user yet."""
    app, child = update.app, update.record
    if links.parent(app, child, USER) is not None or child == record:
        return []
    return linking.join(links, app, child, USER, record)


def resolve_parent(links: Links, app: str, record: str, label: str) -> str | None:
    """The parent of the record by this label. If it is an anonymous user that has logged in, then the user
    that it is logged in as."""
    parent = links.parent(app, record, label)
    if parent is None or label != USER:
        return parent
    return logins.user_of(links, app, parent) or parent


def logged_out(links: Links, app: str, subscription: str) -> list[Change]:
    """The change that ends the login of an anonymous user, when its last subscription moves away.

    Example: a shared tablet creates an anonymous user at each logout and then logs in again as till-7.

        tablet -> u2 -> till-7      u2 is logged in as till-7
        tablet -> u3                logout: u2 has no subscription left, so its login ends
        tablet -> u3 -> till-7      login: again one anonymous user is merged into till-7, not two
    """
    before = links.parent(app, subscription, USER)
    if before is None or links.count(app, before, USER) > 1:
        return []
    return logins.end(links, app, before)


def claim(
    trial: Trial, update: Update, names: Names, record: str, policy: Policy
) -> tuple[str, dict[str, str]]:
    """Gives the aliases in `names` to `record`, the update's target, as changes of `trial`.

    Returns the target, which is another user if `record` logs in as that user, and the reason for each
    alias that it does not get, by label. Example, where ann has the external id "ann", bob has "bob", and
    u9 is anonymous:

        u9 asks for "ann"       u9 is merged: returns (ann, {})
        bob asks for "ann"      refused: returns (bob, {"external_id": "alias_taken"})
        bob asks for "robert"   "bob" is free again: returns (bob, {})
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
    """The user that `record` is from now on: itself, or the user whose alias it asks for."""
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
    """Gives the alias to the user `record`. Returns the reason if it cannot, else None."""
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
    """Gives the token to the subscription `record` and takes it from the one that had it: the one that
    claimed it, or the one whose id is made from it and that has claimed no other token.

        POST users, AndroidPush t  -> S = record_id(t)     S belongs to u1 and has t without a claim
        (the app is installed again)
        POST users, AndroidPush    -> R, a random id       R belongs to u2
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
    """Notes that the record has no address, not even the one that its id is made from. The mark for this
    is a link from the record to itself."""
    bearing = linking.bearing(trial, app, record, TOKEN)
    trial.put([Linked(app, record, bearing, record, trial.generation(app, record))])


def _borne(links: Links, app: str, record: str, label: str) -> str | None:
    return links.parent(app, record, linking.bearing(links, app, record, label))


def _give(trial: Trial, app: str, record: str, label: str, alias: str) -> None:
    bearing = linking.bearing(trial, app, record, label)
    trial.put(linking.join(trial, app, alias, ALIAS, record))
    trial.put([Linked(app, record, bearing, alias, trial.generation(app, alias))])


def _release(trial: Trial, app: str, record: str, label: str) -> None:
    """Takes its alias by `label` from `record`, if it has one. Whoever uses the alias next is another user,
    since its generation goes up by one."""
    alias = _borne(trial, app, record, label)
    if alias is None:
        return
    bearing = linking.bearing(trial, app, record, label)
    trial.put([Linked(app, record, bearing, None, 0)])
    if alias == record:  # it had given up its address
        return
    trial.put(linking.leave(trial, app, alias, ALIAS))
    trial.put([Detached(app, alias, trial.generation(app, alias) + 1)])
