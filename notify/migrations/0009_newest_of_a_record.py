"""Indexes for the newest skipped updates and dead letters of a record, built while rows are written."""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False

    dependencies = [
        ("notify", "0008_samples"),
    ]

    operations = [
        AddIndexConcurrently(
            model_name="deadletter",
            index=models.Index(fields=["record", "-id"], name="dead_letter_record_newest"),
        ),
        AddIndexConcurrently(
            model_name="skipped",
            index=models.Index(fields=["record", "-id"], name="skipped_record_newest"),
        ),
        RemoveIndexConcurrently(model_name="deadletter", name="dead_letter_record"),
        RemoveIndexConcurrently(model_name="skipped", name="skipped_record"),
    ]
