"""Public keys of apps, and the switch that requires their tokens.

`requires_identity` has a default in the database too, so that processes of the version before can
still make apps.
"""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("notify", "0002_storage")]
    operations = [
        migrations.AddField(
            model_name="app",
            name="requires_identity",
            field=models.BooleanField(
                db_default=False,
                default=False,
                help_text="SDK calls that name a user, an email address or a number must carry a "
                "token of the app's server. Old SDKs (4.x) have no tokens: they can then name "
                "nobody.",
            ),
        ),
        migrations.AddConstraint(
            model_name="app",
            constraint=models.CheckConstraint(
                condition=models.Q(requires_key=False) | models.Q(requires_identity=False),
                name="app_key_or_identity",
                violation_error_message="Choose one: where every call carries a key, there is none "
                "that a token could verify.",
            ),
        ),
        migrations.CreateModel(
            name="IdentityKey",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("pem", models.TextField()),
                ("fingerprint", models.CharField(max_length=64)),
                ("added_by", models.CharField(max_length=150)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("revoked_at", models.DateTimeField(blank=True, null=True)),
                (
                    "app",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="identity_keys",
                        to="notify.app",
                    ),
                ),
            ],
            options={"db_table": "identity_key", "ordering": ("-created_at", "-id")},
        ),
        migrations.AddConstraint(
            model_name="identitykey",
            constraint=models.UniqueConstraint(
                fields=("app", "fingerprint"), name="identity_key_once"
            ),
        ),
    ]
