"""What a line of an export says, and the updates that import it."""

from collections.abc import Collection, Mapping
from typing import Any

import pytest

from notify.domain.errors import Malformed
from notify.domain.records import ids, nobody
from notify.domain.records.patch import ADD, DEFAULT, SET, Op
from notify.domain.records.update import ALIASES_MAX, COUNTER_MAX, UPDATE_BYTES_MAX, Update, encode
from notify.management.onesignal import entry
from notify.management.onesignal.updates import IMPORTED_AT, of_entry

APP = "6f1d2c1e-9a3b-4a55-8c7e-0d9d3b8f1a11"
PLAYER = "11111111-1111-4111-8111-111111111111"
USER_ID = "22222222-2222-4222-8222-222222222222"
ANN = ids.alias_id(APP, "user", "external_id", "ann")
AT = 1_800_000_000_000

DEVICE = {"id": PLAYER, "identifier": "fcm-token", "device_type": "1"}
#: A row with all columns that the documentation of the export names.
FULL_ROW = DEVICE | {
    "session_count": "12",
    "language": "en",
    "timezone": "-28800",
    "game_version": "3.2.0",
    "device_os": "14",
    "device_model": "Pixel 8",
    "ad_id": "OptedOut",
    "tags": '{"plan": "pro", "level": 4, "empty": "", "none": null}',
    "last_active": "2025-09-02 08:00:00.123 UTC",
    "playtime": "3600",
    "amount_spent": "9.99",
    "created_at": "2023-11-14 22:13:20",
    "invalid_identifier": "f",
    "badge_count": "0",
    "external_user_id": "ann",
    "notification_types": "1",
    "location": "(52.5, 13.4)",
    "country": "DE",
    "rooted": "f",
    "ip": "192.0.2.1",
    "web_auth": "",
    "web_p256": "",
    "timezone_id": "Europe/Berlin",
}


def row(**cells: str) -> dict[str, str]:
    return DEVICE | cells


def updates(fields: Mapping[str, Any]) -> list[Update]:
    """What imports a row, or a user in JSON."""
    read = entry.of_user if "identity" in fields else entry.of_row
    return list(of_entry(read(fields), APP, at=AT))


def defaults(update: Update, prefix: str) -> dict[str, Any]:
    """What the update sets where there is nothing."""
    ops = update.patch.ops
    assert all(op == DEFAULT for key, (op, _) in ops.items() if key.startswith(prefix))
    return {key[len(prefix) :]: op[1] for key, op in ops.items() if key.startswith(prefix)}


def others(update: Update) -> dict[str, Op]:
    """The ops of the update that are no tags and no properties."""
    ops = update.patch.ops
    return {key: op for key, op in ops.items() if not key.startswith(("tags.", "properties."))}


