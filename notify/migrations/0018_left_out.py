"""How many values of each app's requests were left out."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("notify", "0017_unavailable_sample"),
    ]

    operations = [
        migrations.CreateModel(
            name="LeftOutSample",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "bucket",
                        "app",
                        "what",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("bucket", models.DateTimeField()),
                ("app", models.UUIDField()),
                ("what", models.TextField()),
                ("n", models.BigIntegerField()),
            ],
            options={
                "db_table": "left_out_sample",
                "indexes": [models.Index(fields=["app", "bucket"], name="left_out_sample_app")],
            },
        ),
    ]
