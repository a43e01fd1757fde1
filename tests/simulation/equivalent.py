"""Changes that cannot change what the engine does, each with the reason. An entry that is found is wrong."""

from typing import Final

#: By `Change.key`.
EQUIVALENT: Final[dict[str, str]] = {}
