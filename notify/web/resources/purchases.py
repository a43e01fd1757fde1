"""Reads amounts of money as SDKs report them: decimal strings in any form that shops print."""

import re
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from notify.domain.errors import Malformed
from notify.domain.records.update import SPENT_MICROS_MAX
from notify.web.resources import left_out
from notify.web.resources.left_out import LeftOut

#: The most purchases in one request; the SDK sends what the shop's billing returned at once.
PURCHASES_MAX: Final = 100
_MICROS: Final = 1_000_000
#: Currencies whose amounts have three decimals: there "1,299" is not thousands.
_THREE_DECIMALS: Final = frozenset(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"))
#: A number in digits of any script, before and behind it what is neither digit nor minus: a currency. It
#: may begin with its decimal sign, but not behind a letter: "Rs.499".
_PRICE: Final = re.compile(
    r"[^\d\-\u2212(]*?"
    r"(?P<number>(?:(?<![^\W\d_])[.,\u066b])?\d(?:[\d.,\u066b\u066c'\u2019\s]*\d)?)"
    r"[^\d\-\u2212)]*"
)
#: The Arabic decimal sign is a comma here; spaces and the Arabic one for groups are apostrophes.
_SIGNS: Final = str.maketrans(
    {"\u066b": ",", **dict.fromkeys("\u066c\u2019 \t\u00a0\u2009\u202f", "'")}
)
_GROUPED: Final = re.compile(r"(?!0)\d{1,3}(?:[.,']\d{2,3})*[.,']\d{3}")
_GROUPING: Final = re.compile(r"[.,']")


def counted(purchases: object, left: LeftOut) -> tuple[int, int]:
    """(number of purchases, micros spent) in the body's list.

    A purchase whose amount is invalid, is negative, or would make the sum too large for a counter counts
    with an amount of 0. Purchases after the first PURCHASES_MAX are left out. They are not refused,
    because the SDK would then report all of them again at each start. Raises Malformed if it is not a
    list.
    """
    if not isinstance(purchases, list) or not all(isinstance(each, Mapping) for each in purchases):
        raise Malformed("purchases must be a list of objects")
    if not purchases:
        raise Malformed("purchases must not be empty")
    over = len(purchases) - PURCHASES_MAX
    if over > 0:
        why = f"{over} purchases, because a request may have at most {PURCHASES_MAX}"
        left.add(left_out.PURCHASE, why, n=over)
    taken = purchases[:PURCHASES_MAX]
    spent = unread = 0
    for purchase in taken:
        amount = micros(purchase.get("amount"), purchase.get("iso"))
        if amount is not None and spent + amount <= SPENT_MICROS_MAX:
            spent += amount
        else:
            unread += 1
    if unread:
        why = f"the amounts of {unread} purchases: an amount must be a decimal number such as 12.99"
        left.add(left_out.PURCHASE, why, n=unread)
    return len(taken), spent


def micros(amount: Any, iso: object = None) -> int | None:
    """The amount in millionths of its currency, rounded half to even. None if it is invalid, negative, or
    more than one update may add. `iso` is the currency's code, if known."""
    if isinstance(amount, bool) or not isinstance(amount, (str, int, float)):
        return None
    text = str(amount).strip()
    if len(text) > 40:
        return None
    value = _plain(text)
    if value is None:
        value = _printed(text, str(iso).upper())
    if value is None or not value.is_finite() or not 0 <= value <= SPENT_MICROS_MAX:
        return None
    in_micros = round(value * _MICROS)
    return in_micros if in_micros <= SPENT_MICROS_MAX else None


def _plain(text: str) -> Decimal | None:
    """The number in a text such as "12.99" or "1e3"."""
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def _printed(text: str, iso: str) -> Decimal | None:
    """The number in a price as shops print it: with a comma, groups of digits or a currency.

    "12,99", "4,99 z\u0142", "EUR 1.234,50" and "1,00,000.00" are 12.99, 4.99, 1234.50 and 100000. The last
    sign is the decimal one, unless all of it reads as groups: "1,299" is 1299, but of a currency with
    three decimals ("KWD") 1.299.
    """
    found = _PRICE.fullmatch(text)
    if found is None:
        return None
    number = found["number"].translate(_SIGNS)
    whole, sign, decimals = number, "", ""
    last = max(number.rfind("."), number.rfind(","))
    has_three = iso in _THREE_DECIMALS and len(_GROUPING.findall(number)) == 1
    if last >= 0 and (has_three or not _is_grouped(number)):
        whole, sign, decimals = number[:last], number[last], number[last + 1 :]
    is_whole = not whole or whole.isdecimal() or _is_grouped(whole)
    if not is_whole or (sign and sign in whole):
        return None
    return _plain(f"{_GROUPING.sub('', whole) or 0}.{decimals or 0}")


def _is_grouped(number: str) -> bool:
    """Whether one and the same sign groups its digits, by three or, before the last three, by two."""
    return _GROUPED.fullmatch(number) is not None and len(set(_GROUPING.findall(number))) == 1
