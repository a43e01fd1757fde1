"""An index of the deleted records, by which web lists them, built while records are written."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("notify", "0022_help_texts")]
    operations = [
        AddIndexConcurrently(
            "record",
            models.Index(fields=["id"], name="record_deleted", condition=models.Q(deleted=True)),
        ),
    ]
