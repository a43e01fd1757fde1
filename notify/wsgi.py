"""The WSGI application that Granian serves: the API, and Django's pages."""

import os

from django.core.exceptions import ImproperlyConfigured
from django.core.wsgi import get_wsgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "notify.settings")

from notify.security import required_secrets

if problem := required_secrets.problem("web"):
    raise ImproperlyConfigured(problem)
pages = get_wsgi_application()

from notify.databases import postgres  # noqa: E402 - needs the settings
from notify.telemetry import logs  # noqa: E402
from notify.web.http.edge import Application  # noqa: E402

logs.configure("web")
postgres.limit_django()
application = Application(pages)
