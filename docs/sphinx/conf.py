"""The documentation's site: `make docs` builds it with Sphinx (docs/decisions/0042-sphinx.md).

The texts stay where they are and link to each other as GitHub reads them. NAVIGATION sorts them.
"""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import django
from sphinx.application import Sphinx

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(Path(__file__).parent)]
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notify.settings")
django.setup()

import references  # noqa: E402 - it needs Django to be set up

#: The pages of each part, in order. Sphinx warns of a page that is in none.
NAVIGATION: Final = {
    "Start": ["docs/tutorial"],
    "How it works": [
        *("docs/architecture", "docs/protocol", "docs/glossary", "docs/performance"),
        *("docs/benchmarks", "docs/reliability", "docs/simulation", "docs/fuzzing"),
    ],
    "Guide: support staff": ["docs/support"],
    "Guide: operators": [
        *("docs/install", "docs/capacity", "docs/alerts", "docs/operations", "docs/security"),
    ],
    "Guide: SDK developers": ["docs/sdks", "docs/compatibility", "docs/identity", "docs/moving"],
    "Reference": [
        *("docs/http-api", "docs/commands", "docs/settings", "docs/limits"),
        *("docs/metrics", "docs/logs", "tests/fixtures/*/README"),
    ],
    "Project": ["CONTRIBUTING", "CHANGELOG", "docs/decisions/README"],
}
#: What is added to a page: only the site has it, since it is made from the code.
MADE: Final[Mapping[str, Callable[[], str]]] = {
    "docs/alerts": references.alarms,
    "docs/http-api": references.http_api,
    "docs/commands": references.commands,
    "docs/decisions/README": lambda: _toctree("Decisions", ["[0-9]*"]),
    "README": lambda: "\n".join(_toctree(*part) for part in NAVIGATION.items()),
}

project = "Notify"
html_title = "Notify"
root_doc = "README"
include_patterns = ["*.md", "docs/**", "tests/fixtures/*/README.md"]
exclude_patterns = [".*", "dist", "site", "**/node_modules"]
extensions = ["myst_parser"]
myst_enable_extensions = ["html_image"]
myst_heading_anchors = 4
html_theme = "furo"
html_extra_path = ["index.html"]
html_static_path = ["site.css"]
html_css_files = ["site.css"]
html_favicon = str(ROOT / "notify/static/notify/favicon.svg")
html_copy_source = False
html_show_copyright = False
highlight_language = "none"


def setup(app: Sphinx) -> None:
    """Adds what is made from the code to its pages."""
    app.connect("source-read", _add)


def _add(_app: Sphinx, page: str, source: list[str]) -> None:
    if page in MADE:
        source[0] += "\n" + MADE[page]()


def _toctree(caption: str, pages: list[str]) -> str:
    """A list of pages for the sidebar, which the page itself does not show."""
    return "\n".join(
        ["```{toctree}", ":hidden:", ":glob:", f":caption: {caption}", "", *pages, "```", ""]
    )
