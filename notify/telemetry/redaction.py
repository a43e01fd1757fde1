"""What a log line must not say, taken out of texts that others wrote.

Our own lines have no bodies and no secrets in the first place. This is for the words of libraries and
servers: PostgreSQL quotes values, and an address or a password may stand in anything.
"""

import re
from typing import Final, NamedTuple

MASK: Final = "[redacted]"


class _Rule(NamedTuple):
    """Applied where the text has one of `signs`; every repetition has an end, so a text of any form
    takes a time that grows no faster than its length."""

    signs: tuple[str, ...]
    pattern: re.Pattern[str]
    replacement: str


_RULES: Final = (
    # Of a URL, the password.
    _Rule(
        ("://",),
        re.compile(r"(://[^\s:/@]{0,200}):[^\s/]{0,500}@"),
        rf"\1:{MASK}@",
    ),
    # Of settings in any form, and of libpq's key=value, the value.
    _Rule(
        ("password", "secret", "pepper", "token"),
        re.compile(
            r"((?:password|secret|pepper|token)\w{0,40}['\"]?\s{0,4}[=:]\s{0,4})(?!\[redacted\])"
            r"[^\s,;&)}]{1,500}",
            re.IGNORECASE,
        ),
        rf"\1{MASK}",
    ),
    # Credentials of requests: app keys, and JWTs wherever they are.
    _Rule(
        ("key ", "bearer ", "basic "),
        re.compile(
            r"\b(Key|Bearer|Basic) {1,4}(?=[^\s\d_=]{0,500}[\d_=])[A-Za-z0-9_.~+/=-]{8,2000}",
            re.IGNORECASE,
        ),
        rf"\1 {MASK}",
    ),
    _Rule(("eyj",), re.compile(r"\beyJ[\w-]{1,4000}\.[\w-]{1,8000}\.?[\w-]{0,2000}"), MASK),
    # PostgreSQL: what explains an error quotes the row; of the error itself, what follows a type.
    _Rule(
        ("detail:", "context:", "hint:", "query:", "statement:"),
        re.compile(r"^([ \t]{0,20}(?:DETAIL|CONTEXT|HINT|QUERY|STATEMENT):).*$", re.MULTILINE),
        rf"\1 {MASK}",
    ),
    _Rule(
        ("for type ", "for enum ", "for encoding "),
        re.compile(r"(for (?:type|enum|encoding) [\w \"]{1,100}:) .*$", re.MULTILINE),
        rf"\1 {MASK}",
    ),
    # E-mail addresses.
    _Rule(
        ("@",),
        re.compile(
            r"[^\s\"'<>(){}\[\]:,;=@/]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63}){1,8}"
        ),
        MASK,
    ),
)


def redacted(text: str) -> str:
    """The text with passwords, keys, tokens, email addresses and values quoted by PostgreSQL masked."""
    lowered = text.lower()
    for signs, pattern, replacement in _RULES:
        if any(sign in lowered for sign in signs):
            text = pattern.sub(replacement, text)
    return text
