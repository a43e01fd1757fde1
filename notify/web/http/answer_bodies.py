"""The bodies of answers. Views build them, and /openapi.json describes them from the same types.

A field that is UNSET is not in the answer. Clients ignore fields that they do not know.
"""

from typing import Annotated, Any, Final, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

#: The clients' smallest integers have 32 bits.
INTEGER_MAX: Final = 2**31 - 1

StoredId = Annotated[str, Meta(extra_json_schema={"$ref": "#/components/schemas/StoredId"})]
AppId = Annotated[str, Meta(extra_json_schema={"$ref": "#/components/schemas/AppId"})]
Yes = Annotated[bool, Meta(extra_json_schema={"enum": [True]})]
Nothing = Annotated[list[Any], Meta(max_length=0)]
Money = Annotated[float, Meta(description="In the app's currency.")]
Time = Annotated[int, Meta(description="Seconds since 1970.")]

Text = str | UnsetType
Flag = bool | UnsetType
Integer = Annotated[int, Meta(ge=-INTEGER_MAX, le=INTEGER_MAX)] | UnsetType
Number = float | UnsetType


class Answer(Struct, frozen=True, kw_only=True):
    """What is left out of a change or a read, and which updates are dropped, if any."""

    warnings: list[str] | UnsetType = UNSET


class Success(Answer, frozen=True):
    """The request is accepted. What it changes is in Kafka."""

    success: Yes


class Created(Answer, frozen=True):
    """The player with this id is in Kafka."""

    success: Yes
    id: StoredId


class PlayerState(Answer, frozen=True, kw_only=True):
    """A player with all updates that have been applied. Its properties are in it too, each under its own
    name; without a key, only the tags."""

    id: StoredId
    tags: dict[str, Any]
    identifier: str | UnsetType = UNSET
    session_count: int | UnsetType = UNSET
    playtime: Annotated[int, Meta(description="Seconds.")] | UnsetType = UNSET
    amount_spent: Money | UnsetType = UNSET
    created_at: Time | UnsetType = UNSET


class StoredUserProperties(Struct, frozen=True, kw_only=True):
    """The properties of users that are stored under their own names."""

    language: Text = UNSET
    timezone_id: Text = UNSET
    country: Text = UNSET
    ip: Text = UNSET
    lat: Number = UNSET
    long: Number = UNSET
    first_active: Integer = UNSET
    last_active: Integer = UNSET


class UserProperties(StoredUserProperties, frozen=True, kw_only=True):
    """The properties of a user. One whose value has another type is not shown."""

    tags: dict[str, Any] | UnsetType = UNSET
    amount_spent: Money | UnsetType = UNSET


class StoredSubscriptionProperties(Struct, frozen=True, kw_only=True):
    """The properties of subscriptions that are stored under their own names."""

    enabled: Flag = UNSET
    notification_types: Integer = UNSET
    sdk: Text = UNSET
    device_model: Text = UNSET
    device_os: Text = UNSET
    rooted: Flag = UNSET
    net_type: Integer = UNSET
    carrier: Text = UNSET
    app_version: Text = UNSET
    test_type: Integer = UNSET
    web_auth: Text = UNSET
    web_p256: Text = UNSET


class Subscription(StoredSubscriptionProperties, frozen=True, kw_only=True):
    """A subscription of a user. A property whose value has another type is not shown."""

    id: StoredId
    type: str
    token: Text = UNSET


class IdentityAnswer(Answer, frozen=True):
    """The user's aliases by their labels; onesignal_id is its id."""

    identity: dict[str, str]


class UserAnswer(IdentityAnswer, frozen=True):
    """A user: what was asked for, or what has been applied so far."""

    properties: UserProperties
    subscriptions: list[Subscription]


class UserChanged(Answer, frozen=True):
    """The properties that are set."""

    properties: UserProperties


class SubscriptionAnswer(Answer, frozen=True):
    """A new subscription."""

    subscription: Subscription


class BatchResult(Struct, frozen=True):
    """Of one item: the id of its record, or why it is refused."""

    id: StoredId | UnsetType = UNSET
    errors: list[str] | UnsetType = UNSET


_OneOf = Meta(extra_json_schema={"oneOf": [{"required": ["id"]}, {"required": ["errors"]}]})
Results = list[Annotated[BatchResult, _OneOf]]


class BatchAnswer(Answer, frozen=True):
    """What became of each item, in their order."""

    accepted: Annotated[int, Meta(ge=1)]
    rejected: Annotated[int, Meta(ge=0)]
    results: Results


class Params(Struct, frozen=True, kw_only=True):
    """The settings that an SDK of a device asks for at its start."""

    require_email_auth: bool
    require_user_id_auth: bool
    jwt_required: bool
    outcomes: dict[str, Any]
    enterp: bool = False
    receive_receipts_enable: bool = False
    clear_group_on_summary_click: bool = True
    unsubscribe_on_notifications_disabled: bool = True
    chnl_lst: Nothing = []


class PageConfig(Struct, frozen=True, kw_only=True):
    """The settings that the web SDK asks for at its start."""

    success: Yes
    version: int
    features: dict[str, Any]
    config: dict[str, Any]
    app_id: AppId


class NoMessages(Struct, frozen=True):
    """There are no in-app messages."""

    in_app_messages: Nothing


class NoFeatures(Struct, frozen=True):
    """No feature is turned on."""

    features: Nothing


class Status(Struct, frozen=True):
    """The answer to a probe that found nothing wrong."""

    status: Literal["ok"]
    partitions: int | UnsetType = UNSET


class Error(Struct, frozen=True, kw_only=True):
    """Every error. `results` is in that of a batch without a valid item, `limit` in that of a rate limit."""

    errors: Annotated[
        list[str], Meta(min_length=1, description="What is wrong, and what to do next.")
    ]
    request_id: Annotated[
        str, Meta(description="The request's id. The server's logs contain it too.")
    ]
    results: Results | UnsetType = UNSET
    limit: str | UnsetType = UNSET
