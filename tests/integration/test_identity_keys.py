"""Public keys of apps: by command and in the admin, and as a web process learns of them."""

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.test import Client
from pytest_django import Settings

from notify.management import exit_codes
from notify.models import App, AppKey, IdentityKey, Topic
from notify.operations import app_keys, identity_keys
from notify.security import public_keys
from notify.security.public_keys import KeyRefused
from notify.web.access.apps_cache import KnownApp
from notify.web.reads import PostgresReads
from tests.app_page import APPS, form, page
from tests.identity_tokens import pair, private_pem, public_pem
from tests.staff import staff

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _pepper(settings: Settings) -> None:
    """Keys of apps are made."""
    settings.NOTIFY_KEY_PEPPER = "a pepper"


def pem(name: str) -> str:
    return public_pem(pair(name))


def fingerprint(name: str) -> str:
    return public_keys.checked(pem(name))[1]


@pytest.fixture
def app() -> App:
    return app_keys.create_app("Closely", requires_key=False)[0]


def live(app: App) -> list[str]:
    return [key.fingerprint for key in identity_keys.live(app)]


class TestKeys:
    def test_two_live_at_a_time(self, app: App) -> None:
        assert identity_keys.add(app, pem("a"), by="x").revoked == ()
        assert identity_keys.add(app, pem("b"), by="x").revoked == ()
        assert identity_keys.add(app, pem("c"), by="x").revoked == (fingerprint("a"),)
        assert live(app) == [fingerprint("c"), fingerprint("b")]

    def test_each_once_and_never_again_after_it_was_revoked(self, app: App) -> None:
        key = identity_keys.add(app, pem("a"), by="x").key
        with pytest.raises(KeyRefused, match="already"):
            identity_keys.add(app, pem("a").replace("\n", "\r\n"), by="x")
        app_keys.revoke(key)
        at = IdentityKey.objects.get().revoked_at
        app_keys.revoke(IdentityKey.objects.get())
        assert IdentityKey.objects.get().revoked_at == at
        with pytest.raises(KeyRefused, match="revoked"):
            identity_keys.add(app, pem("a"), by="x")
        other = app_keys.create_app("Other", requires_key=False)[0]
        identity_keys.add(other, pem("a"), by="x")

    def test_tokens_are_required_only_with_a_key_and_not_beside_app_keys(self, app: App) -> None:
        with pytest.raises(KeyRefused, match="public key first"):
            identity_keys.require(app, required=True)
        identity_keys.add(app, pem("a"), by="x")
        app.requires_key = True
        with pytest.raises(KeyRefused, match="switch that off"):
            identity_keys.require(app, required=True)
        app.requires_key = False
        identity_keys.require(app, required=True)
        assert App.objects.get(id=app.id).requires_identity
        with pytest.raises(IntegrityError, match="app_key_or_identity"), transaction.atomic():
            App.objects.filter(id=app.id).update(requires_key=True)

    def test_a_web_process_learns_of_live_keys_only(self, app: App) -> None:
        Topic.objects.create(id="6f1d2c1e-9a3b-4a55-8c7e-0d9d3b8f1a11", name="t", partitions=3)
        second = app_keys.rotate(app)
        bare = App.objects.create(name="Bare")
        for name in "abc":
            identity_keys.add(app, pem(name), by="x")
        identity_keys.require(app, required=True)
        app_keys.revoke(AppKey.objects.filter(app=app).earliest("created_at"))
        reads = _SameSession()
        known = reads.known("t").apps
        assert known[str(bare.id)] == KnownApp(str(bare.id))
        digest = AppKey.objects.get(prefix=second.prefix).digest
        assert known[str(app.id)] == KnownApp(
            str(app.id),
            digests=(digest,),
            requires_identity=True,
            identity_keys=(pem("c"), pem("b")),
        )


