"""When a link was made, and an index to read a user's newest links by, built while links are written.

Links from before have the time of this migration. The release before writes links without the column:
its default fills it.
"""

from django.contrib.postgres.operations import AddIndexConcurrently, RemoveIndexConcurrently
from django.db import migrations, models
from django.db.models.functions import Now


class Migration(migrations.Migration):
    atomic = False
    dependencies = [("notify", "0019_nobody_names")]
    operations = [
        migrations.AddField("link", "linked_at", models.DateTimeField(db_default=Now())),
        AddIndexConcurrently(
            "link",
            models.Index(
                fields=["app", "parent", "label", "parent_gen", "-linked_at", "child"],
                name="link_newest_of_user",
                condition=models.Q(label__in=["user", "merged", "alias"]),
            ),
        ),
        RemoveIndexConcurrently("link", "link_of_user"),
    ]
