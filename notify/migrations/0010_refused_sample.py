"""How many requests of each app were refused at a rate limit."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("notify", "0009_newest_of_a_record"),
    ]

    operations = [
        migrations.CreateModel(
            name="RefusedSample",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "bucket",
                        "app",
                        "limit",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("bucket", models.DateTimeField()),
                ("app", models.UUIDField()),
                ("limit", models.TextField()),
                ("n", models.BigIntegerField()),
            ],
            options={
                "db_table": "refused_sample",
                "indexes": [models.Index(fields=["app", "bucket"], name="refused_sample_app")],
            },
        ),
    ]
