"""The admin pages, one module each; importing them registers them."""

from django.contrib import admin

from notify.admin import apps, dead_letters, hot, link_limits, skip_rules, skipped

__all__ = ["apps", "dead_letters", "hot", "link_limits", "skip_rules", "skipped"]

admin.site.site_header = admin.site.site_title = "Notify"
admin.site.index_title = "Apps, policy, and what the pipeline dropped"
