"""What pages, alerts and their history are made of: samples that nothing of the protocol reads."""

import django.db.models.functions.datetime
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("notify", "0007_requests_per_s"),
    ]

    operations = [
        migrations.CreateModel(
            name="Alert",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("key", models.TextField()),
                ("kind", models.CharField(max_length=40)),
                ("level", models.CharField(max_length=10)),
                ("app", models.UUIDField(null=True)),
                ("record", models.UUIDField(null=True)),
                ("text", models.TextField()),
                ("path", models.TextField()),
                (
                    "opened_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                (
                    "seen_at",
                    models.DateTimeField(db_default=django.db.models.functions.datetime.Now()),
                ),
                ("closed_at", models.DateTimeField(null=True)),
                ("posted_at", models.DateTimeField(null=True)),
                ("mailed_at", models.DateTimeField(null=True)),
                ("tries", models.IntegerField(db_default=0)),
                ("error", models.TextField(db_default="")),
            ],
            options={
                "db_table": "alert",
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="AppSample",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "bucket",
                        "stream",
                        "app",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("bucket", models.DateTimeField()),
                ("stream", models.BigIntegerField()),
                ("app", models.UUIDField()),
                ("updates", models.BigIntegerField()),
                ("mirrored", models.BigIntegerField()),
                ("error", models.BigIntegerField()),
            ],
            options={
                "db_table": "app_sample",
            },
        ),
        migrations.CreateModel(
            name="LaneSample",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "stream",
                        "lane",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("stream", models.BigIntegerField()),
                ("lane", models.IntegerField()),
                ("at", models.DateTimeField()),
                ("writes", models.BigIntegerField()),
                ("oldest_s", models.FloatField()),
                ("attempt", models.IntegerField()),
            ],
            options={
                "db_table": "lane_sample",
            },
        ),
        migrations.CreateModel(
            name="QueueSample",
            fields=[
                ("lane", models.IntegerField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField()),
                ("tasks", models.BigIntegerField()),
                ("workers", models.IntegerField(null=True)),
            ],
            options={
                "db_table": "queue_sample",
            },
        ),
        migrations.CreateModel(
            name="Replay",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("app", models.UUIDField()),
                ("record", models.UUIDField()),
                ("author", models.CharField(max_length=150)),
                ("reason", models.TextField(help_text="Why: the next person reads this.")),
                ("at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ("until", models.BigIntegerField()),
                ("position", models.BigIntegerField(db_default=0)),
                ("started_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("found", models.BigIntegerField(db_default=0)),
                ("sent", models.BigIntegerField(db_default=0)),
                ("lost", models.BigIntegerField(db_default=0)),
                ("error", models.TextField(db_default="")),
            ],
            options={
                "db_table": "replay",
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="StreamSample",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "bucket",
                        "stream",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("bucket", models.DateTimeField()),
                ("stream", models.BigIntegerField()),
                ("at", models.DateTimeField()),
                ("bridge", models.TextField()),
                ("log_end", models.BigIntegerField(null=True)),
                ("planned", models.BigIntegerField()),
                ("frontier", models.BigIntegerField()),
                ("lag_s", models.FloatField()),
                ("lag_s_max", models.FloatField()),
                ("held_bytes", models.BigIntegerField()),
                ("held_writes", models.BigIntegerField()),
                ("paused", models.BooleanField()),
                ("messages", models.BigIntegerField()),
                ("writes", models.BigIntegerField()),
                ("mirrored", models.BigIntegerField()),
                ("skipped", models.BigIntegerField()),
                ("dead", models.BigIntegerField()),
            ],
            options={
                "db_table": "stream_sample",
            },
        ),
        migrations.CreateModel(
            name="Watcher",
            fields=[
                ("id", models.IntegerField(default=1, primary_key=True, serialize=False)),
                ("name", models.TextField()),
                ("at", models.DateTimeField()),
            ],
            options={
                "db_table": "watcher",
            },
        ),
        migrations.CreateModel(
            name="WorkerSample",
            fields=[
                ("name", models.TextField(primary_key=True, serialize=False)),
                ("seen_at", models.DateTimeField()),
                ("progressed_at", models.DateTimeField()),
                ("active", models.IntegerField()),
                ("processed", models.BigIntegerField()),
                ("offline", models.BooleanField(db_default=False)),
            ],
            options={
                "db_table": "worker_sample",
            },
        ),
        migrations.AlterModelOptions(
            name="deadletter",
            options={
                "ordering": ("-id",),
                "permissions": [("replay_deadletter", "Can replay dead letter")],
            },
        ),
        migrations.AlterModelOptions(
            name="skipped",
            options={
                "ordering": ("-id",),
                "permissions": [("replay_skipped", "Can replay skipped updates")],
                "verbose_name_plural": "skipped updates",
            },
        ),
        migrations.AddIndex(
            model_name="linkcount",
            index=models.Index(
                models.F("app"),
                models.OrderBy(models.F("n"), descending=True),
                condition=models.Q(("n__gte", 10)),
                name="link_count_most",
            ),
        ),
        migrations.AddIndex(
            model_name="alert",
            index=models.Index(fields=["-opened_at"], name="alert_newest"),
        ),
        migrations.AddIndex(
            model_name="alert",
            index=models.Index(fields=["app", "-opened_at"], name="alert_app"),
        ),
        migrations.AddConstraint(
            model_name="alert",
            constraint=models.UniqueConstraint(
                condition=models.Q(("closed_at", None)), fields=("key",), name="alert_one_open"
            ),
        ),
        migrations.AddIndex(
            model_name="appsample",
            index=models.Index(fields=["app", "bucket"], name="app_sample_app"),
        ),
        migrations.AddIndex(
            model_name="replay",
            index=models.Index(fields=["app", "record"], name="replay_record"),
        ),
    ]
