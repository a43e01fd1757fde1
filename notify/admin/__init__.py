"""The admin pages, one module each; importing them registers them."""

from django.contrib import admin

from notify.admin import (
    app_usage,
    apps,
    audit,
    dead_letters,
    hot,
    hot_orders,
    link_limits,
    pages,
    people,
    records,
    skip_rules,
    skipped,
)

__all__ = [
    "app_usage",
    "apps",
    "audit",
    "dead_letters",
    "hot",
    "hot_orders",
    "link_limits",
    "pages",
    "people",
    "records",
    "skip_rules",
    "skipped",
]

admin.site.index_title = "Overview"
admin.site.extra_urls = pages.urls  # type: ignore[attr-defined] # Unfold's site asks for it
