"""A form field for an app, typed by name or UUID, since there may be too many for a list."""

from typing import Any

from django import forms

from notify.admin.unfolded import TextInput
from notify.models import App


class AppField(forms.ModelChoiceField):  # type: ignore[type-arg] # ...[App] fails at run time
    """A text that names an app. Whoever may fill the form may name any: no other permission is
    needed."""

    widget = TextInput
    default_error_messages = {
        "invalid_choice": "There is no app with this name or UUID.",
    }

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(App.objects.all(), **kwargs)

    def to_python(self, value: Any) -> App | None:
        """Finds the app. Raises ValidationError if there is none."""
        text = str(value or "").strip()
        if not text:
            return None
        app = App.named(text)
        if app is None:
            raise forms.ValidationError(self.error_messages["invalid_choice"], "invalid_choice")
        return app

    def prepare_value(self, value: Any) -> Any:
        """The app's name, for an id or an app; what was typed otherwise."""
        if isinstance(value, App):
            return value.name
        app = App.named(str(value)) if value else None
        return value if app is None else app.name
