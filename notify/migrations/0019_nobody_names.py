"""An app may have its own list of names that are nobody's; NULL is the built-in one."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("notify", "0018_left_out"),
    ]

    operations = [
        migrations.AddField(
            model_name="app",
            name="nobody_names",
            field=models.TextField(
                blank=True,
                help_text="One a line, in upper or lower case. A login with such a name is left out, with a "
                "warning: all devices that send it would become one user. Delete a line whose name "
                'is a user of this app, such as "0" or "1". Empty: every name is taken.',
                null=True,
                verbose_name="names that are nobody's",
            ),
        ),
    ]
