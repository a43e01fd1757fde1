"""Which failed logins a success forgets."""

from typing import Any

from axes.utils import reset
from django.contrib.auth.base_user import AbstractBaseUser


def end_count(user: AbstractBaseUser, **_: Any) -> None:
    """A login that succeeds ends the count of failures to that user name, and no other: else who has
    an account could try those of others without an end."""
    reset(username=user.get_username())
