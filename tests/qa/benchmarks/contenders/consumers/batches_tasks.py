"""celery-batches: a task for up to FLUSH updates. Run as `celery -A ...batches_tasks worker`.

Its tasks are acknowledged late. celery-batches otherwise acknowledges a batch as soon as it begins.
"""

from typing import Any, Final

from celery_batches import Batches  # type: ignore[import-not-found]

from tests.qa.benchmarks.contenders.consumers import rows
from tests.qa.benchmarks.contenders.consumers.plain_tasks import app, session

FLUSH: Final = 500
app.conf.worker_prefetch_multiplier = 2 * FLUSH


@app.task(  # type: ignore[untyped-decorator]
    base=Batches,
    name="contender.apply_batch",
    flush_every=FLUSH,
    flush_interval=0.2,
    acks_late=True,
)
def apply_batch(requests: list[Any]) -> None:
    """Applies the updates in one statement."""
    rows.write(session(), [request.args[0] for request in requests])
