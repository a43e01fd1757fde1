"""The Django app of the project: models, admin, checks, staff roles."""

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in
from django.db.models.signals import post_migrate


class NotifyConfig(AppConfig):
    """Registers the system checks, and the roles that each migration ships."""

    name = "notify"
    verbose_name = "Notify"

    def ready(self) -> None:
        from notify import checks  # noqa: PLC0415 - they need the app registry
        from notify.security import logins, roles  # noqa: PLC0415

        del checks  # registers itself
        user_logged_in.connect(logins.end_count, dispatch_uid="notify.login")
        post_migrate.connect(roles.ship, sender=self, dispatch_uid="notify.roles")
