"""The links between records that PostgreSQL has now, loaded for the domain's rules about them."""

from collections.abc import Iterable, Iterator

from notify.domain.records.links import Links, ParentKey
from notify.models import Link, Parent


def links_now(children: set[ParentKey], parents: set[ParentKey]) -> Links:
    """Loads links for `links.gather`: the links of `children`, and generations, but no counts."""
    found = Links()
    for app, ids in _by_app(children):
        rows = Link.objects.filter(app=app, child__in=ids)
        for child, label, parent, gen in rows.values_list("child", "label", "parent", "parent_gen"):
            found.parents[app, str(child), label] = (str(parent), gen)
    wanted = parents | children
    wanted |= {(app, parent) for (app, _, _), (parent, _) in found.parents.items()}
    for app, ids in _by_app(wanted):
        for parent, gen in Parent.objects.filter(app=app, id__in=ids).values_list("id", "gen"):
            found.generations[app, str(parent)] = gen
    return found


def _by_app(keys: Iterable[ParentKey]) -> Iterator[tuple[str, list[str]]]:
    apps: dict[str, list[str]] = {}
    for app, record in keys:
        apps.setdefault(app, []).append(record)
    yield from apps.items()
