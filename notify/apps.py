"""The Django app of the project: models, admin, checks."""

from django.apps import AppConfig


class NotifyConfig(AppConfig):
    """Registers the system checks."""

    name = "notify"
    verbose_name = "Notify"

    def ready(self) -> None:
        """Django calls this once every app is loaded."""
        from notify import checks  # noqa: F401, PLC0415 - registers itself; needs the app registry
