"""Prints the files of the tests that failed and may run a second time, alone. Exit code 1: none may.

`python second_try.py CACHE_DIR`, with pytest's cache directory of the run that failed. What judges the
protocol has no second try: a fault that shows once in ten runs is a fault (decision 0046). The same holds
where many fail: that is no coincidence.
"""

import json
import sys
from pathlib import Path
from typing import Final

#: More failures than this are not tried again.
FAILED_MAX: Final = 3
#: Paths whose tests have no second try.
FINAL: Final = (
    "tests/acceptance/test_equality.py",
    "tests/contract/",
    "tests/qa/faults/",
    "tests/integration/test_pipeline.py",
    "tests/property/",
    "tests/simulation/",
)


def files(failed: list[str]) -> list[str]:
    """The files of these tests, given by node id; none where one of them has no second try."""
    if len(failed) > FAILED_MAX or any(name.startswith(FINAL) for name in failed):
        return []
    return sorted({name.partition("::")[0] for name in failed})


def main() -> int:
    """See the module's text."""
    cache = Path(sys.argv[1]) / "v/cache/lastfailed"
    failed = files(list(json.loads(cache.read_text()))) if cache.exists() else []
    print(*failed)
    return 0 if failed else 1


if __name__ == "__main__":
    sys.exit(main())
