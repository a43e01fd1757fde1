"""An app's public keys: added, rotated and revoked alike by the commands and the admin pages."""

from dataclasses import dataclass
from typing import Final

from django.db import transaction

from notify.models import App, IdentityKey
from notify.operations.app_keys import revoke
from notify.security import public_keys
from notify.security.public_keys import KeyRefused

#: Why tokens cannot be required yet.
KEY_FIRST: Final = "add a public key first: without one no token could be verified"


@dataclass(frozen=True, slots=True)
class AddedKey:
    """A new key. `revoked`: the fingerprints of the keys that were revoked for it."""

    key: IdentityKey
    revoked: tuple[str, ...] = ()


def add(app: App, text: str, *, by: str) -> AddedKey:
    """Give the app the public key in `text` (PEM). Two live at a time, so that a server can change
    over: the older ones are revoked. Raises KeyRefused, also for a key that it has or once had."""
    with transaction.atomic():
        App.objects.select_for_update().get(id=app.id)
        pem, fingerprint = check_new(app, text)
        older = live(app)[1:]
        for key in older:
            revoke(key)
        made = IdentityKey.objects.create(app=app, pem=pem, fingerprint=fingerprint, added_by=by)
    return AddedKey(made, tuple(key.fingerprint for key in older))


def check_new(app: App, text: str) -> tuple[str, str]:
    """Checks the key in `text` and returns (PEM, fingerprint). Raises KeyRefused as `add` does."""
    pem, fingerprint = public_keys.checked(text)
    held = IdentityKey.objects.filter(app=app, fingerprint=fingerprint).first()
    if held is not None:
        raise KeyRefused(_held(held))
    return pem, fingerprint


def live(app: App) -> list[IdentityKey]:
    """The app's keys that verify tokens now, newest first."""
    return list(IdentityKey.objects.filter(app=app, revoked_at=None).order_by("-created_at", "-id"))


def require(app: App, *, required: bool) -> None:
    """Switch identity verification on or off, from the next refresh of each web process.

    Raises KeyRefused where it cannot be switched on.
    """
    if required and not live(app):
        raise KeyRefused(KEY_FIRST)
    if required and app.requires_key:
        raise KeyRefused("the app requires keys of every call: switch that off in the admin first")
    app.requires_identity = required
    app.save(update_fields=["requires_identity"])


def _held(key: IdentityKey) -> str:
    if key.revoked_at is None:
        return f"the app has this key already: {key.fingerprint}"
    return f"this key was revoked, and stays so: make a new pair ({key.fingerprint})"
