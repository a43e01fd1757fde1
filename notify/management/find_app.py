"""Finds the app that a command's argument names."""

from notify.management.answering import wrong
from notify.models import App


def find_app(text: str) -> App:
    """The app with this id or name. Raises CommandError."""
    app = App.named(text)
    if app is None:
        raise wrong(f"there is no app {text!r}: see `manage.py app list`")
    return app
