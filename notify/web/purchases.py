"""Money as SDKs report it: decimal strings, in whatever form a shop prints them."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from notify.domain.errors import Malformed
from notify.domain.update import SPENT_MICROS_MAX
from notify.web import left_out
from notify.web.left_out import LeftOut

#: Of one request; the SDK lists what billing returned at once.
PURCHASES_MAX: Final = 100
_MICROS: Final = 1_000_000


def counted(purchases: object, left: LeftOut) -> tuple[int, int]:
    """(number of purchases, micros spent) in the body's list.

    An amount that is no amount of money, is negative, or would take the sum past what a counter takes,
    counts as a purchase of nothing, and what is past PURCHASES_MAX is left out: a refusal would make the
    SDK report all of them again at each start. Raises Malformed for a list that is none.
    """
    if not isinstance(purchases, list) or not all(isinstance(each, Mapping) for each in purchases):
        raise Malformed("purchases must be a list of objects")
    if not purchases:
        raise Malformed("purchases must not be empty")
    over = len(purchases) - PURCHASES_MAX
    if over > 0:
        why = f"{over} purchases, since a request has at most {PURCHASES_MAX}"
        left.add(left_out.PURCHASE, why, n=over)
    taken = purchases[:PURCHASES_MAX]
    spent = unread = 0
    for purchase in taken:
        amount = micros(purchase.get("amount"))
        if amount is not None and spent + amount <= SPENT_MICROS_MAX:
            spent += amount
        else:
            unread += 1
    if unread:
        why = f"the amounts of {unread} purchases: an amount is a decimal number such as 12.99"
        left.add(left_out.PURCHASE, why, n=unread)
    return len(taken), spent


def micros(amount: Any) -> int | None:
    """The amount in millionths of its currency, rounded half to even. None if it is no amount, is
    negative, or is more than one update may add."""
    if isinstance(amount, bool) or not isinstance(amount, (str, int, float)):
        return None
    text = str(amount).strip()
    if len(text) > 40:
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    if not value.is_finite() or not 0 <= value <= SPENT_MICROS_MAX:
        return None
    in_micros = round(value * _MICROS)
    return in_micros if in_micros <= SPENT_MICROS_MAX else None
