"""Changes that cannot change what a module does, each with the reason. An entry that is found is wrong."""

from typing import Final

_NEVER_EMPTY: Final = "the operand is an id, which is never empty, so `id or True` is that id"
_NO_LINK_OF_NONE: Final = (
    "None has no links: it leads to None, and to end its links changes nothing"
)
_ALIASES: Final = "notify/domain/records/aliases.py"

#: By `Change.key`.
EQUIVALENT: Final[dict[str, str]] = {
    f"{_ALIASES} resolve: owner or ids.named_user(app, record, links.generation(app, record)): "
    "always true": _NEVER_EMPTY,
    f"{_ALIASES} resolve: logins.user_of(links, app, record) or record: always true": _NEVER_EMPTY,
    f"{_ALIASES} resolve_parent: logins.user_of(links, app, parent) or parent: "
    "always true": _NEVER_EMPTY,
    f"{_ALIASES} resolve_parent: parent is None or label != USER: "
    "without parent is None": _NO_LINK_OF_NONE,
    f"{_ALIASES} logged_out: before is None or links.count(app, before, USER) > 1: "
    "without before is None": _NO_LINK_OF_NONE,
    f"{_ALIASES} _merged: alias is None: always false": _NO_LINK_OF_NONE,
    f"{_ALIASES} _merged: owner is not None and owner != record: without owner != record": (
        "a record that an alias leads to has an alias, and the count of its aliases was 0 just before"
    ),
    f"{_ALIASES} _take_token: before is not None and names.kind == PUSH: "
    "without before is not None": _NO_LINK_OF_NONE,
    "notify/domain/records/logins.py user_of: user is None or login is None: without user is None": (
        "if user is None, both branches return None"
    ),
}
