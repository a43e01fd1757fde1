"""Names and addresses that stand for a missing value, such as "null": they are nobody's.

Some apps log in with the text of an unset variable, so that all their devices send "null" as the user's
name. All of them would become one user, and one hot record.
"""

import re
from collections.abc import Collection
from typing import Final

from notify.domain.records import ids

#: The names that are nobody's for apps without a list of their own, in lower case.
NAMES: Final = frozenset((
    "null", "(null)", "<null>", "nil", "<nil>", "none", "undefined", "(undefined)", "nan", "na", "n/a",
    "unknown", "not set", "unset", "empty", "true", "false", "all", "-1", "0", "1", "[object object]",
    "{}", "[]", "00000000-0000-0000-0000-000000000000",
))  # fmt: skip
#: The longest list that an app may have, in characters.
NAMES_CHARS_MAX: Final = 4_000
#: The fewest digits that a telephone number may have.
DIGITS_MIN: Final = 3

_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")
_NUMBER: Final = re.compile(rf"\+(?!0*$)\d{{{DIGITS_MIN},}}")


def names_in(text: str | None) -> frozenset[str]:
    """The names in a text with one name a line, in lower case; the built-in list for None."""
    if text is None:
        return NAMES
    return frozenset(line.strip().lower() for line in text.splitlines() if line.strip())


def is_nobody(name: str, names: Collection[str] = NAMES) -> bool:
    """Whether the name is blank or one of `names`, in upper or lower case."""
    return name.strip().lower() in names or not name.strip()


def is_address(kind: str, text: str) -> bool:
    """Whether the text can be an email address, a telephone number or a push token, according to `kind`."""
    if kind == "email":
        return _EMAIL.fullmatch(text.strip()) is not None
    if kind == "sms":
        return _NUMBER.fullmatch(ids.normalised(kind, text)) is not None
    return not is_nobody(text)
