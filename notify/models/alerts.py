"""The watcher and its alerts."""

from django.db import models
from django.db.models.functions import Now


class Watcher(models.Model):
    """One row: which `manage.py watch` acts, and when it last did."""

    id = models.IntegerField(primary_key=True, default=1)
    name = models.TextField()
    at = models.DateTimeField()
    #: Since when Redis does not answer it; NULL while Redis answers.
    redis_away_since = models.DateTimeField(null=True)

    class Meta:
        db_table = "watcher"


class Alert(models.Model):
    """Something that is or was wrong, from when it was found until it was gone, and who was told."""

    #: What and whose: of open alerts there is one of a key.
    key = models.TextField()
    kind = models.CharField(max_length=40)
    level = models.CharField(max_length=10)
    app = models.UUIDField(null=True)
    record = models.UUIDField(null=True)
    text = models.TextField()
    #: Path of the page that shows it and cures it.
    path = models.TextField()
    opened_at = models.DateTimeField(db_default=Now())
    seen_at = models.DateTimeField(db_default=Now())
    closed_at = models.DateTimeField(null=True)
    #: As of when each way of telling knows it; None, or before closed_at: something is still to be told.
    posted_at = models.DateTimeField(null=True)
    mailed_at = models.DateTimeField(null=True)
    tries = models.IntegerField(db_default=0)
    #: Why the last try to tell failed.
    error = models.TextField(db_default="")

    class Meta:
        db_table = "alert"
        ordering = ("-id",)
        constraints = [
            models.UniqueConstraint(
                fields=["key"], condition=models.Q(closed_at=None), name="alert_one_open"
            )
        ]
        indexes = [
            models.Index(fields=["-opened_at"], name="alert_newest"),
            models.Index(fields=["app", "-opened_at"], name="alert_app"),
        ]

    def __str__(self) -> str:
        return self.text
