"""What verifying a token costs, the first time and remembered: `python -m tests.qa.benchmarks.identity`.

Needs no service. Prints the median of ROUNDS rounds, and what a remembered token holds in memory.
"""

import statistics
import time
import tracemalloc
from collections.abc import Callable
from typing import Final

from notify.web.access.apps_cache import KnownApp
from notify.web.access.identity import TokenLimits, Verifier
from tests.identity_tokens import pair, public_pem, token

APP: Final = "6f1d2c1e-9a3b-4a55-8c7e-0d9d3b8f1a11"
ROUNDS: Final = 9
TOKENS: Final = 500


def main() -> None:
    """Measure and print."""
    app = KnownApp(APP, requires_identity=True, identity_keys=(public_pem(pair()),))
    email = [{"type": "Email", "token": "ann@example.org"}]
    made = [token(APP, subscriptions=email, n=n) for n in range(TOKENS)]
    limits = TokenLimits(leeway_s=30, lifetime_s=86_400, chars_max=4_096, kept_max=TOKENS)
    now_s = time.time()

    def verified(verifier: Verifier) -> None:
        for each in made:
            verifier.verify(app, each, now_s=now_s)

    warm = Verifier(limits)
    verified(warm)
    first = _median_us(lambda: verified(Verifier(limits)))
    again = _median_us(lambda: verified(warm))
    tracemalloc.start()
    held = Verifier(limits)
    verified(held)
    size = tracemalloc.get_traced_memory()[0] / len(held)
    tracemalloc.stop()
    print(f"a token of {len(made[0])} characters, CPU time")
    print(f"  verified    {first:7.1f} us")
    print(f"  remembered  {again:7.1f} us")
    print(f"  in memory   {size:7.0f} bytes")


def _median_us(run: Callable[[], None]) -> float:
    rounds = []
    for _ in range(ROUNDS):
        began = time.process_time()
        run()
        rounds.append((time.process_time() - began) / TOKENS * 1e6)
    return statistics.median(rounds)


if __name__ == "__main__":
    main()
