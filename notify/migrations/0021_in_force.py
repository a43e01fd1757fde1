"""Views of the skip rules and of the link limits that are in force now: decision 0044.

A version is in force if no newer one replaces it, it is not lifted, and it has not expired. Each view is
written with NOT EXISTS rather than DISTINCT ON, so that whoever joins it reads the versions of the wanted
records or apps alone. A limit for all apps has no app, and NULL equals nothing: hence its own condition.
"""

from typing import Any

import django.db.models.deletion
from django.db import migrations, models

SKIP_RULES = """
CREATE VIEW skip_rule_in_force AS
SELECT version, app_id, record, rule, scope, expires_at
FROM skip_rule AS chosen
WHERE active AND (expires_at IS NULL OR expires_at > statement_timestamp())
    AND NOT EXISTS (
        SELECT FROM skip_rule AS newer
        WHERE newer.app_id = chosen.app_id AND newer.record = chosen.record
            AND newer.version > chosen.version
    )
"""
LINK_LIMITS = """
CREATE VIEW link_limit_in_force AS
SELECT version, app_id, label, children, expires_at
FROM link_limit AS chosen
WHERE children IS NOT NULL AND (expires_at IS NULL OR expires_at > statement_timestamp())
    AND NOT EXISTS (
        SELECT FROM link_limit AS newer
        WHERE newer.app_id = chosen.app_id AND newer.label = chosen.label
            AND newer.version > chosen.version
    )
    AND NOT EXISTS (
        SELECT FROM link_limit AS newer
        WHERE chosen.app_id IS NULL AND newer.app_id IS NULL AND newer.label = chosen.label
            AND newer.version > chosen.version
    )
"""


def _version_of(model: str) -> Any:
    return models.OneToOneField(
        f"notify.{model}",
        on_delete=django.db.models.deletion.DO_NOTHING,
        db_column="version",
        primary_key=True,
        related_name="in_force",
        serialize=False,
    )


class Migration(migrations.Migration):
    dependencies = [("notify", "0020_link_newest")]
    operations = [
        migrations.RunSQL(SKIP_RULES, reverse_sql="DROP VIEW skip_rule_in_force"),
        migrations.RunSQL(LINK_LIMITS, reverse_sql="DROP VIEW link_limit_in_force"),
        migrations.CreateModel(
            "SkipRuleInForce",
            [
                ("version", _version_of("skiprule")),
                ("app_id", models.UUIDField()),
                ("record", models.UUIDField()),
            ],
            options={"db_table": "skip_rule_in_force", "managed": False, "default_permissions": ()},
        ),
        migrations.CreateModel(
            "LinkLimitInForce",
            [
                ("version", _version_of("linklimit")),
                ("app_id", models.UUIDField(null=True)),
                ("label", models.CharField(max_length=10)),
            ],
            options={
                "db_table": "link_limit_in_force",
                "managed": False,
                "default_permissions": (),
            },
        ),
    ]
