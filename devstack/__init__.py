"""Runs the services and processes of `make test`, `make up` and `make demo` on one machine.

Everything listens on loopback only. This package starts processes and imports none of their code.
"""

from pathlib import Path
from typing import Final

#: The checkout: it contains `manage.py`, and all product processes run in it.
ROOT: Final = Path(__file__).resolve().parent.parent
