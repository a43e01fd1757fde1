"""Skip rules and link limits: versions that staff add, and views of those in force."""

import uuid
from typing import Any

from django.db import models, transaction

from notify.domain.records.policy import SCOPE_ALL, SCOPE_MIRRORED
from notify.domain.records.update import LABELS
from notify.models.apps import App


class PolicyHead(models.Model):
    """One row: the newest policy version. Locked by every edit, so versions commit in order."""

    id = models.IntegerField(primary_key=True, default=1)
    version = models.BigIntegerField(default=0)

    class Meta:
        db_table = "policy_head"


class PolicyVersion(models.Model):
    """An edit of the policy: never changed, never deleted. The newest of a key is in force."""

    version = models.BigIntegerField(primary_key=True, editable=False)
    reason = models.TextField(
        help_text="Why you make this change. Colleagues read it here and in the audit trail."
    )
    author = models.CharField(
        max_length=150, editable=False, help_text="The user name of who made this version."
    )
    at = models.DateTimeField(auto_now_add=True, help_text="When this version was made.")
    expires_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When the rule or limit ends by itself. Leave empty for never.",
    )

    class Meta:
        abstract = True

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Add this edit as the newest version; a row once saved is refused."""
        if self.version is not None:
            raise ValueError("A policy version is never changed: add a new one.")
        with transaction.atomic():
            head, _ = PolicyHead.objects.select_for_update().get_or_create(id=1)
            head.version += 1
            head.save()
            self.version = head.version
            self._before_insert()
            super().save(*args, force_insert=True, **kwargs)

    def delete(self, *args: Any, **kwargs: Any) -> tuple[int, dict[str, int]]:
        """Refused: lift the rule or the limit with a new version instead."""
        raise ValueError("A policy version is never deleted: add a new one.")

    def _before_insert(self) -> None:
        """For fields that depend on the version."""


class SkipRule(PolicyVersion):
    """A version of the rule to drop updates of one record. `rule` is the same in all its versions."""

    SCOPES = [(SCOPE_ALL, "all its updates"), (SCOPE_MIRRORED, "mirrored updates only")]

    rule = models.BigIntegerField(editable=False)
    app = models.ForeignKey(
        App, on_delete=models.PROTECT, help_text="The app that the record belongs to."
    )
    record = models.UUIDField(help_text="The id of the record whose updates are dropped.")
    scope = models.CharField(
        max_length=10,
        choices=SCOPES,
        default=SCOPE_ALL,
        help_text="What is dropped: all updates, or only those that are mirrored from linked records.",
    )
    active = models.BooleanField(
        default=True, help_text="Off lifts the rule: updates are applied again."
    )

    class Meta:
        db_table = "skip_rule"
        ordering = ("-version",)
        indexes = [models.Index(fields=["app", "record", "-version"], name="skip_rule_newest")]

    def __str__(self) -> str:
        return f"skip {self.record}"

    @classmethod
    def now_of(cls, app: uuid.UUID, record: uuid.UUID) -> "SkipRule | None":
        """The version that drops the record's updates now."""
        return cls.objects.filter(in_force__app_id=app, in_force__record=record).first()

    def _before_insert(self) -> None:
        first = (
            SkipRule.objects.filter(app=self.app, record=self.record).order_by("version").first()
        )
        self.rule = self.version if first is None else first.rule


class LinkLimit(PolicyVersion):
    """A version of the most children of a parent, for one label, of one app or (app empty) of all."""

    app = models.ForeignKey(
        App,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        help_text="The app that the limit is for. Empty: all apps without a limit of their own.",
    )
    label = models.CharField(
        max_length=10,
        choices=[(label, label) for label in LABELS],
        help_text="The kind of link that is limited.",
    )
    children = models.PositiveBigIntegerField(
        null=True,
        blank=True,
        help_text="Records that may be linked to one record. Leave empty to remove the app's own limit: "
        "that of all apps then applies.",
    )

    class Meta:
        db_table = "link_limit"
        ordering = ("-version",)
        indexes = [models.Index(fields=["app", "label", "-version"], name="link_limit_newest")]

    def __str__(self) -> str:
        return f"{self.label}: {self.children}"


class SkipRuleInForce(models.Model):
    """A row of the view of the skip rules that are in force now. Bounded only if `app_id` is asked for."""

    version = models.OneToOneField(
        SkipRule, models.DO_NOTHING, primary_key=True, db_column="version", related_name="in_force"
    )
    app_id = models.UUIDField()
    record = models.UUIDField()

    class Meta:
        managed = False
        db_table = "skip_rule_in_force"
        default_permissions = ()


class LinkLimitInForce(models.Model):
    """A row of the view of the link limits that are in force now, `app_id` being None for all apps."""

    version = models.OneToOneField(
        LinkLimit, models.DO_NOTHING, primary_key=True, db_column="version", related_name="in_force"
    )
    app_id = models.UUIDField(null=True)
    label = models.CharField(max_length=10)

    class Meta:
        managed = False
        db_table = "link_limit_in_force"
        default_permissions = ()
