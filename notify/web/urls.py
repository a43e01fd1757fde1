"""Every route: path, and view by method."""

from typing import Final

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from notify.web.http import health, scrape
from notify.web.http.endpoint import endpoint
from notify.web.openapi import document
from notify.web.resources import (
    aliases,
    batch,
    page_config,
    params,
    players,
    subscriptions,
    unstored,
    users,
)

Patterns = list[URLPattern | URLResolver]

_BY: Final = "apps/<app_id>/users/by/<label>/<path:name>"
_players: Final[Patterns] = [
    path("players", endpoint("players", POST=players.create)),
    path(
        "players/<player>",
        endpoint("player", PUT=players.update, GET=players.show, DELETE=players.delete),
    ),
    path("players/<player>/on_session", endpoint("on_session", POST=players.on_session)),
    path("players/<player>/on_focus", endpoint("on_focus", POST=players.on_focus)),
    path("players/<player>/on_purchase", endpoint("on_purchase", POST=players.on_purchase)),
    path("players/<player>/email_logout", endpoint("email_logout", POST=players.email_logout)),
]
_apps: Final[Patterns] = [
    path("apps/<app_id>/android_params.js", endpoint("android_params", GET=params.show)),
    path("apps/<app_id>/ios_params.js", endpoint("ios_params", GET=params.show)),
    path("apps/<app_id>/users", endpoint("users", POST=users.create)),
    # A name may contain slashes, so paths with longer ends are tried first.
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
    path("apps/<app_id>/users/<path:external_id>", endpoint("user_tags", PUT=users.tag)),
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
_TOKENS: Final = "apps/<app_id>/activities/tokens"
#: What SDKs send and this server does not store. docs/sdks.md says which SDK sends what, and why it matters.
_unstored: Final[Patterns] = [
    path("apps/<app_id>/custom_events", unstored.of_app("custom_events", "POST")),
    path(
        "apps/<app_id>/integrations/sdk/custom_events", unstored.of_app("sdk_custom_events", "POST")
    ),
    path("outcomes/measure", unstored.of_body("outcome", "POST")),
    path("outcomes/measure_sources", unstored.of_body("outcome_sources", "POST")),
    path("notifications/<notification>", unstored.of_body("notification_opened", "PUT")),
    path(
        "notifications/<notification>/report_received",
        unstored.of_body("notification_received", "PUT"),
    ),
    path("in_app_messages/<message>/impression", unstored.of_body("in_app_impression", "POST")),
    path("in_app_messages/<message>/pageImpression", unstored.of_body("in_app_page", "POST")),
    path("in_app_messages/<message>/click", unstored.of_body("in_app_click", "POST")),
    path(
        "apps/<app_id>/subscriptions/<subscription>/iams",
        unstored.nothing("in_app_messages", unstored.NO_MESSAGES),
    ),
    path(
        f"{_BY}/subscriptions/<subscription>/iams",
        unstored.nothing("user_in_app_messages", unstored.NO_MESSAGES),
    ),
    path(
        "apps/<app_id>/live_activities/<path:activity>/token",
        unstored.of_app("live_activity_token", "POST"),
    ),
    path(
        "apps/<app_id>/live_activities/<path:activity>/token/<subscription>",
        unstored.of_app("live_activity_token_of", "DELETE"),
    ),
    path(
        f"{_TOKENS}/start/<path:activity>/subscriptions/<subscription>",
        unstored.of_app("activity_start_token", "PUT", "DELETE"),
    ),
    path(
        f"{_TOKENS}/update/<path:activity>/subscriptions/<subscription>",
        unstored.of_app("activity_update_token", "PUT", "DELETE"),
    ),
    path(
        "apps/<app_id>/sdk/features/<platform>/<version>",
        unstored.nothing("sdk_features", unstored.NO_FEATURES),
    ),
    path("v1/track", unstored.of_body("usage", "POST")),
    path("sync/<app_id>/web", endpoint("page_config", GET=page_config.show)),
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
    *_unstored,
    *_apps,
    path("api/v1/", include([*_players, *_unstored, *_apps])),
    *_operations,
    path("admin/", admin.site.urls),
]
