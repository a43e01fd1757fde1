"""Translates what SDKs send about a device in the players API into kinds and properties.

Keys that are not listed are ignored: SDKs add some with every version, and auth hashes are secrets that
must not be stored.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from notify.domain.engine.lanes import is_uuid
from notify.domain.errors import Malformed
from notify.domain.records import nobody
from notify.domain.records.ids import normalised
from notify.domain.records.patch import IDENTIFIER, PROPERTIES
from notify.domain.records.update import check_value
from notify.web.resources import left_out
from notify.web.resources.draft import Draft
from notify.web.resources.left_out import LeftOut

PUSH: Final = "push"
EMAIL: Final = "email"
SMS: Final = "sms"
#: Why an identifier is not taken, by kind: its field and the text.
NO_ADDRESS: Final = {
    PUSH: '{}: "{:.50}" is not a push token: it stands for a missing value',
    EMAIL: '{}: "{:.50}" is not an email address',
    SMS: '{}: "{:.50}" is not a telephone number',
}
#: Properties that name somebody.
EXTERNAL_USER_ID: Final = "external_user_id"
NAMING: Final = (EXTERNAL_USER_ID, "email", "sms_number")
#: Device types of what is no device.
ADDRESSED: Final = {11: EMAIL, 14: SMS}

#: Stored under their own names.
PROPERTY_KEYS: Final = (
    "device_type", "device_os", "device_model", "sdk", "sdk_type", "android_package",
    "game_version", "net_type", "carrier", "rooted", "language", "country", "timezone",
    "timezone_id", "lat", "long", "loc_acc", "loc_type", "loc_bg", "loc_time_stamp",
    "notification_types", "external_user_id", "email", "sms_number", "ad_id", "test_type",
)  # fmt: skip


def kind_in(body: Mapping[str, Any]) -> str | None:
    """The kind of record according to `device_type`; None if the body has none."""
    device_type = body.get("device_type")
    if device_type is None:
        return None
    if type(device_type) is not int:
        # Not "... is not a valid device_type": that text makes an old SDK register again.
        raise Malformed("device_type must be an integer")
    return ADDRESSED.get(device_type, PUSH)


def identifier_in(body: Mapping[str, Any], kind: str | None) -> str | None:
    """The push token, address or number as it is stored; empty to remove it, None if the body has none.
    Raises Malformed for one that is invalid or cannot be stored."""
    text = stored_identifier(body, kind)
    if text and not nobody.is_address(kind or PUSH, text):
        raise Malformed(NO_ADDRESS[kind or PUSH].format("identifier", text))
    return text


def stored_identifier(body: Mapping[str, Any], kind: str | None) -> str | None:
    """The identifier as it is stored, without a check that it is an address or a token."""
    if "identifier" not in body:
        return None
    identifier = body["identifier"]
    if identifier is None:
        return ""
    if not isinstance(identifier, str):
        raise Malformed("identifier must be a string")
    check_value(identifier, "identifier")  # here too: an id is made of it
    return normalised(kind, identifier) if kind == EMAIL else identifier.strip()


def identifier_or_none(body: Mapping[str, Any], kind: str | None, left: LeftOut) -> str | None:
    """Like `identifier_in`, but one that cannot be stored is left out."""
    try:
        return identifier_in(body, kind)
    except Malformed as error:
        left.add(left_out.IDENTIFIER, error)
        return None


def put_device(
    draft: Draft,
    body: Mapping[str, Any],
    identifier: str | None,
    names: Collection[str],
    left: LeftOut,
) -> None:
    """Puts the tags, properties and `identifier` of a players body into the draft. Names in the list `names`
    (those that are nobody's) and invalid addresses are left out.

    An external id that is nobody's removes the earlier one, since the device no longer belongs to that
    person.
    """
    for key in PROPERTY_KEYS:
        if key not in body:
            continue
        if not _is_no_name(key, body[key], names, left):
            draft.put(PROPERTIES + key, body[key])
        elif key == EXTERNAL_USER_ID:
            draft.put(PROPERTIES + key, None)
    draft.put_tags(body.get("tags"))
    if identifier is not None:
        draft.put(IDENTIFIER, identifier)


def _is_no_name(key: str, value: object, names: Collection[str], left: LeftOut) -> bool:
    if key not in NAMING or value is None or value == "":
        return False
    try:
        check_value(value, key)
    except Malformed as error:
        left.add(left_out.NAME, error)
        return True
    if not isinstance(value, str) or not value.strip():
        return False
    if not nobody.is_nobody(value, names if key == EXTERNAL_USER_ID else nobody.NAMES):
        return False
    left.add(left_out.NAME, f'{key}: "{value:.50}" stands for a missing value')
    return True


def links_in(
    body: Mapping[str, Any], kind: str | None, record: str, left: LeftOut
) -> dict[str, str | None]:
    """The link that `parent_player_id` asks for: device to email, null or empty to unlink.

    Only devices have it: the email and SMS players are parents themselves.
    """
    if "parent_player_id" not in body or kind in (EMAIL, SMS):
        return {}
    parent = body["parent_player_id"]
    if parent is None or parent == "":
        return {EMAIL: None}
    try:
        parent = player_id(parent, "parent_player_id")
    except Malformed as error:
        left.add(left_out.LINK, error)
        return {}
    if parent == record:
        left.add(
            left_out.LINK,
            "parent_player_id is the player's own id: give the id of an email player",
        )
        return {}
    return {EMAIL: parent}


def player_id(value: object, name: str) -> str:
    """A player's id in lower case. Raises Malformed."""
    text = value.lower() if isinstance(value, str) else value
    if not is_uuid(text):
        raise Malformed(f"{name} must be the id of a player")
    assert isinstance(text, str)
    return text
