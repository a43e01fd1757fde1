"""The tables of the protocol: topic, streams, lanes, plan, links and records.

They are written by raw SQL only (ingest, workers); they are models so that migrations make them and pages
can read them. No foreign keys point from or to them: they are written thousands of times a second, and the
protocol decides who may write them, not constraints.
"""

from django.db import models
from django.db.models.functions import Now


class Topic(models.Model):
    """A Kafka topic by its UUID: deleted and made again, it is another topic. One is active."""

    id = models.UUIDField(primary_key=True)
    name = models.CharField(max_length=249)
    partitions = models.IntegerField()
    active = models.BooleanField(default=True)
    adopted_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "topic"
        constraints = [
            models.UniqueConstraint(
                fields=["active"], condition=models.Q(active=True), name="topic_one_active"
            )
        ]

    def __str__(self) -> str:
        return self.name


class Stream(models.Model):
    """One partition of one topic: how far it is planned and applied."""

    topic_id = models.UUIDField()
    partition = models.IntegerField()
    lanes = models.IntegerField()
    lanes_wanted = models.IntegerField()
    token = models.BigIntegerField(default=0)
    planned = models.BigIntegerField()
    frontier = models.BigIntegerField()
    ticked_at = models.DateTimeField(null=True)
    #: Since when decided updates wait at the frontier `waiting_at`; NULL if none do. Of another frontier
    #: it says nothing: bridges of older releases and operators move frontiers and leave it as it is.
    waiting_since = models.DateTimeField(null=True)
    waiting_at = models.BigIntegerField(null=True)
    halted = models.TextField(null=True)  # noqa: DJ001 - NULL is "not halted", "" would be a halt without a reason
    #: The last planned message and its digest, as of this `planned` (notify.domain.engine.digest): a Load
    #: must find it. NULL where it is not known.
    last_offset = models.BigIntegerField(null=True)
    last_digest = models.BigIntegerField(null=True)
    last_planned = models.BigIntegerField(null=True)

    class Meta:
        db_table = "stream"
        constraints = [
            models.UniqueConstraint(fields=["topic_id", "partition"], name="stream_partition")
        ]

    def __str__(self) -> str:
        return f"partition {self.partition}"


class Lane(models.Model):
    """The last offset that a lane has applied. `isolate`: up to there writes go one by one."""

    pk = models.CompositePrimaryKey("stream", "lane")
    stream = models.BigIntegerField()
    lane = models.IntegerField()
    last = models.BigIntegerField()
    isolate = models.BigIntegerField(db_default=-1)
    tries = models.IntegerField(db_default=0)

    class Meta:
        db_table = "lane"


class Plan(models.Model):
    """The decisions on offsets first..next-1, for as long as a Load may need them."""

    pk = models.CompositePrimaryKey("stream", "first")
    stream = models.BigIntegerField()
    first = models.BigIntegerField()
    next = models.BigIntegerField()
    decisions = models.BinaryField()
    #: Of each message, as notify.domain.engine.digest encodes them; NULL in a row of an older bridge.
    digests = models.BinaryField(null=True)

    class Meta:
        db_table = "plan"


class PlanLog(models.Model):
    """Under which policy, and when, a chunk was decided: enough to decide it again."""

    pk = models.CompositePrimaryKey("stream", "first")
    stream = models.BigIntegerField()
    first = models.BigIntegerField()
    next = models.BigIntegerField()
    policy_version = models.BigIntegerField()
    at = models.DateTimeField()

    class Meta:
        db_table = "plan_log"


class Link(models.Model):
    """A child's parent by label, as of `planned`; it counts while parent_gen is the parent's."""

    pk = models.CompositePrimaryKey("app", "child", "label")
    app = models.UUIDField()
    child = models.UUIDField()
    label = models.TextField()
    parent = models.UUIDField()
    parent_gen = models.BigIntegerField()
    linked_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "link"
        # Only labels by which users are read: an email record may have millions of children. Newest first,
        # and of the parent's generation alone, so that a read stops at its limit.
        indexes = [
            models.Index(
                fields=["app", "parent", "label", "parent_gen", "-linked_at", "child"],
                name="link_newest_of_user",
                condition=models.Q(label__in=["user", "merged", "alias"]),
            )
        ]


class Parent(models.Model):
    """A parent's generation; absent is 0. Never deleted."""

    pk = models.CompositePrimaryKey("app", "id")
    app = models.UUIDField()
    id = models.UUIDField()
    gen = models.BigIntegerField()

    class Meta:
        db_table = "parent"


class LinkCount(models.Model):
    """How many children a parent has, by label and generation. Never deleted."""

    pk = models.CompositePrimaryKey("app", "parent", "label", "gen")
    app = models.UUIDField()
    parent = models.UUIDField()
    label = models.TextField()
    gen = models.BigIntegerField()
    n = models.BigIntegerField()

    class Meta:
        db_table = "link_count"
        # The parents with most children of an app. Few parents have so many: the others are not in it.
        indexes = [
            models.Index(
                "app", models.F("n").desc(), name="link_count_most", condition=models.Q(n__gte=10)
            )
        ]


class Record(models.Model):
    """A row that SDKs update; written by workers only."""

    pk = models.CompositePrimaryKey("app", "id")
    app = models.UUIDField()
    id = models.UUIDField()
    kind = models.TextField(null=True)  # noqa: DJ001 - no update has said it yet
    identifier = models.TextField(null=True)  # noqa: DJ001 - removed, or never set
    tags = models.JSONField(db_default={})
    properties = models.JSONField(db_default={})
    session_count = models.BigIntegerField(db_default=0)
    session_time_s = models.BigIntegerField(db_default=0)
    purchase_count = models.BigIntegerField(db_default=0)
    #: Numeric, so that no sum of amounts can be refused: apply is total.
    spent_micros = models.DecimalField(max_digits=38, decimal_places=0, db_default=0)
    mirrored_updates = models.BigIntegerField(db_default=0)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()
    deleted = models.BooleanField(db_default=False)

    class Meta:
        db_table = "record"
        #: In the order in which web lists them. It costs no write of a record that is not deleted.
        indexes = [
            models.Index(fields=["id"], name="record_deleted", condition=models.Q(deleted=True))
        ]
