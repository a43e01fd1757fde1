"""The calls of OneSignal's API that this server does not have. The error names the call, and the document
that says what to do instead. Clients get 404, because SDKs then drop the call; docs/sdks.md says why.
"""

import re
from collections.abc import Mapping
from typing import Final

#: The document and the section that explain it.
WHERE: Final = "docs/compatibility.md, Calls that are not served"
_API: Final = re.compile(r"^/(?:api/v1/)?")

#: The name of each call, by its method and its path after /api/v1. `{}` stands for one part of a path.
CALLS: Final[Mapping[str, str]] = {
    "GET players": "View devices",
    "POST players/csv_export": "Export devices as CSV",
    "POST notifications": "Create a notification",
    "GET notifications": "View notifications",
    "GET notifications/{}": "View a notification",
    "DELETE notifications/{}": "Cancel a notification",
    "POST notifications/{}/history": "View who got a notification",
    "POST notifications/{}/export_events": "Export the events of a notification",
    "GET apps": "View apps",
    "POST apps": "Create an app",
    "GET apps/{}": "View an app",
    "PUT apps/{}": "Change an app",
    "GET apps/{}/outcomes": "View outcomes",
    "GET apps/{}/segments": "View segments",
    "POST apps/{}/segments": "Create a segment",
    "DELETE apps/{}/segments/{}": "Delete a segment",
    "POST apps/{}/live_activities/{}/notifications": "Update a live activity",
    "GET templates": "View templates",
    "POST templates": "Create a template",
    "GET templates/{}": "View a template",
    "PATCH templates/{}": "Change a template",
    "DELETE templates/{}": "Delete a template",
}  # fmt: skip
_PATTERNS: Final = [
    (re.compile(re.escape(call).replace(r"\ ", " ").replace(r"\{\}", "[^/]+") + "/?"), name)
    for call, name in CALLS.items()
]


def reason(method: str, path: str) -> str:
    """The error for this call: with its name, if it is a known one."""
    call = f"{method} {_API.sub('', path)}"
    for pattern, name in _PATTERNS:
        if pattern.fullmatch(call):
            return f'this server does not have {method} {path:.100} ("{name}"): see {WHERE}'
    return f"this server does not have {method} {path:.100}"
