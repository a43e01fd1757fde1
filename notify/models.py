"""The tables. `record`, `lane` and the planner's tables are written by raw SQL only (ingest, workers);
they are models so that migrations make them and pages can read them.

No foreign keys point from or to the tables of the protocol: they are written thousands of times a
second, and who may write them is decided by the protocol, not by constraints.
"""

import uuid
from typing import Any

from django.db import models, transaction
from django.db.models.functions import Coalesce, Now

from notify.domain.records.policy import SCOPE_ALL, SCOPE_MIRRORED
from notify.domain.records.update import LABELS


class App(models.Model):
    """A customer. Its id is public: SDKs carry it."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, unique=True)
    requires_key = models.BooleanField(
        default=False,
        help_text="SDK calls, too, must carry a key. Old SDKs cannot: they send none.",
    )
    requires_identity = models.BooleanField(
        default=False,
        db_default=False,
        help_text="SDK calls that name a user, an email address or a number must carry a token of "
        "the app's server. Old SDKs (4.x) have no tokens: they can then name nobody.",
    )
    requests_per_s = models.PositiveIntegerField(
        null=True,
        blank=True,
        verbose_name="requests a second",
        help_text="Past so many its calls get 429. Empty: everybody's limit holds. 0: no limit.",
    )
    nobody_names = models.TextField(  # noqa: DJ001 - NULL is the built-in list, "" is none
        null=True,
        blank=True,
        verbose_name="names that are nobody's",
        help_text="One a line, in upper or lower case. A login with such a name is left out, with a "
        "warning: all devices that send it would become one user. Delete a line whose name "
        'is a user of this app, such as "0" or "1". Empty: every name is taken.',
    )
    enabled = models.BooleanField(default=True, help_text="Updates of a disabled app get 403.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        db_table = "app"
        ordering = ("name",)
        constraints = [
            models.CheckConstraint(
                condition=models.Q(requires_key=False) | models.Q(requires_identity=False),
                name="app_key_or_identity",
                violation_error_message="Choose one: where every call carries a key, there is none "
                "that a token could verify.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def is_open(self) -> bool:
        """Whether its SDK calls prove nothing: whoever knows its id may make them."""
        return not (self.requires_key or self.requires_identity)


class AppKey(models.Model):
    """A secret of an app: only its HMAC is kept, and its first characters to tell it by."""

    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="keys")
    prefix = models.CharField(max_length=16)
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "app_key"
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.prefix}…"


class IdentityKey(models.Model):
    """A public key that an app's tokens are verified with; the private one stays on its server."""

    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="identity_keys")
    pem = models.TextField()
    #: SHA-256 of the key's DER form, 64 hexadecimal digits.
    fingerprint = models.CharField(max_length=64)
    added_by = models.CharField(max_length=150)
    created_at = models.DateTimeField(auto_now_add=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "identity_key"
        ordering = ("-created_at", "-id")
        constraints = [
            models.UniqueConstraint(fields=["app", "fingerprint"], name="identity_key_once")
        ]

    def __str__(self) -> str:
        return f"{self.fingerprint[:16]}…"


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


class Hot(models.Model):
    """The records with most updates in ten seconds of a stream; counts are high by `error` at most."""

    bucket = models.DateTimeField()
    stream = models.BigIntegerField()
    app = models.UUIDField()
    record = models.UUIDField()
    direct = models.BigIntegerField()
    mirrored = models.BigIntegerField()
    error = models.BigIntegerField()

    class Meta:
        db_table = "hot"
        ordering = ("-bucket", "-direct")
        verbose_name_plural = "hot records"
        indexes = [
            models.Index(fields=["record"], name="hot_record"),
            models.Index(fields=["app"], name="hot_app"),
        ]
        constraints = [
            models.UniqueConstraint(
                fields=["bucket", "stream", "app", "record"], name="hot_record_in_bucket"
            )
        ]

    def __str__(self) -> str:
        return str(self.record)


class BridgeStart(models.Model):
    """A bridge was started: until it has its partitions, nobody is told that they are not ticked."""

    #: Host and process id.
    name = models.TextField()
    at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "bridge_start"
        indexes = [models.Index(fields=["at"], name="bridge_start_at")]

    def __str__(self) -> str:
        return self.name


class AppSample(models.Model):
    """The apps with most updates in ten seconds of a stream; counts are high by `error` at most.

    `updates` were decided, whatever became of them; `mirrored` are writes to parents.
    """

    pk = models.CompositePrimaryKey("bucket", "stream", "app")
    bucket = models.DateTimeField()
    stream = models.BigIntegerField()
    app = models.UUIDField()
    updates = models.BigIntegerField()
    mirrored = models.BigIntegerField()
    error = models.BigIntegerField()

    class Meta:
        db_table = "app_sample"
        indexes = [models.Index(fields=["app", "bucket"], name="app_sample_app")]


class RefusedSample(models.Model):
    """Requests of an app that web refused at one of its rate limits in ten seconds, on top of what it
    sent."""

    pk = models.CompositePrimaryKey("bucket", "app", "limit")
    bucket = models.DateTimeField()
    app = models.UUIDField()
    #: As metrics name it: app_requests, app_updates or record_updates.
    limit = models.TextField()
    n = models.BigIntegerField()

    class Meta:
        db_table = "refused_sample"
        indexes = [models.Index(fields=["app", "bucket"], name="refused_sample_app")]


class UnavailableSample(models.Model):
    """Requests that web answered 503 in ten seconds, whichever app's they were."""

    pk = models.CompositePrimaryKey("bucket", "reason")
    bucket = models.DateTimeField()
    #: As metrics name it: overloaded, kafka_away, postgres_away or bug.
    reason = models.TextField()
    n = models.BigIntegerField()
    #: When the first and the last of them were written.
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        db_table = "unavailable_sample"


class LeftOutSample(models.Model):
    """Values that web left out of an app's requests in ten seconds, by what they were: "tag"."""

    pk = models.CompositePrimaryKey("bucket", "app", "what")
    bucket = models.DateTimeField()
    app = models.UUIDField()
    what = models.TextField()
    n = models.BigIntegerField()

    class Meta:
        db_table = "left_out_sample"
        indexes = [models.Index(fields=["app", "bucket"], name="left_out_sample_app")]


class StreamSample(models.Model):
    """Ten seconds of a stream, as its bridge saw it: counts of the bucket, the rest as of `at`.

    Best effort, outside ticks: nothing depends on it but pages, alerts and their history.
    """

    pk = models.CompositePrimaryKey("bucket", "stream")
    bucket = models.DateTimeField()
    stream = models.BigIntegerField()
    at = models.DateTimeField()
    #: Host and process id of the bridge.
    bridge = models.TextField()
    log_end = models.BigIntegerField(null=True)
    planned = models.BigIntegerField()
    frontier = models.BigIntegerField()
    #: Age of the oldest update that is not applied; `lag_s_max`: the most in the bucket.
    lag_s = models.FloatField()
    lag_s_max = models.FloatField()
    #: How long fetches have brought nothing although the log goes on; 0 if the partition is read.
    unread_s = models.FloatField(db_default=0.0)
    #: How long Kafka has not told the bridge where the log ends: `log_end` and the lag are so old.
    unheard_s = models.FloatField(db_default=0.0)
    held_bytes = models.BigIntegerField()
    #: Writes that are decided and not known to be applied, merged ones once.
    held_writes = models.BigIntegerField()
    #: Whether fetching is paused: as much as fits waits already.
    paused = models.BooleanField()
    messages = models.BigIntegerField()
    #: Seconds of web's clock in which these messages were accepted: more than ten in a catch-up.
    accepted_s = models.FloatField(db_default=0.0)
    writes = models.BigIntegerField()
    mirrored = models.BigIntegerField()
    skipped = models.BigIntegerField()
    dead = models.BigIntegerField()

    class Meta:
        db_table = "stream_sample"


class LaneSample(models.Model):
    """A lane of a stream as its bridge saw it at `at`."""

    pk = models.CompositePrimaryKey("stream", "lane")
    stream = models.BigIntegerField()
    lane = models.IntegerField()
    at = models.DateTimeField()
    #: Writes that wait or are in flight.
    writes = models.BigIntegerField()
    #: Age of the oldest of them; 0 if there is none.
    oldest_s = models.FloatField()
    #: Which send of the batch in flight; 0 if none is.
    attempt = models.IntegerField()

    class Meta:
        db_table = "lane_sample"


class QueueSample(models.Model):
    """A lane's Celery queue as `manage.py watch` saw it at `at`."""

    lane = models.IntegerField(primary_key=True)
    at = models.DateTimeField()
    #: Tasks that wait in Redis.
    tasks = models.BigIntegerField()
    #: Workers that read it; None if none could be asked.
    workers = models.IntegerField(null=True)

    class Meta:
        db_table = "queue_sample"


class WorkerSample(models.Model):
    """A Celery worker as `manage.py watch` saw it: by its events, not by what it says of itself."""

    name = models.TextField(primary_key=True)
    #: Its last sign of life.
    seen_at = models.DateTimeField()
    #: When it last ended a task, or had none to do.
    progressed_at = models.DateTimeField()
    active = models.IntegerField()
    processed = models.BigIntegerField()
    #: It said that it stops.
    offline = models.BooleanField(db_default=False)

    class Meta:
        db_table = "worker_sample"


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


class PolicyHead(models.Model):
    """One row: the newest policy version. Locked by every edit, so versions commit in order."""

    id = models.IntegerField(primary_key=True, default=1)
    version = models.BigIntegerField(default=0)

    class Meta:
        db_table = "policy_head"


class PolicyVersion(models.Model):
    """An edit of the policy: never changed, never deleted. The newest of a key is in force."""

    version = models.BigIntegerField(primary_key=True, editable=False)
    reason = models.TextField(help_text="Why: the next person reads this.")
    author = models.CharField(max_length=150, editable=False)
    at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField(
        null=True, blank=True, help_text="From then on the edit is without effect. Empty: never."
    )

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Add this edit as the newest version; a row once saved is refused."""
        if self.version is not None:
            raise ValueError("A policy version is never changed: add a new one.")
        with transaction.atomic():
            head, _ = PolicyHead.objects.select_for_update().get_or_create(id=1)
            head.version += 1
            head.save()
            self.version = head.version
            self._before_insert()
            super().save(*args, force_insert=True, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Refused: lift the rule or the limit with a new version instead."""
        raise ValueError("A policy version is never deleted: add a new one.")

    def _before_insert(self) -> None:
        """For fields that depend on the version."""


class SkipRule(PolicyVersion):
    """A version of the rule to drop updates of one record. `rule` is the same in all its versions."""

    SCOPES = [(SCOPE_ALL, "all its updates"), (SCOPE_MIRRORED, "mirrored updates only")]

    rule = models.BigIntegerField(editable=False)
    app = models.ForeignKey(App, on_delete=models.PROTECT)
    record = models.UUIDField()
    scope = models.CharField(max_length=10, choices=SCOPES, default=SCOPE_ALL)
    active = models.BooleanField(default=True, help_text="Off: updates are applied again.")

    class Meta:
        db_table = "skip_rule"
        ordering = ("-version",)
        indexes = [models.Index(fields=["app", "record", "-version"], name="skip_rule_newest")]

    def __str__(self) -> str:
        return f"skip {self.record}"

    @classmethod
    def now_of(cls, app: uuid.UUID, record: uuid.UUID) -> "SkipRule | None":
        """The version that drops the record's updates now."""
        return cls.objects.filter(in_force__app_id=app, in_force__record=record).first()

    def _before_insert(self) -> None:
        first = (
            SkipRule.objects.filter(app=self.app, record=self.record).order_by("version").first()
        )
        self.rule = self.version if first is None else first.rule


class LinkLimit(PolicyVersion):
    """A version of the most children of a parent, for one label, of one app or (app empty) of all."""

    app = models.ForeignKey(App, on_delete=models.PROTECT, null=True, blank=True)
    label = models.CharField(max_length=10, choices=[(label, label) for label in LABELS])
    children = models.PositiveBigIntegerField(
        null=True, blank=True, help_text="Empty: the app's own limit ends, the default holds."
    )

    class Meta:
        db_table = "link_limit"
        ordering = ("-version",)
        indexes = [models.Index(fields=["app", "label", "-version"], name="link_limit_newest")]

    def __str__(self) -> str:
        return f"{self.label}: {self.children}"


class SkipRuleInForce(models.Model):
    """A row of the view of the skip rules that are in force now. Bounded only if `app_id` is asked for."""

    version = models.OneToOneField(
        SkipRule, models.DO_NOTHING, primary_key=True, db_column="version", related_name="in_force"
    )
    app_id = models.UUIDField()
    record = models.UUIDField()

    class Meta:
        managed = False
        db_table = "skip_rule_in_force"
        default_permissions = ()


class LinkLimitInForce(models.Model):
    """A row of the view of the link limits that are in force now, `app_id` being None for all apps."""

    version = models.OneToOneField(
        LinkLimit, models.DO_NOTHING, primary_key=True, db_column="version", related_name="in_force"
    )
    app_id = models.UUIDField(null=True)
    label = models.CharField(max_length=10)

    class Meta:
        managed = False
        db_table = "link_limit_in_force"
        default_permissions = ()
