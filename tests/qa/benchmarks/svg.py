"""Parts of the plots that benchmarks draw."""

from typing import Final

GREY: Final = "#64748b"
BLUE: Final = "#2563eb"
ORANGE: Final = "#c2410c"


def svg_head(width: int, height: int) -> list[str]:
    """The first lines: a white sheet with rounded corners."""
    return [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
            'font-family="system-ui, sans-serif" font-size="12" fill="#334155">'
        ),
        f'<rect width="{width}" height="{height}" rx="6" fill="#ffffff"/>',
    ]


def text(
    x: float, y: float, words: str, weight: str = "400", *, size: int = 12, anchor: str = "start"
) -> str:
    """A line of text."""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}" '
        f'text-anchor="{anchor}">{words}</text>'
    )


def round_up(value: float) -> float:
    """The end of a scale: 1, 2, 4, 6, 8 or 10 times a power of ten, not below the value."""
    size = 1.0
    while size * 10 < value:
        size *= 10
    return next(step * size for step in (1, 2, 4, 6, 8, 10) if step * size >= value * 0.999)
