"""Named SQL statements in files: `-- :name` starts one, the comment lines below it are its promise."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from django.db import connection

_NAME = re.compile(r"^-- :(\w+)\n", re.MULTILINE)


def read(path: Path) -> dict[str, str]:
    """Reads the statements of a file, by name. Raises ValueError if the file does not start with a name."""
    head, *parts = _NAME.split(path.read_text())
    if head.strip() or not parts:
        raise ValueError(f"{path.name} must start with a line `-- :name`")
    return {name: sql.strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)}


def rows(statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """All rows of a statement on Django's connection."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        found: list[tuple[Any, ...]] = cursor.fetchall()
    return found
