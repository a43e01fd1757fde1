"""An index to read a user's subscriptions by, built while links are written."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("notify", "0004_seen")]
    operations = [
        AddIndexConcurrently(
            "link",
            models.Index(
                fields=["app", "parent"],
                name="link_of_user",
                condition=models.Q(label__in=["user", "merged", "alias"]),
            ),
        )
    ]
