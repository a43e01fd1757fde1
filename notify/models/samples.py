"""Samples of ten seconds, from which pages and alerts show what happens."""

from django.db import models
from django.db.models.functions import Now


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
    """A bridge was started. No alert says that partitions are not ticked until it has had time to join."""

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
