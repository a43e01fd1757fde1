"""Every route: path, and view by method."""

from typing import Final

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from notify.web import batch, health, params, players, scrape, subscriptions
from notify.web.endpoint import endpoint

Patterns = list[URLPattern | URLResolver]

_players: Final[Patterns] = [
    path("players", endpoint("players", POST=players.create)),
    path("players/<player>", endpoint("player", PUT=players.update, GET=players.show)),
    path("players/<player>/on_session", endpoint("on_session", POST=players.on_session)),
    path("players/<player>/on_focus", endpoint("on_focus", POST=players.on_focus)),
    path("players/<player>/on_purchase", endpoint("on_purchase", POST=players.on_purchase)),
    path("players/<player>/email_logout", endpoint("email_logout", POST=players.email_logout)),
]
_apps: Final[Patterns] = [
    path("apps/<app_id>/android_params.js", endpoint("android_params", GET=params.show)),
    path(
        "apps/<app_id>/subscriptions/<subscription>",
        endpoint("subscription", PATCH=subscriptions.update, DELETE=subscriptions.delete),
    ),
    path("apps/<app_id>/batch", endpoint("batch", POST=batch.accept)),
]
_operations: Final[Patterns] = [
    path("healthz/live", endpoint("live", GET=health.live)),
    path("healthz/ready", endpoint("ready", GET=health.ready)),
    path("healthz/pipeline", endpoint("pipeline", GET=health.pipeline)),
    path("metrics", endpoint("metrics", GET=scrape.show)),
]

urlpatterns: Patterns = [
    *_players,
    *_apps,
    path("api/v1/", include([*_players, *_apps])),
    *_operations,
    path("admin/", admin.site.urls),
]