class TestRow:
    def test_all_columns(self) -> None:
        user, device = updates(FULL_ROW)
        assert (user.record, user.kind, user.aliases) == (ANN, "user", {"external_id": "ann"})
        assert defaults(user, "tags.") == {"plan": "pro", "level": 4}
        assert defaults(user, "properties.") == {
            "language": "en",
            "timezone_id": "Europe/Berlin",
            "country": "DE",
            "ip": "192.0.2.1",
            "lat": 52.5,
            "long": 13.4,
            "first_active": 1_700_000_000,
            "last_active": 1_756_800_000,
        }
        assert others(user) == {}
        assert (device.record, device.kind) == (PLAYER, "push")
        assert device.links == {"user": ANN}
        assert device.aliases == {"token": "fcm-token"}
        assert defaults(device, "tags.") == {"plan": "pro", "level": 4}
        assert defaults(device, "properties.") == defaults(user, "properties.") | {
            "device_type": 1,
            "timezone": -28_800,
            "game_version": "3.2.0",
            "device_os": "14",
            "device_model": "Pixel 8",
            "ad_id": "OptedOut",
            "external_user_id": "ann",
            "notification_types": 1,
            "rooted": False,
            "enabled": True,
            IMPORTED_AT: AT // 1000,
        }
        assert others(device) == {
            "identifier": (SET, "fcm-token"),
            "session_count": (ADD, 12),
            "session_time_s": (ADD, 3_600),
            "spent_micros": (ADD, 9_990_000),
        }
        assert device.once
        assert entry.of_row(FULL_ROW).left_out == []
        assert entry.columns_not_taken(list(FULL_ROW)) == ["badge_count"]

    def test_a_device_alone(self) -> None:
        (device,) = updates(row(identifier=""))
        assert (device.links, device.aliases, others(device)) == ({}, {}, {})
        assert defaults(device, "properties.") == {"device_type": 1}
        assert not device.once

    @pytest.mark.parametrize(
        ("device_type", "kind", "identifier", "stored"),
        [
            ("11", "email", " Ann@Example.ORG", "ann@example.org"),
            ("14", "sms", "+1 (234) 567", "+1 (234) 567"),
        ],
    )
    def test_an_address_has_the_id_that_registering_it_gives(
        self, device_type: str, kind: str, identifier: str, stored: str
    ) -> None:
        user, address, exported = updates(
            row(device_type=device_type, identifier=identifier, external_user_id="ann")
        )
        assert address.record == ids.record_id(APP, kind, identifier)
        assert address.kind == kind
        assert address.links == {"user": ANN}
        assert address.aliases == {}
        assert others(address) == {"identifier": (SET, stored)}
        # An SDK that knows the id of before goes on to write to the address.
        assert (exported.record, exported.kind) == (PLAYER, kind)
        assert exported.links == {kind: address.record}
        assert exported.patch.ops == {}
        assert user.record == ANN

    @pytest.mark.parametrize(
        ("external", "onesignal", "record", "aliases"),
        [
            ("ann", USER_ID, USER_ID, {"external_id": "ann"}),
            ("", USER_ID, USER_ID, {}),
            ("ann", "", ANN, {"external_id": "ann"}),
        ],
    )
    def test_whose_it_is(
        self, external: str, onesignal: str, record: str, aliases: dict[str, str]
    ) -> None:
        user, device = updates(row(external_user_id=external, onesignal_id=onesignal))
        assert (user.record, user.aliases) == (record, aliases)
        assert device.links == {"user": record}

    @pytest.mark.parametrize(
        ("cells", "reason"),
        [
            ({"id": ""}, "id must be the id of a player"),
            ({"id": "17"}, "id must be the id of a player"),
            ({"id": "11111111-1111-8111-8111-111111111111"}, "id has UUID version 8"),
            ({"device_type": ""}, "device_type is missing"),
            ({"device_type": "phone"}, "device_type must be an integer"),
            ({"device_type": "11", "identifier": ""}, "it has no address or number"),
            ({"device_type": "14", "identifier": " "}, "it has no address or number"),
            ({"identifier": "x" * 1025}, "identifier has 1025 characters"),
            ({"identifier": "a\0"}, "identifier contains NUL"),
            ({"identifier": "\udcff"}, "identifier contains a lone surrogate"),
            ({"tags": '{"a"'}, "tags is not a JSON object"),
            ({"tags": "[1]"}, "tags is not a JSON object"),
            ({"tags": "[" * 100_000}, "tags is not a JSON object"),
        ],
    )
    def test_what_costs_the_line(self, cells: dict[str, str], reason: str) -> None:
        with pytest.raises(Malformed, match=reason):
            updates(row(**cells))

    @pytest.mark.parametrize(
        ("cells", "reason", "absent"),
        [
            ({"tags": f'{{"a": "{"x" * 1025}"}}'}, "tags.a has 1025 characters", "tags.a"),
            ({"tags": '{"a": {"b": 1}}'}, "tags.a must be a string", "tags.a"),
            ({"tags": '{"a": NaN}'}, "tags.a must be a finite number", "tags.a"),
            ({"tags": f'{{"{"x" * 129}": 1}}'}, "a name in tags", f"tags.{'x' * 129}"),
            ({"tags": '{"": 1}'}, "a name in tags", "tags."),
            ({"tags": '{"\\ud800": 1}'}, "a name in tags contains a lone", "tags.\ud800"),
            ({"device_model": "\udcff"}, "properties.device_model", "properties.device_model"),
            ({"session_count": "-1"}, "session_count must be from 0", "session_count"),
            ({"session_count": "many"}, "session_count must be an integer", "session_count"),
            ({"playtime": str(COUNTER_MAX + 1)}, "playtime must be from 0", "session_time_s"),
            ({"amount_spent": "free"}, "an amount is not a number", "spent_micros"),
            ({"timezone": "CET"}, "timezone must be an integer", "properties.timezone"),
            ({"last_active": "yesterday"}, "last_active must be a date", "properties.last_active"),
            ({"created_at": "1969-12-31"}, "created_at is before 1970", "properties.first_active"),
            ({"invalid_identifier": "maybe"}, "invalid_identifier must be t", "properties.enabled"),
            ({"rooted": "2"}, "rooted must be t or f", "properties.rooted"),
            ({"location": "home"}, "location must be a latitude", "properties.lat"),
            ({"location": "91,0"}, "location must be a latitude", "properties.lat"),
            ({"location": "0,.-"}, "location must be a number", "properties.lat"),
            ({"lat": "north"}, "lat must be a number", "properties.lat"),
        ],
    )
    def test_what_is_left_out(self, cells: dict[str, str], reason: str, absent: str) -> None:
        found = entry.of_row(row(**cells))
        assert [text for text in found.left_out if reason in text] == list(found.left_out) != []
        (device,) = updates(row(**cells))
        assert absent not in device.patch.ops
        assert device.patch.ops["identifier"] == (SET, "fcm-token")

    @pytest.mark.parametrize(
        ("cells", "left_out"),
        [
            ({"external_user_id": "a/identity"}, "must not contain /identity"),
            ({"external_user_id": "x" * 1025}, "a name may have at most 1,024"),
            ({"external_user_id": "\udcff"}, "lone surrogate"),
            ({"onesignal_id": "17"}, "onesignal_id must be the id of a player"),
        ],
    )
    def test_a_user_that_cannot_be_costs_no_device(
        self, cells: dict[str, str], left_out: str
    ) -> None:
        found = entry.of_row(row(**cells))
        assert found.user is None
        assert left_out in found.left_out[-1]
        assert updates(row(**cells))[0].record == PLAYER

    @pytest.mark.parametrize(
        ("external", "names"), [("NULL", nobody.NAMES), ("0", nobody.NAMES), ("guest", {"guest"})]
    )
    def test_a_name_that_is_nobodys(self, external: str, names: Collection[str]) -> None:
        found = entry.of_row(row(external_user_id=external), names)
        assert found.user is None
        assert "external_user_id" not in found.subscriptions[0].properties
        (reason,) = found.left_out
        assert f'external_id: the name "{external}" is on the app\'s list' in reason

    def test_a_name_that_an_app_takes_for_somebodys(self) -> None:
        found = entry.of_row(row(external_user_id="0"), {"guest"})
        assert found.user is not None
        assert found.user.aliases == {"external_id": "0"}

    @pytest.mark.parametrize(("kind", "text"), [("11", "null"), ("14", "n/a"), ("1", "undefined")])
    def test_an_address_that_is_none_costs_the_line(self, kind: str, text: str) -> None:
        with pytest.raises(Malformed, match="identifier"):
            updates(row(device_type=kind, identifier=text))

    @pytest.mark.parametrize(
        "cell",
        [
            "1700000000",
            "1700000000000",
            "2023-11-14 22:13:20",
            "2023-11-14 22:13:20.5",
            "2023-11-14 22:13:20 UTC",
            "2023-11-14T22:13:20Z",
            "2023-11-14 23:13:20+01",
            "2023-11-14 23:13:20 +0100",
        ],
    )
    def test_times(self, cell: str) -> None:
        (device,) = updates(row(last_active=cell))
        assert defaults(device, "properties.")["last_active"] == 1_700_000_000

    def test_a_device_that_unsubscribed(self) -> None:
        (device,) = updates(row(invalid_identifier="t"))
        assert defaults(device, "properties.")["enabled"] is False

    @pytest.mark.parametrize(("count", "size", "parts"), [(100, 1, 1), (101, 1, 2), (60, 1000, 4)])
    def test_tags_that_fit_into_no_update_follow_in_others(
        self, count: int, size: int, parts: int
    ) -> None:
        tags = ", ".join(f'"t{n}": "{"x" * size}"' for n in range(count))
        found = updates(row(tags=f"{{{tags}}}", session_count="1"))
        assert len(found) == parts
        assert {update.record for update in found} == {PLAYER}
        together: dict[str, Any] = {}
        for update in found:
            assert len(encode(update)) < UPDATE_BYTES_MAX
            assert not together.keys() & defaults(update, "tags.").keys()
            together |= defaults(update, "tags.")
        assert len(together) == count
        assert [update.once for update in found] == [True] + [False] * (parts - 1)
        assert len({update.message_id for update in found}) == parts


