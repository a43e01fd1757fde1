"""`manage.py app`: customers and their keys."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.core.management.base import CommandError, CommandParser
from django.db.models import Count, Q

from notify.management import identity
from notify.management.answering import AnsweringCommand, CommandResult, takes_json, wrong
from notify.management.find_app import find_app
from notify.management.table import table
from notify.models import App
from notify.operations import app_keys
from notify.operations.app_keys import NewKey
from notify.security import required_secrets
from notify.security.public_keys import KeyRefused


class Command(AnsweringCommand):
    """Create apps, list them, give them keys."""

    help = "Create an app, list the apps, give an app a key, or verify identities with its keys."

    def arguments(self, parser: CommandParser) -> None:
        actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
        create = actions.add_parser("create", help="create an app and its first key")
        create.add_argument("name")
        create.add_argument(
            "--requires-key", action="store_true", help="require the app's key in SDK calls too"
        )
        listed = actions.add_parser("list", help="all apps")
        rotate = actions.add_parser(
            "rotate-key", help="make a new key; an app has at most two, and the oldest is revoked"
        )
        rotate.add_argument("app", help="the app's id or its name")
        for action in (create, listed, rotate, *identity.arguments(actions)):
            takes_json(action)

    def answer(self, options: Mapping[str, Any], /) -> CommandResult:
        """Does the chosen action."""
        makes_key = options["action"] in ("create", "rotate-key")
        if makes_key and (problem := required_secrets.problem("an app key")):
            raise wrong(problem)
        if options["action"] == "create":
            return _create(options["name"], requires_key=options["requires_key"])
        if options["action"] == "list":
            return _list()
        app = find_app(options["app"])
        if options["action"] == "rotate-key":
            return _with_secret(app, app_keys.rotate(app))
        try:
            return identity.answer(app, options)
        except KeyRefused as refused:
            raise CommandError(str(refused)) from None


def _create(name: str, *, requires_key: bool) -> CommandResult:
    if App.objects.filter(name=name).exists():
        raise CommandError(f"there is an app {name!r} already: see `manage.py app list`")
    try:
        App(name=name).full_clean()
    except ValidationError as error:
        raise wrong(f"name {name!r}: {' '.join(error.messages)}") from None
    app, key = app_keys.create_app(name, requires_key=requires_key)
    made = _with_secret(app, key)
    if not app.is_open:
        return made
    steps = (
        app_keys.OPEN_APP,
        app_keys.CLOSE_APP,
        f"  manage.py app identity-key add {app.id} public.pem",
        f"  manage.py app require-identity {app.id} on",
    )
    return CommandResult("\n".join((made.text, "", *steps)), made.data)


def _with_secret(app: App, key: NewKey) -> CommandResult:
    lines = [
        f"App     {app.name}",
        f"Id      {app.id}",
        f"Key     {key.secret}",
        "",
        "The key is shown only this once. Give it to the customer now.",
    ]
    if key.revoked:
        lines.append(f"Revoked: {', '.join(f'{prefix}…' for prefix in key.revoked)}")
    data = {
        "id": str(app.id),
        "name": app.name,
        "requires_key": app.requires_key,
        "open": app.is_open,
        "key": key.secret,
        "key_prefix": key.prefix,
        "revoked_key_prefixes": list(key.revoked),
    }
    return CommandResult("\n".join(lines), data)


def _list() -> CommandResult:
    live = Count("keys", filter=Q(keys__revoked_at=None))
    apps = App.objects.annotate(live=live).order_by("name")
    rows = [
        (
            str(app.id),
            str(app.live),
            _yes(said=app.requires_key),
            _yes(said=app.requires_identity),
            _state(app),
            app.name,
        )
        for app in apps
    ]
    data = {
        "apps": [
            {
                "id": str(app.id),
                "name": app.name,
                "requires_key": app.requires_key,
                "requires_identity": app.requires_identity,
                "open": app.is_open,
                "enabled": app.enabled,
                "live_keys": app.live,
                "created_at": app.created_at.isoformat(),
            }
            for app in apps
        ]
    }
    if not rows:
        return CommandResult("There is no app yet: run `manage.py app create NAME`.", data)
    head = ("ID", "KEYS", "NEEDS KEY", "NEEDS TOKEN", "STATE", "NAME")
    return CommandResult(table(head, rows, right=(1,)), data)


def _yes(*, said: bool) -> str:
    return "yes" if said else "no"


def _state(app: App) -> str:
    return "on" if app.enabled else "off"
