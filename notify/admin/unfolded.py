"""Unfold's classes, by the types of Django's that they extend: Unfold brings none of its own."""

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from typing import Any

    from django import forms as widgets
    from django.contrib import admin
    from django.contrib.admin.views.main import ChangeList
    from django.contrib.auth import forms
    from django.contrib.auth.models import User

    ModelAdmin: TypeAlias = admin.ModelAdmin[Any]
    TabularInline: TypeAlias = admin.TabularInline[Any, Any]
    TextInput = widgets.TextInput
    Textarea = widgets.Textarea
    Checkbox = widgets.CheckboxInput
    Checkboxes = widgets.CheckboxSelectMultiple
    AdminPasswordChangeForm: TypeAlias = forms.AdminPasswordChangeForm[User]
    UserChangeForm: TypeAlias = forms.UserChangeForm[User]
    UserCreationForm: TypeAlias = forms.AdminUserCreationForm[User]
else:
    from unfold import widgets
    from unfold.admin import ModelAdmin, TabularInline
    from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
    from unfold.views import ChangeList

    Checkbox = widgets.UnfoldBooleanWidget
    Checkboxes = widgets.UnfoldAdminCheckboxSelectMultipleWidget
    Textarea = widgets.UnfoldAdminTextareaWidget
    TextInput = widgets.UnfoldAdminTextInputWidget

__all__ = [
    "AdminPasswordChangeForm",
    "ChangeList",
    "Checkbox",
    "Checkboxes",
    "ModelAdmin",
    "TabularInline",
    "TextInput",
    "Textarea",
    "UserChangeForm",
    "UserCreationForm",
]
