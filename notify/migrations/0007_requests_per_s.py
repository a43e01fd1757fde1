"""An app may have a limit of requests of its own."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("notify", "0006_link_labels"),
    ]

    operations = [
        migrations.AddField(
            model_name="app",
            name="requests_per_s",
            field=models.PositiveIntegerField(
                blank=True,
                help_text=(
                    "Past so many its calls get 429. Empty: everybody's limit holds. 0: no limit."
                ),
                null=True,
                verbose_name="requests a second",
            ),
        ),
    ]
