"""Members of staff at the admin, for tests."""

from django.contrib.auth.models import Permission, User
from django.test import Client


def staff(*permissions: str) -> Client:
    """A client logged in as staff with these permissions and no others. The first is grace."""
    earlier = User.objects.filter(username__startswith="grace").count()
    user = User.objects.create_user(f"grace{earlier or ''}", password="x", is_staff=True)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client
