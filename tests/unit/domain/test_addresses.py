"""Who has an email address after registrations and changes of address (decision 0037).

`post` is a registration: it says its kind and means whoever has the address. `put` is a change of
address: it says no kind and means the record with its id.
"""

import pytest

from notify.domain.records.decide import Decision
from notify.domain.records.ids import alias_id, named_user, record_id
from notify.domain.records.patch import IDENTIFIER, SET, Patch
from notify.domain.records.update import TOKEN, Update
from tests.serial import APP, DEVICE, Serial

OLD, NEW, THIRD = "old@example.org", "new@example.org", "third@example.org"
#: The records whose ids are made from the addresses.
OF_OLD, OF_NEW, OF_THIRD = (record_id(APP, "email", address) for address in (OLD, NEW, THIRD))


def newcomer(address: str, generation: int = 0) -> str:
    """The record of whoever registers the address after its owner gave it up."""
    return named_user(APP, alias_id(APP, "email", TOKEN, address), generation)


def post(serial: Serial, address: str, *, by_alias: bool = False) -> str:
    """The record that registers the address."""
    record = (
        alias_id(APP, "email", TOKEN, address) if by_alias else record_id(APP, "email", address)
    )
    decision = serial.take(Update(APP, record, 1, "m", kind="email", aliases={TOKEN: address}))
    return decision.target or record


def put(serial: Serial, record: str, address: str) -> None:
    """The record takes the address."""
    patch = Patch(False, {IDENTIFIER: (SET, address)})
    assert serial.take(Update(APP, record, 1, "m", patch=patch)) == Decision()


@pytest.fixture
def serial() -> Serial:
    return Serial()


@pytest.mark.parametrize("by_alias", [False, True], ids=["by id", "by alias"])
def test_an_address_is_of_the_record_with_its_id(serial: Serial, by_alias: bool) -> None:
    for _ in range(2):
        assert post(serial, OLD, by_alias=by_alias) == OF_OLD


@pytest.mark.parametrize("by_alias", [False, True], ids=["by id", "by alias"])
def test_an_address_that_its_record_gave_up_is_a_newcomers(serial: Serial, by_alias: bool) -> None:
    put(serial, OF_OLD, NEW)
    for _ in range(2):
        assert post(serial, OLD, by_alias=by_alias) == newcomer(OLD)
        assert post(serial, NEW, by_alias=by_alias) == OF_OLD


def test_an_address_belongs_to_the_record_that_took_it(serial: Serial) -> None:
    put(serial, OF_NEW, OLD)
    assert post(serial, OLD) == OF_NEW
    assert post(serial, NEW) == newcomer(NEW)


def test_a_record_that_lost_its_address_does_not_get_it_back_when_the_winner_gives_it_up(
    serial: Serial,
) -> None:
    post(serial, OLD)
    put(serial, OF_NEW, OLD)
    put(serial, OF_NEW, THIRD)
    assert post(serial, OLD) == newcomer(OLD, 1)


def test_a_newcomer_that_loses_the_address_is_not_its_next_owner(serial: Serial) -> None:
    put(serial, OF_OLD, NEW)
    assert post(serial, OLD) == newcomer(OLD)
    put(serial, OF_THIRD, OLD)
    assert post(serial, OLD) == OF_THIRD


def test_a_record_takes_its_first_address_back(serial: Serial) -> None:
    put(serial, OF_OLD, NEW)
    post(serial, OLD)
    put(serial, OF_OLD, OLD)
    assert post(serial, OLD) == OF_OLD
    assert post(serial, NEW) == newcomer(NEW, 1)


def test_a_record_whose_first_address_is_taken_keeps_the_one_that_it_has(serial: Serial) -> None:
    put(serial, OF_OLD, NEW)
    put(serial, OF_THIRD, OLD)
    assert post(serial, NEW) == OF_OLD
    put(serial, OF_OLD, "last@example.org")
    assert post(serial, NEW) == newcomer(NEW, 1)


def test_a_record_that_lost_its_address_keeps_its_devices_when_it_takes_another(
    serial: Serial,
) -> None:
    serial.take(Update(APP, DEVICE, 1, "m", kind="push", links={"email": OF_OLD}))
    put(serial, OF_NEW, OLD)
    put(serial, OF_OLD, THIRD)
    assert serial.links.parent(APP, DEVICE, "email") == OF_OLD


def test_an_address_that_its_record_removes_is_a_newcomers(serial: Serial) -> None:
    serial.take(Update(APP, OF_OLD, 1, "m", kind="email", aliases={TOKEN: None}))
    assert post(serial, OLD) == newcomer(OLD)
