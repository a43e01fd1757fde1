"""Finds the app that a command's argument names."""

from uuid import UUID

from django.db.models import Q

from notify.management.answering import wrong
from notify.models import App


def find_app(text: str) -> App:
    """The app with this id or name. Raises CommandError."""
    try:
        asked = Q(id=UUID(text))
    except ValueError:
        asked = Q(name=text)
    app = App.objects.filter(asked).first()
    if app is None:
        raise wrong(f"there is no app {text!r}: see `manage.py app list`")
    return app
