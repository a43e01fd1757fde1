"""Money as SDKs report it: decimal strings, in whatever form a shop prints them."""

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, Final

from notify.domain.errors import Malformed
from notify.domain.update import SPENT_MICROS_MAX

#: Of one request; the SDK lists what billing returned at once.
PURCHASES_MAX: Final = 100
_MICROS: Final = 1_000_000


def counted(purchases: object) -> tuple[int, int]:
    """(number of purchases, micros spent) in the body's list.

    An amount that is no plain number ("4,99 zł": one shop's SDK cuts it out of a price text), is
    negative, or would take the sum past what a counter takes, counts as a purchase of nothing: a
    refusal would make the SDK report all of them again at each start. Raises Malformed for a list
    that is none.
    """
    if not isinstance(purchases, list) or not all(isinstance(each, Mapping) for each in purchases):
        raise Malformed("purchases must be a list of objects")
    if not 0 < len(purchases) <= PURCHASES_MAX:
        raise Malformed(f"purchases must have 1 to {PURCHASES_MAX} entries")
    spent = 0
    for purchase in purchases:
        amount = micros(purchase.get("amount"))
        if amount is not None and spent + amount <= SPENT_MICROS_MAX:
            spent += amount
    return len(purchases), spent


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
