"""Names and addresses that are nobody's: what apps send when a variable of theirs has no value.

An app that logs its users in with the text of a missing value sends "null" from every device. All of
them would become one user, and one hot record.
"""

import re
from collections.abc import Collection
from typing import Final

from notify.domain import ids

#: The names that are nobody's where an app has no list of its own; in lower case.
NAMES: Final = frozenset((
    "null", "(null)", "<null>", "nil", "<nil>", "none", "undefined", "(undefined)", "nan", "na", "n/a",
    "unknown", "not set", "unset", "empty", "true", "false", "all", "-1", "0", "1", "[object object]",
    "{}", "[]", "00000000-0000-0000-0000-000000000000",
))  # fmt: skip
#: Characters of an app's own list.
NAMES_CHARS_MAX: Final = 4_000
#: Digits of the shortest telephone number.
DIGITS_MIN: Final = 3

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
_NUMBER: Final = re.compile(rf"\+(?!0*$)\d{{{DIGITS_MIN},}}")


def names_in(text: str | None) -> frozenset[str]:
    """The list in a text of one name a line, in lower case; the built-in one for None."""
    if text is None:
        return NAMES
    return frozenset(line.strip().lower() for line in text.splitlines() if line.strip())


def is_nobody(name: str, names: Collection[str] = NAMES) -> bool:
    """Whether the name is one of these, whatever its case, or blank."""
    return name.strip().lower() in names or not name.strip()


def is_address(kind: str, text: str) -> bool:
    """Whether the text can be an e-mail address (`kind` email) or a telephone number (sms); of a push
    token, whether it can be one."""
    if kind == "email":
        return _EMAIL.fullmatch(text.strip()) is not None
    if kind == "sms":
        return _NUMBER.fullmatch(ids.normalised(kind, text)) is not None
    return not is_nobody(text)
