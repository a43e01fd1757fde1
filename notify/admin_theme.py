"""How the admin looks, and what stands in its sidebar: Unfold's settings.

Imported by the settings, so nothing here reads settings or models at import.
"""

from dataclasses import dataclass
from typing import Any, Final

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest
from django.templatetags.static import static
from django.urls import reverse


@dataclass(frozen=True, slots=True)
class Item:
    """An entry of the sidebar."""

    title: str
    #: A symbol of the Material Symbols font, which Unfold brings.
    icon: str
    #: The name of the page's URL; empty for Flower, which is another server.
    page: str
    #: One of these opens the page; without any, whoever is staff may.
    permissions: tuple[str, ...] = ()

    def may_open(self, request: HttpRequest) -> bool:
        """Whether the user may open the page."""
        user = request.user
        return not self.permissions or any(map(user.has_perm, self.permissions))

    def link(self) -> str:
        """The page's path, or Flower's URL, which may be empty."""
        return reverse(self.page) if self.page else settings.NOTIFY_FLOWER_URL


def _listed(title: str, icon: str, model: str, *, label: str = "notify") -> Item:
    """The list of a model."""
    opens = tuple(f"{label}.{can}_{model}" for can in ("view", "change"))
    return Item(title, icon, f"admin:{label}_{model}_changelist", opens)


_GROUPS: Final[tuple[tuple[str, tuple[Item, ...]], ...]] = (
    (
        "Now",
        (
            Item("Overview", "monitoring", "admin:index"),
            _listed("Hot records", "local_fire_department", "hot"),
            Item("Flower", "local_florist", "", ("notify.view_lane",)),
        ),
    ),
    (
        "Policy",
        (
            _listed("Skip rules", "block", "skiprule"),
            _listed("Link limits", "link", "linklimit"),
        ),
    ),
    (
        "Dropped",
        (
            _listed("Skipped updates", "skip_next", "skipped"),
            _listed("Dead letters", "mark_email_unread", "deadletter"),
        ),
    ),
    (
        "Customers",
        (
            _listed("Apps", "apps", "app"),
            Item("Find a record", "search", "admin:record", ("notify.view_record",)),
        ),
    ),
    (
        "People",
        (
            _listed("Users", "person", "user", label="auth"),
            _listed("Groups", "group", "group", label="auth"),
            _listed("Audit trail", "history", "logentry", label="admin"),
        ),
    ),
)


def checked_link(setting: str, url: str) -> str:
    """Returns the URL if a page may link to it. Empty means none. Raises ImproperlyConfigured."""
    if url and not url.startswith(("https://", "http://", "/")):
        raise ImproperlyConfigured(f"{setting} must begin with https://, http:// or /, not {url!r}")
    return url


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The groups of the sidebar, with the pages that the user may open."""
    groups = []
    for title, items in _GROUPS:
        lines = [
            {"title": item.title, "icon": item.icon, "link": item.link()}
            for item in items
            if item.link() and item.may_open(request)
        ]
        groups += [{"title": title, "items": lines}] if lines else []
    return groups


#: Slate, a little towards blue: text of base-500 on white and of base-400 on base-900 is readable.
_BASE: Final = {
    "50": "oklch(98.4% .003 248)",
    "100": "oklch(96.5% .006 250)",
    "200": "oklch(92.5% .011 252)",
    "300": "oklch(86.6% .018 254)",
    "400": "oklch(71% .032 256)",
    "500": "oklch(54% .036 257)",
    "600": "oklch(44.4% .034 258)",
    "700": "oklch(36.6% .034 259)",
    "800": "oklch(27% .031 261)",
    "900": "oklch(20.5% .028 264)",
    "950": "oklch(14% .024 266)",
}
#: Blue ink: white on 600 (buttons) and 500 on base-900 (links in the dark) have a contrast over 4.5.
_PRIMARY: Final = {
    "50": "oklch(97.2% .014 242)",
    "100": "oklch(94% .03 242)",
    "200": "oklch(88.5% .058 243)",
    "300": "oklch(80.5% .1 245)",
    "400": "oklch(73% .135 247)",
    "500": "oklch(66% .16 250)",
    "600": "oklch(52.5% .17 255)",
    "700": "oklch(46% .155 256)",
    "800": "oklch(39.5% .13 257)",
    "900": "oklch(34% .1 258)",
    "950": "oklch(25% .075 260)",
}

UNFOLD: Final[dict[str, Any]] = {
    "SITE_TITLE": "Notify",
    "SITE_HEADER": "Notify",
    "SITE_SYMBOL": "conversion_path",
    "SITE_FAVICONS": [
        {
            "rel": "icon",
            "type": "image/svg+xml",
            "href": lambda _request: static("notify/favicon.svg"),
        }
    ],
    "SITE_URL": None,
    "DASHBOARD_CALLBACK": "notify.admin.overview.context",
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "BORDER_RADIUS": "6px",
    "STYLES": [lambda _request: static("notify/admin.css")],
    "COLORS": {"base": _BASE, "primary": _PRIMARY},
    "SIDEBAR": {"show_search": False, "show_all_applications": False, "navigation": navigation},
}
