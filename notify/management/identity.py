"""The part of `manage.py app` that is about identity verification: public keys, and the switch."""

import argparse
import getpass
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from notify.management.answering import CommandResult, wrong
from notify.management.table import table
from notify.models import App, IdentityKey
from notify.operations import app_keys, identity_keys

#: Of a fingerprint, to say which key is meant: 32 bits, of the few keys that an app ever has.
_FINGERPRINT_CHARS: Final = 8


def arguments(actions: Any) -> list[argparse.ArgumentParser]:
    """The parsers of `require-identity` and of `identity-key add|list|revoke`."""
    require = actions.add_parser(
        "require-identity",
        help="whether SDK calls that name a user or an address must carry a token",
    )
    require.add_argument("app", help="the app's id or its name")
    require.add_argument("switch", choices=("on", "off"))
    keys = actions.add_parser("identity-key", help="the public keys that verify an app's tokens")
    does = keys.add_subparsers(dest="identity_key", required=True, metavar="ACTION")
    add = does.add_parser(
        "add", help="add a key; an app has at most two, and the oldest is revoked"
    )
    listed = does.add_parser("list", help="list the app's keys, including revoked ones")
    revoke = does.add_parser("revoke", help="revoke a key, and with it every token that it signed")
    for action in (add, listed, revoke):
        action.add_argument("app", help="the app's id or its name")
    add.add_argument("file", help="the public key in PEM; - reads standard input")
    revoke.add_argument("fingerprint", help=f"its first {_FINGERPRINT_CHARS} characters or more")
    return [require, add, listed, revoke]


def answer(app: App, options: Mapping[str, Any]) -> CommandResult:
    """Do what was asked of the app. Raises KeyRefused."""
    if options["action"] == "require-identity":
        return _require(app, on=options["switch"] == "on")
    if options["identity_key"] == "add":
        return _add(app, options["file"])
    if options["identity_key"] == "revoke":
        app_keys.revoke(_key(app, options["fingerprint"]))
    return _keys(app)


def _require(app: App, *, on: bool) -> CommandResult:
    identity_keys.require(app, required=on)
    said = "must carry" if on else "need not carry"
    return CommandResult(
        f"SDK calls of {app.name} that name a user or an address {said} a token.",
        {"id": str(app.id), "name": app.name, "requires_identity": on},
    )


def _add(app: App, file: str) -> CommandResult:
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise wrong(f"{file} cannot be read as text ({type(error).__name__})") from None
    added = identity_keys.add(app, text, by=f"manage.py ({_who()})")
    lines = [f"Added   {added.key.fingerprint}"]
    if added.revoked:
        lines.append(f"Revoked {', '.join(added.revoked)}")
    if not app.requires_identity:
        lines.append(f"Tokens are not required yet: `manage.py app require-identity {app.id} on`.")
    data = {
        "id": str(app.id),
        "name": app.name,
        "requires_identity": app.requires_identity,
        "fingerprint": added.key.fingerprint,
        "revoked_fingerprints": list(added.revoked),
    }
    return CommandResult("\n".join(lines), data)


def _who() -> str:
    """The account that runs the command; a container may have no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def _key(app: App, prefix: str) -> IdentityKey:
    found = IdentityKey.objects.filter(app=app, fingerprint__startswith=prefix.lower())[:2]
    if len(prefix) < _FINGERPRINT_CHARS or len(found) != 1:
        raise wrong(
            f"{prefix!r:.80} must be the first {_FINGERPRINT_CHARS} characters or more of exactly one "
            f"fingerprint: see `manage.py app identity-key list {app.id}`"
        )
    return found[0]


def _keys(app: App) -> CommandResult:
    keys = list(IdentityKey.objects.filter(app=app))
    data = {
        "id": str(app.id),
        "name": app.name,
        "requires_identity": app.requires_identity,
        "keys": [
            {
                "fingerprint": key.fingerprint,
                "added_by": key.added_by,
                "created_at": key.created_at.isoformat(),
                "revoked_at": None if key.revoked_at is None else key.revoked_at.isoformat(),
            }
            for key in keys
        ],
    }
    if not keys:
        return CommandResult(
            f"{app.name} has no public key: run `manage.py app identity-key add {app.id} FILE`.",
            data,
        )
    rows = [
        (
            key.fingerprint,
            f"{key.created_at:%Y-%m-%d %H:%M}",
            "live" if key.revoked_at is None else f"revoked {key.revoked_at:%Y-%m-%d %H:%M}",
            key.added_by,
        )
        for key in keys
    ]
    return CommandResult(table(("FINGERPRINT", "ADDED", "STATE", "BY"), rows), data)
