"""Makes a recording of the demo short enough for the README: `python -m tests.qa.rehearsal.thin FROM_S`.

Reads an asciicast (version 2) from standard input and writes one to standard output: whole screens, at
most one each EVERY_S, played FASTER, from FROM_S seconds on. The README's picture is made so:

    asciinema rec --cols 110 --rows 34 -c "make demo EXIT=1" demo.cast
    python -m tests.qa.rehearsal.thin 9 < demo.cast > thin.cast
    npx svg-term-cli --in thin.cast --out docs/images/demo.svg --window --no-cursor
"""

import json
import sys
from typing import Final

EVERY_S: Final = 2.0
FASTER: Final = 3.0
#: A screen is whole where nothing is written for so long after it.
WHOLE_S: Final = 0.15
#: How long the last screen stays.
END_S: Final = 3.0


def main(from_s: float) -> None:
    """As above. What was written before `from_s` is on the first screen."""
    header, *lines = sys.stdin.read().splitlines()
    events = [(at, text) for at, kind, text in map(json.loads, lines) if kind == "o"]
    print(header)
    waiting, shown_at = "", float("-inf")
    for (at, text), (next_at, _) in zip(events, [*events[1:], (float("inf"), "")], strict=True):
        waiting += text
        is_whole = next_at - at >= WHOLE_S
        if at >= from_s and is_whole and (at - shown_at >= EVERY_S or next_at == float("inf")):
            print(json.dumps([round((at - from_s) / FASTER, 3), "o", waiting]))
            waiting, shown_at = "", at
    print(json.dumps([round((shown_at - from_s) / FASTER + END_S, 3), "o", ""]))


if __name__ == "__main__":
    main(float(sys.argv[1]))
