"""What was not applied: dead letters, skipped updates, and orders to apply them after all.

Bridge and workers write dead letters and skipped updates by raw SQL.
"""

import uuid

from django.db import models
from django.db.models.functions import Coalesce, Now


class DeadLetter(models.Model):
    """A write that PostgreSQL refused for its data, or a message that could not be decided."""

    stream = models.BigIntegerField()
    offset = models.BigIntegerField()
    app = models.UUIDField(null=True)
    record = models.UUIDField(null=True)
    error = models.TextField()
    message = models.BinaryField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "dead_letter"
        ordering = ("-id",)
        permissions = [("replay_deadletter", "Can replay dead letter")]
        indexes = [
            models.Index(fields=["stream", "offset"], name="dead_letter_offset"),
            models.Index(fields=["record", "-id"], name="dead_letter_record_newest"),
            models.Index(fields=["app"], name="dead_letter_app"),
            models.Index(fields=["at"], name="dead_letter_at"),
        ]

    def __str__(self) -> str:
        return f"offset {self.offset}"


class Skipped(models.Model):
    """What one chunk dropped of one record by a rule, or what was refused of it in ten seconds.

    `record` is None where more records were refused than are listed (NOTIFY_REFUSED_RECORDS).
    """

    stream = models.BigIntegerField()
    app = models.UUIDField(null=True)
    record = models.UUIDField(null=True)
    reason = models.TextField()
    rule = models.BigIntegerField(null=True)
    first = models.BigIntegerField()
    last = models.BigIntegerField()
    n = models.BigIntegerField()
    at = models.DateTimeField(db_default=Now())
    #: The ten seconds of what was refused; None for what a rule dropped.
    bucket = models.DateTimeField(null=True)

    class Meta:
        db_table = "skipped"
        ordering = ("-id",)
        verbose_name_plural = "skipped updates"
        permissions = [("replay_skipped", "Can replay skipped updates")]
        indexes = [
            models.Index(fields=["record", "-id"], name="skipped_record_newest"),
            models.Index(fields=["app"], name="skipped_app"),
            models.Index(fields=["at"], name="skipped_at"),
        ]
        constraints = [
            models.UniqueConstraint(
                "stream", "app", "reason", "bucket", Coalesce("record", models.Value(uuid.UUID(int=0))),
                condition=models.Q(bucket__isnull=False), name="skipped_once_a_bucket",
            )
        ]  # fmt: skip

    def __str__(self) -> str:
        return f"{self.n} of {self.record}"


class SkipCount(models.Model):
    """How often a skip rule was hit in a stream."""

    pk = models.CompositePrimaryKey("stream", "rule")
    stream = models.BigIntegerField()
    rule = models.BigIntegerField()
    hits = models.BigIntegerField()
    last_at = models.DateTimeField()

    class Meta:
        db_table = "skip_count"


class Replay(models.Model):
    """An order to send again what was skipped of a record, from Kafka, as new updates.

    `manage.py watch` carries it out; `sent` and `position` say how far it is.
    """

    app = models.UUIDField()
    record = models.UUIDField()
    author = models.CharField(max_length=150)
    reason = models.TextField(help_text="Why: the next person reads this.")
    at = models.DateTimeField(db_default=Now())
    #: The newest `skipped` row that it covers, and the newest that it has done.
    until = models.BigIntegerField()
    position = models.BigIntegerField(db_default=0)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    #: Messages read that the record was dropped from, sent again, and gone from Kafka by then.
    found = models.BigIntegerField(db_default=0)
    sent = models.BigIntegerField(db_default=0)
    lost = models.BigIntegerField(db_default=0)
    error = models.TextField(db_default="")

    class Meta:
        db_table = "replay"
        ordering = ("-id",)
        indexes = [models.Index(fields=["app", "record"], name="replay_record")]

    def __str__(self) -> str:
        return f"replay of {self.record}"
