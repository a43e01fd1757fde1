"""The customers, called apps, and their keys."""

import uuid

from django.db import models


class App(models.Model):
    """A customer. Its id is public: SDKs carry it."""

    id = models.UUIDField(
        primary_key=True,
        default=uuid.uuid4,
        editable=False,
        help_text="SDKs send it with every call. It is no secret.",
    )
    name = models.CharField(
        max_length=100, unique=True, help_text="What pages, commands and alerts call the app."
    )
    requires_key = models.BooleanField(
        default=False,
        help_text="Every call must carry a key. SDKs send none, so choose this only if all updates come "
        "from servers.",
    )
    requires_identity = models.BooleanField(
        default=False,
        db_default=False,
        help_text="An SDK call that names a user, an email address or a phone number must carry a token "
        "that the app's server signed. Old SDKs (4.x) have no tokens, so such calls of theirs are refused.",
    )
    requests_per_s = models.PositiveIntegerField(
        null=True,
        blank=True,
        verbose_name="requests a second",
        help_text="Requests above this rate get 429. Leave empty for the limit of all apps "
        "(NOTIFY_LIMIT_REQUESTS_PER_S). 0 means no limit.",
    )
    nobody_names = models.TextField(  # noqa: DJ001 - NULL is the built-in list, "" is none
        null=True,
        blank=True,
        verbose_name="names that are nobody's",
        help_text="One name per line, in upper or lower case. A login with such a name is left out, and "
        "the answer has a warning, because all devices that send it would become one user. Delete a line "
        'if its name is a real user of this app, such as "0" or "1". Delete all lines to accept every name.',
    )
    enabled = models.BooleanField(
        default=True, help_text="Requests for a disabled app get 403. Its records stay."
    )
    created_at = models.DateTimeField(auto_now_add=True, help_text="When the app was added here.")

    class Meta:
        db_table = "app"
        ordering = ("name",)
        constraints = [
            models.CheckConstraint(
                condition=models.Q(requires_key=False) | models.Q(requires_identity=False),
                name="app_key_or_identity",
                violation_error_message="Choose one: where every call carries a key, there is none "
                "that a token could verify.",
            )
        ]

    def __str__(self) -> str:
        return self.name

    @classmethod
    def named(cls, text: str) -> "App | None":
        """The app with this id or name."""
        try:
            return cls.objects.filter(id=uuid.UUID(text)).first()
        except ValueError:
            return cls.objects.filter(name=text).first()

    @property
    def is_open(self) -> bool:
        """Whether its SDK calls prove nothing: whoever knows its id may make them."""
        return not (self.requires_key or self.requires_identity)


class AppKey(models.Model):
    """A secret of an app: only its HMAC is kept, and its first characters to tell it by."""

    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="keys")
    prefix = models.CharField(max_length=16)
    digest = models.CharField(max_length=64, unique=True)
    created_at = models.DateTimeField(
        auto_now_add=True,
        help_text="When the key was made. An app has at most two keys that are valid.",
    )
    revoked_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="When the key stopped being valid. Empty: it is valid.",
    )

    class Meta:
        db_table = "app_key"
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.prefix}…"


class IdentityKey(models.Model):
    """A public key that an app's tokens are verified with; the private one stays on its server."""

    app = models.ForeignKey(App, on_delete=models.CASCADE, related_name="identity_keys")
    pem = models.TextField()
    #: SHA-256 of the key's DER form, 64 hexadecimal digits.
    fingerprint = models.CharField(max_length=64)
    added_by = models.CharField(max_length=150, help_text="The user name of who added the key.")
    created_at = models.DateTimeField(
        auto_now_add=True,
        help_text="When the key was added. An app has at most two keys that are valid.",
    )
    revoked_at = models.DateTimeField(
        null=True,
        blank=True,
        help_text="Since when tokens that it verifies are refused. Empty: it is valid.",
    )

    class Meta:
        db_table = "identity_key"
        ordering = ("-created_at", "-id")
        constraints = [
            models.UniqueConstraint(fields=["app", "fingerprint"], name="identity_key_once")
        ]

    def __str__(self) -> str:
        return f"{self.fingerprint[:16]}…"
