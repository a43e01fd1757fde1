"""The shortest schedule that still breaks: delta debugging over its steps."""

from collections.abc import Callable, Sequence

from tests.simulation.schedule import Broken, run

Run = Callable[[Sequence[int]], Broken | None]


def shrink(broken: Broken, again: Run | None = None) -> Broken:
    """The same seed with as few steps as break in the same way; no single one can be left out.

    `again` runs some steps of the seed's schedule; by default the plain one.
    """
    play = again or (lambda steps: run(broken.seed, steps=steps))

    def breaks(steps: Sequence[int]) -> bool:
        found = play(steps)
        return found is not None and found.kind == broken.kind

    kept = [step for step in broken.steps if step <= broken.step]
    size = max(len(kept) // 2, 1)
    while size:
        at = 0
        while at < len(kept):
            fewer = kept[:at] + kept[at + size :]
            if breaks(fewer):
                kept = fewer
            else:
                at += size
        size //= 2
    found = play(kept)
    assert found is not None, "a schedule broke once and not again: something is not in the seed"
    return found


def as_text(steps: Sequence[int]) -> str:
    """The steps as `STEPS=` has them: 3,8-12,40."""
    spans: list[list[int]] = []
    for step in sorted(steps):
        if spans and spans[-1][1] == step - 1:
            spans[-1][1] = step
        else:
            spans.append([step, step])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in spans)


def from_text(text: str) -> list[int]:
    """The steps that `as_text` wrote. Raises ValueError."""
    found: list[int] = []
    for span in filter(None, text.split(",")):
        first, _, last = span.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found
