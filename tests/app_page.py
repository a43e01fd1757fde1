"""The admin's page of an app, as a browser sends it."""

from typing import Final

from notify.domain.records import nobody
from notify.models import App

APPS: Final = "/admin/notify/app/"


def page(app: App) -> str:
    """The app's page."""
    return f"{APPS}{app.id}/change/"


def form(app: App, **fields: str) -> dict[str, str]:
    """The change form as it is, but for `fields`."""
    names = sorted(nobody.NAMES) if app.nobody_names is None else app.nobody_names.split("\n")
    filled = {
        "name": app.name,
        "enabled": "on",
        "reason": "a ticket",
        "nobody_names": "\r\n".join(names),
    }
    for name, keys in (("keys", app.keys.all()), ("identity_keys", app.identity_keys.all())):
        filled[f"{name}-TOTAL_FORMS"] = filled[f"{name}-INITIAL_FORMS"] = str(len(keys))
        for number, key in enumerate(keys):
            filled[f"{name}-{number}-id"] = str(key.pk)
            filled[f"{name}-{number}-app"] = str(app.id)
    return filled | fields


def make_key(app: App) -> dict[str, str]:
    """What the button that makes a key sends, on the page as it is now."""
    newest = app.keys.order_by("id").last()
    return {"_make_key": str(newest.pk if newest else 0)}
