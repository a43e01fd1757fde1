"""The pages of users and groups. Users are never deleted, so that the audit trail stays complete."""

from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, Permission, User
from django.http import HttpRequest

from notify.admin.listing import NotedAdmin
from notify.admin.reasons import ReasonedAdmin, ReasonField, ReasonForm
from notify.admin.unfolded import (
    AdminPasswordChangeForm,
    Checkboxes,
    UserChangeForm,
    UserCreationForm,
)

admin.site.unregister(User)
admin.site.unregister(Group)


class PermissionsField(forms.ModelMultipleChoiceField):  # type: ignore[type-arg] # fails at run time
    """Checkboxes for permissions, grouped by app and model."""

    widget = Checkboxes

    def __init__(self) -> None:
        rows = Permission.objects.select_related("content_type")
        ordered = rows.order_by("content_type__app_label", "content_type__model", "codename")
        super().__init__(ordered, required=False, widget=Checkboxes(attrs={"class": "n-columns"}))

    def label_from_instance(self, permission: Any) -> str:
        """The app and the name of a permission; the name contains the model."""
        return f"{permission.content_type.app_label}: {permission.name}"


class UserForm(ReasonForm, UserChangeForm):
    """The form of a user."""

    groups = forms.ModelMultipleChoiceField(
        Group.objects.order_by("name"),
        label="Roles",
        required=False,
        widget=Checkboxes(),
        help_text="The person gets the permissions of all these roles.",
    )


class NewUserForm(ReasonForm, UserCreationForm):
    """The form of a new user: name and password."""


class PasswordForm(AdminPasswordChangeForm):
    """The form that sets a user's password."""

    reason = ReasonField()


class GroupForm(ReasonForm):
    """The form of a role."""

    permissions = PermissionsField()

    class Meta:
        model = Group
        fields = ("name", "permissions")


@admin.register(User)
class UserAdmin(ReasonedAdmin, NotedAdmin, DjangoUserAdmin):  # type: ignore[type-arg] # fails at run time
    """The pages of users. Only superusers make or change superusers."""

    form = UserForm
    add_form = NewUserForm
    change_password_form = PasswordForm
    change_user_password_template = "admin/notify/change_password.html"  # noqa: S105 - a path
    actions = None
    list_display = ("username", "email", "roles", "is_active", "is_superuser", "last_login")
    list_filter = ("is_active", "is_superuser", "groups")
    filter_horizontal = ()
    # Unfold's ModelAdmin has an empty one, which comes first in the order of resolution.
    add_fieldsets = DjangoUserAdmin.add_fieldsets
    fieldsets = (
        (None, {"fields": ("username", "password")}),
        ("Person", {"fields": ("first_name", "last_name", "email")}),
        ("May", {"fields": ("is_active", "is_staff", "is_superuser", "groups")}),
        ("Seen", {"fields": ("last_login", "date_joined")}),
    )
    readonly_fields = ("last_login", "date_joined")
    note = "Users are never deleted. To stop somebody from logging in, make the account inactive."

    def get_queryset(self, request: HttpRequest) -> Any:
        """Loads the groups too, for the list."""
        return super().get_queryset(request).prefetch_related("groups")

    @admin.display(description="roles")
    def roles(self, user: User) -> str:
        """The names of the user's groups."""
        return ", ".join(group.name for group in user.groups.all()) or "none"

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Whether the user may change this one: only superusers change superusers."""
        reach = obj is None or not obj.is_superuser or request.user.is_superuser
        return bool(reach and super().has_change_permission(request, obj))

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Lets only superusers make a user a superuser."""
        given = tuple(super().get_readonly_fields(request, obj))
        return given if request.user.is_superuser else (*given, "is_superuser")


@admin.register(Group)
class GroupAdmin(ReasonedAdmin, NotedAdmin, DjangoGroupAdmin):
    """The pages of roles. Each migration restores those that ship with the service."""

    form = GroupForm
    actions = None
    filter_horizontal = ()
    # Without these Django shows every field of the form, and with them the reason a second time.
    fieldsets = ((None, {"fields": ("name", "permissions")}),)
    note = (
        "viewer, support and admin ship with the service: each migration gives them what they lack. "
        "What you add to them stays."
    )
