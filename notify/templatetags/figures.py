"""Numbers as pages show them."""

import re

from django import template
from django.utils.html import format_html_join
from django.utils.safestring import SafeString

register = template.Library()
_NONE = "\N{EN DASH}"
_STEPS = ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h"), (float("inf"), 86_400, "d"))


@register.filter
def commands(text: str) -> SafeString:
    """What stands between backticks as code: it can be seen where a command begins and ends."""
    parts = re.split(r"`([^`]*)`", text)
    tagged = [("code" if n % 2 else "span", part) for n, part in enumerate(parts)]
    return format_html_join("", "<{0}>{1}</{0}>", tagged)


@register.filter
def count(number: float | None) -> str:
    """Whole, with a comma before each three digits; a dash for None."""
    return _NONE if number is None else f"{number:,.0f}"


@register.filter
def rate(number: float) -> str:
    """Something a second: one digit after the point below ten."""
    return f"{number:,.0f}" if number >= 10 or not number else f"{number:.1f}"


@register.filter
def percent(share: float) -> str:
    """0..1 as percent, one digit after the point below ten; what is not nothing is not 0."""
    value = share * 100
    if 0 < value < 0.1:
        return "<0.1"
    return f"{value:.0f}" if value >= 10 or not value else f"{value:.1f}"


@register.filter
def bar(share: float) -> str:
    """0..1 as the length of a bar, for CSS."""
    return f"{share:.1%}"


@register.filter
def seconds(value: float | None) -> str:
    """A length of time in its largest unit that leaves two; a dash for None."""
    if value is None:
        return _NONE
    if value < 10:
        return f"{max(0.0, value):.1f} s"
    unit = next((size, name) for below, size, name in _STEPS if value < below)
    return f"{value / unit[0]:.0f} {unit[1]}"


@register.filter
def size(octets: float | None) -> str:
    """Bytes as KiB or MiB; a dash for None."""
    if octets is None:
        return _NONE
    return f"{octets / 1024:,.0f} KiB" if octets < 1 << 20 else f"{octets / (1 << 20):,.1f} MiB"
