"""The records that get most updates."""

from django.contrib import admin
from django.db.models import F

from notify.admin.filters import AppFilter, BucketFilter
from notify.admin.listing import ReadOnlyAdmin, moment
from notify.models import Hot


@admin.register(Hot)
class HotAdmin(ReadOnlyAdmin):
    """Ten seconds at a time, the newest first."""

    list_display = ("when", "whose", "directly", "by_mirror", "too_high_by", "partition")
    ordering = (F("bucket").desc(), (F("direct") + F("mirrored")).desc())
    list_display_links = None
    list_filter = (BucketFilter, AppFilter)
    note = (
        "The records with most updates in each ten seconds, for 24 hours: the newest 1,000 that "
        "match. Counts are high by the error at most."
    )

    @admin.display(description="from")
    def when(self, row: Hot) -> str:
        """The bucket's start."""
        return moment(row.bucket)

    @admin.display(description="direct")
    def directly(self, row: Hot) -> str:
        """Its own updates: what only a skip rule ends."""
        return f"{row.direct:,}"

    @admin.display(description="mirrored")
    def by_mirror(self, row: Hot) -> str:
        """Updates of records that are linked to it: what a link limit ends, too."""
        return f"{row.mirrored:,}"

    @admin.display(description="error")
    def too_high_by(self, row: Hot) -> str:
        """How much too high the counts are at most."""
        return f"{row.error:,}"
