"""Apps and their keys: made, rotated and revoked alike by the commands and the admin pages.

A secret is returned once, to be shown once; only its HMAC is stored.
"""

from dataclasses import dataclass
from typing import Final

from django.db import transaction
from django.utils import timezone

from notify.models import App, AppKey, IdentityKey
from notify.security.keys import make_key

#: What an app without keys and tokens means, and how to change that: for commands and the admin.
OPEN_APP: Final = (
    "This app is open: anybody who has its id, and every installed copy of it has, can change its "
    "devices, and can log in as any user by its external id and then read that user."
)
CLOSE_APP: Final = (
    "To close it, let the app's server sign tokens, add its public key and require tokens "
    "(docs/identity.md). If only servers call, require a key."
)


@dataclass(frozen=True, slots=True)
class NewKey:
    """A new key. `revoked`: the prefixes of the keys that were revoked for it."""

    secret: str
    prefix: str
    revoked: tuple[str, ...] = ()


def create_app(name: str, *, requires_key: bool) -> tuple[App, NewKey]:
    """Creates an app and its first key. The name must be free."""
    with transaction.atomic():
        app = App.objects.create(name=name, requires_key=requires_key)
        return app, rotate(app)


def rotate(app: App) -> NewKey:
    """Give the app one key more. Two live at a time, so that servers can change over: the older
    ones are revoked."""
    with transaction.atomic():
        App.objects.select_for_update().get(id=app.id)
        live = AppKey.objects.filter(app=app, revoked_at=None).order_by("-created_at", "-id")
        older = list(live[1:])
        for key in older:
            revoke(key)
        secret, prefix, digest = make_key()
        AppKey.objects.create(app=app, prefix=prefix, digest=digest)
    return NewKey(secret, prefix, tuple(key.prefix for key in older))


def revoke(key: AppKey | IdentityKey) -> None:
    """Revokes the key, and with it every token that it verifies, for ever.

    This takes effect at the next refresh of each web process.
    """
    if key.revoked_at is None:
        key.revoked_at = timezone.now()
        key.save(update_fields=["revoked_at"])
