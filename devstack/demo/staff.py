"""What support staff do in the incident, through the pages of the admin."""

import re
from typing import Final

import httpx

from devstack import product
from devstack.services import DevstackError

_TOKEN: Final = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')


class Staff:
    """A person who is logged in to the admin."""

    def __init__(self, admin_url: str) -> None:
        self._url = admin_url.rstrip("/")
        self._client = httpx.Client(follow_redirects=False, timeout=15)
        self._submit("/login/", username=product.USER, password=product.PASSWORD)

    def limit(self, app: str, *, label: str, children: int, reason: str) -> None:
        """Sets how many records of the app may be linked to one record."""
        self._submit(
            "/notify/linklimit/add/", app=app, label=label, children=str(children), reason=reason
        )

    def skip(self, app: str, record: str, *, reason: str) -> None:
        """Skips the record: its updates are dropped."""
        self._submit(
            "/notify/skiprule/add/",
            app=app,
            record=record,
            scope="all",
            active="on",
            reason=reason,
        )

    def can_see(self, page: str) -> bool:
        """Whether a page of the admin opens."""
        return self._client.get(self._url + page).status_code == httpx.codes.OK

    def _submit(self, page: str, **fields: str) -> None:
        """Fills in a form and sends it, as a browser does. Raises DevstackError if it is refused."""
        form = self._client.get(self._url + page)
        token = _TOKEN.search(form.text)
        if token is None:
            raise DevstackError(
                f"the admin's page {page} has no form: it answered {form.status_code}"
            )
        answer = self._client.post(
            self._url + page,
            data={"csrfmiddlewaretoken": token[1], **fields},
            headers={"Referer": self._url + page},
        )
        if answer.status_code != httpx.codes.FOUND:
            errors = re.findall(r'class="errorlist[^>]*>(.*?)</ul>', answer.text, re.DOTALL)
            raise DevstackError(f"the admin's page {page} refused the form: {errors}")
