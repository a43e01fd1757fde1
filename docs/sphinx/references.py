"""Pages of the documentation that are made from the code: the HTTP API and the commands, as Markdown."""

import json
from argparse import Action, ArgumentParser, HelpFormatter, _SubParsersAction
from collections.abc import Iterator, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from django.core.management import BaseCommand, get_commands, load_command_class

from notify.web.openapi.document import document
from notify.web.urls import urlpatterns

#: Packages of the project that have commands; the other commands are Django's and its apps'.
OURS: Final = ("notify", "ingest")
METRICS: Final = Path(__file__).resolve().parents[1] / "metrics.md"
#: Options of every command of Django.
DJANGOS: Final = {
    option
    for each in BaseCommand().create_parser("", "")._actions
    for option in each.option_strings
}
#: A line of a usage. The site's column of text holds so much without scrolling.
WIDTH: Final = 88
METHODS: Final = ("get", "put", "post", "patch", "delete")
#: What an operation's `security` asks for, by the schemes of which one is enough; "" is none of them.
KEYS: Final = {
    frozenset({""}): "none",
    frozenset(
        {"", "appKey", "identityToken"}
    ): "the app's key or an identity token, if the app requires it",
    frozenset({"appKey", "identityToken"}): "the app's key or an identity token",
    frozenset({"appKey"}): "the app's key",
}
Schema = Mapping[str, Any]


def http_api() -> str:
    """Every route of /openapi.json: who may call it, what it takes and what it answers."""
    spec = document(urlpatterns)
    operations = [
        (path, item, method)
        for path, item in spec["paths"].items()
        for method in METHODS
        if method in item
    ]
    return "\n".join(_routes(operations)) + "\n".join(_schemas(spec["components"]["schemas"]))


def _routes(operations: list[tuple[str, Schema, str]]) -> Iterator[str]:
    def tag(operation: tuple[str, Schema, str]) -> str:
        _, item, method = operation
        return str(item[method]["tags"][0])

    for title, group in groupby(sorted(operations, key=tag), key=tag):
        yield f"\n## {title.capitalize()}"
        for path, item, method in group:
            yield from _operation(path, item, method)


def _operation(path: str, item: Schema, method: str) -> Iterator[str]:
    operation = item[method]
    yield f"\n### `{method.upper()} {path}`\n\n{operation['summary']}\n"
    yield f"- Key: {_key(operation['security'])}"
    for parameter in operation.get("parameters", ()):
        needed = "required" if parameter.get("required") else "optional"
        yield f"- {parameter['in'].capitalize()} `{parameter['name']}`, {needed}. {_said(parameter)}"
    yield f"- Answers: {', '.join(operation['responses'])}"
    for content in operation.get("requestBody", {}).get("content", {}).values():
        name = content["schema"].get("$ref", "").rpartition("/")[2]
        yield f"- Body: {f'[{name}](#schema-{name.lower()})' if name else 'JSON'}"
        if "example" in content:
            yield f"\n```json\n{json.dumps(content['example'], indent=2, ensure_ascii=False)}\n```\n"


def _key(security: list[Mapping[str, Any]]) -> str:
    return KEYS[frozenset(scheme for each in security for scheme in (each or {"": None}))]


def _said(parameter: Schema) -> str:
    return str(parameter.get("description") or parameter.get("schema", {}).get("description") or "")


def _schemas(schemas: Mapping[str, Schema]) -> Iterator[str]:
    yield "\n## Schemas\n\nAs JSON Schema, each under the name that `$ref` has.\n"
    for name, schema in sorted(schemas.items()):
        text = json.dumps(schema, indent=1, ensure_ascii=False)
        yield f"### Schema {name}\n\n```json\n{text}\n```\n"


def alarms() -> str:
    """A section for each alarm of docs/metrics.md, so that a search for its name finds it."""
    table = METRICS.read_text().partition("\n## Alarms\n")[2].partition("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ")]
    sections = [
        f"### {name}\n\n{says[:1].upper()}{says[1:]}. Go to: {go_to}.\n"
        for name, _, _, says, _, go_to in rows[1:]
    ]
    return "\n".join(["\n## Alarms of Prometheus\n", *sections])


def commands() -> str:
    """Every command of the project with its actions and arguments, as `--help` says them."""
    found = sorted(name for name, app in get_commands().items() if app in OURS)
    return "\n".join(line for name in found for line in _command(name))


def _command(name: str) -> Iterator[str]:
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    yield f"\n## {name}\n\n{parser.description}\n"
    yield from _arguments(f"manage.py {name}", parser)


def _arguments(command: str, parser: ArgumentParser) -> Iterator[str]:
    """The usage and the arguments; of a command with actions those of each action."""
    actions = [each for each in parser._actions if _is_ours(each)]
    below = [each for each in actions if isinstance(each, _SubParsersAction)]
    if not below:
        formatter = HelpFormatter(command, width=WIDTH)
        formatter.add_usage(None, actions, parser._mutually_exclusive_groups)
        formatter.add_arguments(actions)
        yield f"```\n{formatter.format_help().strip()}\n```\n"
    for each in below:
        about = {choice.dest: choice.help for choice in each._get_subactions()}
        for action, subparser in each.choices.items():
            yield f"### {command.partition(' ')[2]} {action}\n\n{_sentence(about.get(action))}\n"
            yield from _arguments(f"{command} {action}", subparser)


def _is_ours(action: Action) -> bool:
    return not set(action.option_strings) & DJANGOS


def _sentence(text: str | None) -> str:
    return f"{text[0].upper()}{text[1:]}." if text else ""