SUBSCRIPTION = {"id": PLAYER, "type": "AndroidPush", "token": "fcm-token"}
#: As the documentation of GET user shows one.
FULL_USER = {
    "identity": {"onesignal_id": USER_ID, "external_id": "ann", "crm": "7"},
    "properties": {
        "tags": {"plan": "pro", "gone": ""},
        "language": "en",
        "timezone_id": "Europe/Berlin",
        "lat": 52.5,
        "long": 13.4,
        "country": "DE",
        "first_active": 1_673_449_251,
        "last_active": 1_678_126_124,
        "amount_spent": 12.5,
        "purchases": [{"sku": "a", "amount": "12.5", "iso": "EUR"}],
    },
    "subscriptions": [
        SUBSCRIPTION
        | {
            "app_id": "another",
            "enabled": True,
            "notification_types": 1,
            "session_time": 3670,
            "session_count": 129,
            "sdk": "050909",
            "device_model": "Pixel 8",
            "device_os": "14",
            "rooted": False,
            "test_type": 0,
            "app_version": "3.2.0",
            "net_type": 0,
            "carrier": "",
            "web_auth": "",
            "web_p256": None,
        },
        {"id": f"{PLAYER[:-1]}2", "type": "email", "token": "a@b.c"},
    ],
}


def user(**parts: Any) -> dict[str, Any]:
    return {"identity": {"external_id": "ann"}, "properties": {}} | parts


