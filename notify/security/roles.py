"""Staff roles: the groups that a database has from its first migration on.

Each migration gives them what they lack. What an operator added stays; a group that he renamed is
made again under its name.
"""

from collections.abc import Iterable
from typing import Any, Final

from django.apps import AppConfig
from django.apps import apps as all_apps
from django.contrib.auth.management import create_permissions
from django.db.models import Q

VIEWER: Final = "viewer"
SUPPORT: Final = "support"
ADMIN: Final = "admin"

#: Their rows are all of one secret, though its hash: who only looks has no use for them.
_SECRET_MODELS: Final = ("appkey",)

_SUPPORT: Final = (
    "notify.add_skiprule",
    "notify.add_linklimit",
    "notify.replay_deadletter",
    "notify.delete_deadletter",
    "notify.replay_skipped",
)
#: Nobody deletes apps or users: records refer to the one, the audit trail to the other.
_ADMIN: Final = (
    "notify.add_app",
    "notify.change_app",
    *(f"notify.{can}_appkey" for can in ("view", "add", "change")),
    *(f"notify.{can}_identitykey" for can in ("view", "add", "change")),
    *(f"auth.{can}_user" for can in ("view", "add", "change")),
    *(f"auth.{can}_group" for can in ("view", "add", "change", "delete")),
    "admin.view_logentry",
)


def ship(sender: AppConfig, *, using: str, apps: Any = all_apps, **kwargs: Any) -> None:
    """Make the groups, and give each the permissions of its role that it lacks and that there are.

    A receiver of post_migrate. Does nothing where groups are not migrated.
    """
    try:
        group_model = apps.get_model("auth", "Group")
        permission_model = apps.get_model("auth", "Permission")
    except LookupError:
        return
    for label in ("auth", "admin", sender.label):
        # Each app makes its own after its migration; ours may be the first of them.
        create_permissions(all_apps.get_app_config(label), verbosity=0, using=using, apps=apps)
    permissions = permission_model.objects.using(using)
    for role, wanted in _wanted().items():
        group, _ = group_model.objects.using(using).get_or_create(name=role)
        group.permissions.add(*permissions.filter(wanted).exclude(group=group))


def _wanted() -> dict[str, Q]:
    views = Q(content_type__app_label="notify", codename__startswith="view_") & ~Q(
        content_type__model__in=_SECRET_MODELS
    )
    support = views | _named(_SUPPORT)
    return {VIEWER: views, SUPPORT: support, ADMIN: support | _named(_ADMIN)}


def _named(names: Iterable[str]) -> Q:
    found = Q()
    for name in names:
        label, codename = name.split(".")
        found |= Q(content_type__app_label=label, codename=codename)
    return found
