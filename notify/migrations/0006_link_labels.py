"""The labels that may have a limit: aliases and logins of a user, too."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("notify", "0005_link_of_user"),
    ]

    operations = [
        migrations.AlterField(
            model_name="linklimit",
            name="label",
            field=models.CharField(
                choices=[
                    ("email", "email"),
                    ("sms", "sms"),
                    ("user", "user"),
                    ("alias", "alias"),
                    ("merged", "merged"),
                ],
                max_length=10,
            ),
        ),
    ]