class _SameSession(PostgresReads):
    """On the test's own connection, which alone sees what the test wrote."""

    def __init__(self) -> None:
        super().__init__(sessions=0)

    def _rows(self, name: str, parameters: Any = None) -> list[tuple[Any, ...]]:
        from django.db import connection

        from notify.web import reads

        with connection.cursor() as cursor:
            cursor.execute(reads._QUERIES[name], parameters)
            found: list[tuple[Any, ...]] = cursor.fetchall()
            return found


def run(*arguments: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    """What `manage.py app` prints with --json."""
    capsys.readouterr()
    call_command("app", *arguments, "--json")
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refused(*arguments: str, code: int) -> str:
    with pytest.raises(CommandError) as caught:
        call_command("app", *arguments)
    assert caught.value.returncode == code
    return str(caught.value)


class TestCommand:
    def test_add_list_require_revoke(
        self, app: App, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        file = tmp_path / "public.pem"
        file.write_text(pem("a"))
        said = refused("require-identity", "Closely", "on", code=exit_codes.ATTENTION)
        assert "public key first" in said
        made = run("identity-key", "add", "Closely", str(file), capsys=capsys)
        assert made["fingerprint"] == fingerprint("a")
        assert run("require-identity", str(app.id), "on", capsys=capsys)["requires_identity"]
        (listed,) = run("list", capsys=capsys)["apps"]
        assert listed["requires_identity"] is True
        (key,) = run("identity-key", "list", "Closely", capsys=capsys)["keys"]
        assert key["fingerprint"] == fingerprint("a")
        assert key["added_by"].startswith("manage.py (")
        assert key["revoked_at"] is None
        run("identity-key", "revoke", "Closely", fingerprint("a")[:8].upper(), capsys=capsys)
        assert live(app) == []
        off = run("require-identity", "Closely", "off", capsys=capsys)
        assert not off["requires_identity"]

    def test_in_words(
        self,
        app: App,
        capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        call_command("app", "identity-key", "list", "Closely")
        assert "has no public key" in capsys.readouterr().out
        for name in "abc":
            monkeypatch.setattr("sys.stdin", io.StringIO(pem(name)))
            call_command("app", "identity-key", "add", "Closely", "-")
        out = capsys.readouterr().out
        assert "require-identity" in out
        assert f"Revoked {fingerprint('a')}" in out
        call_command("app", "identity-key", "list", "Closely")
        lines = capsys.readouterr().out.splitlines()
        assert [line.split()[0] for line in lines] == [
            "FINGERPRINT", *(fingerprint(name) for name in "cba"),
        ]  # fmt: skip
        assert ["live" in line for line in lines[1:]] == [True, True, False]
        call_command("app", "list")
        assert "NEEDS TOKEN" in capsys.readouterr().out

    def test_what_is_called_wrongly(self, app: App, tmp_path: Path) -> None:
        gone = str(tmp_path / "none.pem")
        said = refused("identity-key", "add", "Closely", gone, code=exit_codes.USAGE)
        assert "cannot be read" in said
        said = refused("identity-key", "add", "nobody", gone, code=exit_codes.USAGE)
        assert "app list" in said
        identity_keys.add(app, pem("a"), by="x")
        for prefix in ("", fingerprint("a")[:7], "0" * 64, "%" * 8):
            said = refused("identity-key", "revoke", "Closely", prefix, code=exit_codes.USAGE)
            assert "identity-key list" in said
        assert live(app) == [fingerprint("a")]

    def test_a_private_key(self, app: App, tmp_path: Path) -> None:
        file = tmp_path / "private.pem"
        file.write_text(private_pem(pair("a")))
        said = refused("identity-key", "add", "Closely", str(file), code=exit_codes.ATTENTION)
        assert "make a new pair" in said
        assert not IdentityKey.objects.exists()


@pytest.mark.usefixtures("plain_http")
class TestAdmin:
    def test_a_key_is_pasted_and_required_in_one_go(self, app: App, admin_client: Client) -> None:
        sent = form(app, public_key=pem("a"), requires_identity="on")
        answer = admin_client.post(page(app), sent, follow=True)
        assert answer.redirect_chain == [(page(app), 302)]
        key = IdentityKey.objects.get()
        assert (key.fingerprint, key.added_by) == (fingerprint("a"), "admin")
        assert App.objects.get().requires_identity
        cells = re.findall(
            r"<td[^>]* data-label=\"([^\"]+)\"[^>]*>(.*?)</td>", answer.text, re.DOTALL
        )
        shown = {name: re.sub(r"<[^>]+>", "", text).strip() for name, text in cells}
        assert shown["fingerprint (SHA-256)"] == fingerprint("a")
        assert shown["added by"] == "admin"
        assert shown["created at"]
        assert fingerprint("a") in LogEntry.objects.get().change_message
        assert AppKey.objects.count() == 1

    def test_another_key_revokes_the_oldest(self, app: App, admin_client: Client) -> None:
        for name in "ab":
            identity_keys.add(app, pem(name), by="x")
        answer = admin_client.post(page(app), form(app, public_key=pem("c")), follow=True)
        assert f"Revoked, and every token that it signed: {fingerprint('a')}" in answer.text
        assert live(app) == [fingerprint("c"), fingerprint("b")]

    def test_a_key_is_revoked_by_its_box(self, app: App, admin_client: Client) -> None:
        identity_keys.add(app, pem("a"), by="x")
        admin_client.post(page(app), form(app))
        assert live(app) == [fingerprint("a")]
        admin_client.post(page(app), form(app, **{"identity_keys-0-revoke": "on"}))
        assert live(app) == []

    @pytest.mark.parametrize("text", ["x", "private", "held"])
    def test_what_is_refused_is_not_shown_again(
        self, app: App, admin_client: Client, text: str
    ) -> None:
        identity_keys.add(app, pem("held"), by="x")
        sent = {"x": "rubbish!", "private": private_pem(pair("a")), "held": pem("held")}[text]
        answer = admin_client.post(page(app), form(app, public_key=sent))
        assert answer.status_code == 200
        assert "errorlist" in answer.text
        assert IdentityKey.objects.count() == 1
        for line in sent.splitlines():
            assert line not in answer.text

    def test_tokens_need_a_key_and_no_key_on_every_call(
        self, app: App, admin_client: Client
    ) -> None:
        text = admin_client.post(page(app), form(app, requires_identity="on")).text
        assert identity_keys.KEY_FIRST in text
        identity_keys.add(app, pem("a"), by="x")
        both = form(app, requires_identity="on", requires_key="on")
        assert "Choose one" in admin_client.post(page(app), both).text
        assert not App.objects.get().requires_identity
        sent = form(app, requires_identity="on")
        needs = r'<td class="field-requires [^>]*>{}</td>'
        assert re.search(needs.format("nothing: open"), admin_client.get(APPS).text)
        assert admin_client.post(page(app), sent).status_code == 302
        assert re.search(needs.format("tokens"), admin_client.get(APPS).text)
        app_keys.revoke(IdentityKey.objects.get())
        assert admin_client.post(page(app), sent).status_code == 302
        assert App.objects.get().requires_identity

    def test_who_may_not_add_keys(self, app: App) -> None:
        client = staff("view_app", "change_app", "view_identitykey", "view_appkey")
        identity_keys.add(app, pem("a"), by="x")
        text = client.get(page(app)).text
        assert fingerprint("a") in text
        assert 'name="public_key"' not in text
        sent = form(app, public_key=pem("b"), **{"identity_keys-0-revoke": "on"})
        assert client.post(page(app), sent).status_code == 302
        assert live(app) == [fingerprint("a")]

    def test_a_new_app_has_no_place_for_one(self, admin_client: Client) -> None:
        assert "public_key" not in admin_client.get(f"{APPS}add/").text
        sent = {"name": "New", "enabled": "on", "public_key": pem("a"), "reason": "new"}
        assert admin_client.post(f"{APPS}add/", sent).status_code == 200
        assert not IdentityKey.objects.exists()
