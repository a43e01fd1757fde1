"""Registers our own pages in the admin, with their permissions and their frame."""

from collections.abc import Callable, Sequence
from datetime import datetime
from functools import wraps
from typing import Any, Final, TypeAlias

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path

View: TypeAlias = Callable[..., HttpResponse]

_PAGES: Final[list[tuple[str, str, View]]] = []


def page(route: str, *, name: str, permission: str = "") -> Callable[[View], View]:
    """Register the view as admin:`name` under /admin/`route`; who lacks `permission` gets 403.

    A module with pages is imported in notify/admin/__init__.py.
    """

    def registered(view: View) -> View:
        @wraps(view)
        def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            if permission and not request.user.has_perm(permission):
                raise PermissionDenied
            return view(request, *args, **kwargs)

        _PAGES.append((route, name, guarded))
        return guarded

    return registered


def urls() -> list[URLPattern]:
    """The routes of all pages; Unfold's site asks for them before the models' own."""
    return [path(route, admin.site.admin_view(view), name=name) for route, name, view in _PAGES]


def shown(
    request: HttpRequest,
    template: str,
    *,
    title: str,
    crumbs: Sequence[tuple[str, str]] = (),
    as_of: datetime | None = None,
    status: int = 200,
    **context: Any,
) -> TemplateResponse:
    """The page in the admin's frame, by a template that extends admin/notify/page.html.

    `crumbs`: label and path of the pages above it. `as_of`: how old its data is.
    """
    frame = admin.site.each_context(request)
    named = {"title": title, "crumbs": crumbs, "as_of": as_of}
    return TemplateResponse(request, template, {**frame, **named, **context}, status=status)