class TestUser:
    def test_a_name_that_is_nobodys(self) -> None:
        found = entry.of_user(
            user(identity={"external_id": "guest", "onesignal_id": USER_ID}), {"guest"}
        )
        assert found.user is not None
        assert (found.user.id, found.user.aliases) == (USER_ID, {})
        assert len(found.left_out) == 1

    def test_all_fields(self) -> None:
        made, device, address, exported = updates(FULL_USER)
        assert (made.record, made.kind) == (USER_ID, "user")
        assert made.aliases == {"external_id": "ann", "crm": "7"}
        assert defaults(made, "tags.") == {"plan": "pro"}
        assert defaults(made, "properties.") == {
            "language": "en",
            "timezone_id": "Europe/Berlin",
            "lat": 52.5,
            "long": 13.4,
            "country": "DE",
            "first_active": 1_673_449_251,
            "last_active": 1_678_126_124,
            IMPORTED_AT: AT // 1000,
        }
        assert others(made) == {"spent_micros": (ADD, 12_500_000), "purchase_count": (ADD, 1)}
        assert (device.record, device.links) == (PLAYER, {"user": USER_ID})
        assert device.aliases == {"token": "fcm-token"}
        assert others(device) == {
            "identifier": (SET, "fcm-token"),
            "session_count": (ADD, 129),
            "session_time_s": (ADD, 3_670),
        }
        assert defaults(device, "properties.") == {
            "subscription_type": "AndroidPush",
            "enabled": True,
            "notification_types": 1,
            "sdk": "050909",
            "device_model": "Pixel 8",
            "device_os": "14",
            "rooted": False,
            "test_type": 0,
            "app_version": "3.2.0",
            "net_type": 0,
            IMPORTED_AT: AT // 1000,
        }
        assert address.record == ids.record_id(APP, "email", "a@b.c")
        assert defaults(address, "properties.") == {"subscription_type": "Email"}
        assert exported.links == {"email": address.record}

    def test_the_same_totals_of_a_device_have_the_same_message_id_in_both_exports(self) -> None:
        _, of_csv = updates(FULL_ROW)
        _, of_json, *_ = updates(FULL_USER)
        assert of_csv.message_id == of_json.message_id
        assert of_csv.message_id != updates(row(id=USER_ID, session_count="1"))[0].message_id

    def test_a_user_without_an_id_is_the_one_of_its_external_id(self) -> None:
        (made,) = updates(user(identity={"crm": "7", "external_id": "ann"}))
        assert (made.record, list(made.aliases)) == (ANN, ["external_id", "crm"])

    @pytest.mark.parametrize(
        ("bought", "counters", "left_out"),
        [
            (
                [{"amount": "1.5"}, {"amount": 2}],
                {"purchase_count": 2, "spent_micros": 3_500_000},
                0,
            ),
            ([{"amount": "much"}, {}], {"purchase_count": 2}, 1),
            ([], {}, 0),
            (["a"], {}, 1),
        ],
    )
    def test_purchases_without_a_total(
        self, bought: object, counters: dict[str, int], left_out: int
    ) -> None:
        found = entry.of_user(user(properties={"purchases": bought}))
        assert found.user is not None
        assert found.user.counters == counters
        assert len(found.left_out) == left_out

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"identity": {}, "errors": ["no such user"]}, "an error answer of the API"),
            ({"identity": []}, "it is not a user"),
            (user(properties=[1]), "it is not a user"),
            (user(identity={}), "identity names no user"),
            (user(identity={"onesignal_id": "17"}), "identity names no user"),
            (user(properties={"tags": [1]}), "tags must be an object"),
            (user(subscriptions={"id": PLAYER}), "subscriptions must be a list"),
        ],
    )
    def test_what_costs_the_user(self, fields: dict[str, Any], reason: str) -> None:
        with pytest.raises(Malformed, match=reason):
            updates(fields)

    @pytest.mark.parametrize(
        ("subscription", "reason"),
        [
            (7, "a subscription must be an object"),
            ({"type": "Email", "token": "a@b.c"}, "a subscription's id must be"),
            ({"id": PLAYER, "type": "Fax"}, "type must be one of"),
            ({"id": PLAYER, "type": "Email"}, "it has no address or number"),
            (SUBSCRIPTION | {"token": 7}, "identifier must be a string"),
        ],
    )
    def test_a_subscription_that_cannot_be_costs_no_user(
        self, subscription: object, reason: str
    ) -> None:
        found = entry.of_user(user(subscriptions=[subscription, SUBSCRIPTION]))
        assert [each.id for each in found.subscriptions] == [PLAYER]
        assert reason in found.left_out[0]
        assert len(found.left_out) == 1

    def test_what_is_left_out(self) -> None:
        found = entry.of_user(
            user(
                identity={"external_id": "ann", "nobody": 7}
                | {f"label{n}": "x" for n in range(ALIASES_MAX)},
                properties={
                    "last_active": "soon",
                    "language": ["en"],
                    "amount_spent": "much",
                    "purchases": "some",
                },
            )
        )
        assert found.user is not None
        assert len(found.user.aliases) == ALIASES_MAX
        assert found.user.aliases["external_id"] == "ann"
        assert found.user.properties == {}
        assert found.user.counters == {}
        reasons = "\n".join(found.left_out)
        for reason in (
            "last_active must be a date",
            "properties.language must be",
            "an amount is not a number",
            "purchases must be a list",
            "nobody must be a string",
            f"all aliases after the first {ALIASES_MAX}",
        ):
            assert reason in reasons
        assert len(found.left_out) == 6
