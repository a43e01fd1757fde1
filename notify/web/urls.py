"""Every route: path, and view by method."""

from typing import Final

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from notify.web import (
    aliases,
    batch,
    health,
    params,
    players,
    scrape,
    subscriptions,
    users,
)
from notify.web.endpoint import endpoint
from notify.web.openapi import document

Patterns = list[URLPattern | URLResolver]

_BY: Final = "apps/<app_id>/users/by/<label>/<path:name>"
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
    path("apps/<app_id>/ios_params.js", endpoint("ios_params", GET=params.show)),
    path("apps/<app_id>/users", endpoint("users", POST=users.create)),
    # A name may hold slashes: the longest ends are tried first.
    path(
        f"{_BY}/identity/<alias>",
        endpoint("user_alias", DELETE=aliases.take),
    ),
    path(
        f"{_BY}/identity",
        endpoint("user_identity", GET=aliases.show, PATCH=aliases.give),
    ),
    path(f"{_BY}/subscriptions", endpoint("user_subscriptions", POST=subscriptions.create)),
    path(_BY, endpoint("user", GET=users.show, PATCH=users.update, DELETE=users.delete)),
    path(
        "apps/<app_id>/subscriptions_by_token/<type_>/<path:token>",
        endpoint("subscription_by_token", PATCH=subscriptions.update_by_token),
    ),
    path(
        "apps/<app_id>/subscriptions/<subscription>/owner",
        endpoint("subscription_owner", PATCH=subscriptions.transfer),
    ),
    path(
        "apps/<app_id>/subscriptions/<subscription>/user/identity",
        endpoint("subscription_identity", GET=aliases.show_owners, PATCH=aliases.give_owner),
    ),
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
    path("openapi.json", endpoint("openapi", GET=document.show)),
]

urlpatterns: Patterns = [
    *_players,
    *_apps,
    path("api/v1/", include([*_players, *_apps])),
    *_operations,
    path("admin/", admin.site.urls),
]
