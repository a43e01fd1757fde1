"""What was not applied: dead letters, skipped updates, and orders to apply them after all.

Bridge and workers write dead letters and skipped updates by raw SQL.
"""

import uuid

from django.db import models
from django.db.models.functions import Coalesce, Now


class DeadLetter(models.Model):
    """A write that PostgreSQL refused for its data, or a message that could not be decided."""

    stream = models.BigIntegerField()
    offset = models.BigIntegerField(help_text="The position of the message in its Kafka partition.")
    app = models.UUIDField(null=True, help_text="Empty if the message names no app.")
    record = models.UUIDField(
        null=True, help_text="The record that was not written. Empty if the message names none."
    )
    error = models.TextField(help_text="Why the update could not be applied.")
    message = models.BinaryField()
    at = models.DateTimeField(db_default=Now(), help_text="When the update became a dead letter.")

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

    stream = models.BigIntegerField(help_text="The number of the partition's stream.")
    app = models.UUIDField(null=True, help_text="Empty if the messages name no app.")
    record = models.UUIDField(
        null=True, help_text="Empty for records that are not listed, because there were too many."
    )
    reason = models.TextField(help_text="Why the updates were not applied, or only in part.")
    rule = models.BigIntegerField(
        null=True, help_text="The skip rule that dropped them. Empty for any other reason."
    )
    first = models.BigIntegerField(help_text="The offset of the first of these updates.")
    last = models.BigIntegerField(help_text="The offset of the last of these updates.")
    n = models.BigIntegerField(help_text="How many updates these are.")
    at = models.DateTimeField(db_default=Now(), help_text="When they were decided.")
    bucket = models.DateTimeField(
        null=True,
        help_text="The start of the ten seconds in which they were refused. Empty for a skip rule.",
    )

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
    reason = models.TextField(
        help_text="Why the replay was ordered. Colleagues read it here and in the audit trail."
    )
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
