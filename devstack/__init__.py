"""The services and processes behind `make test`, `make up` and `make demo`, on one machine.

Everything listens on loopback only. It starts processes and imports none of their code.
"""

from pathlib import Path
from typing import Final

#: The checkout: where `manage.py` stands and every product process runs.
ROOT: Final = Path(__file__).resolve().parent.parent
