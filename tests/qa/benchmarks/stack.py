"""The stack that a benchmark measures, in a directory of its own."""

import os
import sys
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType

from tests.running import Running, running


@contextmanager
def measured(environ: Mapping[str, str] = MappingProxyType({})) -> Iterator[Running]:
    """A new stack with no process of the product yet. All of it is gone at the end. `environ` is added.

    A batch is sent again as late as in production, not as soon as in tests. Raises SystemExit if there are no
    services.
    """
    if "DATABASE_URL" not in os.environ:
        print(
            "There are no services. Use `make bench BENCH=NAME`, which starts them, or put "
            "`.venv/bin/python -m devstack run --` before the command.",
            file=sys.stderr,
        )
        raise SystemExit(2)
    with tempfile.TemporaryDirectory(prefix="notify-bench-") as directory:
        # Services may run as another user, who must get into it.
        Path(directory).chmod(0o711)
        with running(Path(directory), f"bench{uuid.uuid4().hex[:8]}", environ=environ) as run:
            run.stack.env.pop("NOTIFY_RESEND_AFTER_MS", None)
            yield run
