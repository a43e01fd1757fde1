"""Which anonymous users are logged in as a user, and for how long."""

from collections.abc import Sequence

import pytest

from notify.domain.records import ids
from notify.domain.records import links as linking
from notify.domain.records.decide import Decision
from notify.domain.records.policy import Limit, Policy
from notify.domain.records.update import MERGED, USER, Update
from tests.serial import ANN, APP, BOB, DEVICE, NO_POLICY, Serial, device, user


@pytest.fixture
def serial() -> Serial:
    """Ann is e1: whoever asks for this external id logs in as her."""
    serial = Serial()
    serial.take(user(ANN, external_id="e1"))
    return serial


def log_in(serial: Serial, anonymous: str, policy: Policy = NO_POLICY) -> None:
    assert serial.take(user(anonymous, external_id="e1"), policy) == Decision(target=ANN)


@pytest.mark.parametrize(
    ("limit", "logged_in"),
    [
        (1, [1, 1, 1, 1, 1, 1]),
        (2, [1, 2, 2, 2, 2, 2]),
        (3, [1, 2, 2, 2, 2, 2]),
        (4, [1, 2, 3, 4, 3, 4]),
        (5, [1, 2, 3, 4, 3, 4]),
        (6, [1, 2, 3, 4, 5, 6]),
    ],
)
def test_the_newest_logins_count_and_the_oldest_half_ends_at_the_limit(
    serial: Serial, limit: int, logged_in: Sequence[int]
) -> None:
    """`logged_in`: how many count after each of six logins."""
    policy = Policy(limits={(APP, MERGED): Limit(limit)})
    anonymous = [ids.random_id() for _ in logged_in]
    for logins, newest in enumerate(logged_in, 1):
        log_in(serial, anonymous[logins - 1], policy)
        ended = logins - newest
        means = [serial.meant(each) for each in anonymous[:logins]]
        assert means == [*anonymous[:ended], *[ANN] * newest]


def test_a_login_of_an_earlier_release_is_not_ended_by_newer_ones(serial: Serial) -> None:
    """Such a login has no generation."""
    policy = Policy(limits={(APP, MERGED): Limit(1)})
    serial.links.put(linking.join(serial.links, APP, BOB, MERGED, ANN))
    for _ in range(3):
        log_in(serial, ids.random_id(), policy)
    assert serial.meant(BOB) == ANN


def test_an_update_of_its_owner_does_not_link_a_subscription_again(serial: Serial) -> None:
    """The subscription stays linked to the anonymous user. Its owner is whom that one is logged in as."""
    serial.take(device(DEVICE, owner=BOB))
    log_in(serial, BOB)
    by_device = Update(APP, DEVICE, 1, "m", kind=USER, owner=True)
    assert serial.take(by_device) == Decision(target=ANN)
    assert serial.links.parent(APP, DEVICE, USER) == BOB
    assert (serial.count(BOB, USER), serial.count(ANN, USER)) == (1, 0)


def test_a_mirror_moves_to_the_user_that_its_parent_has_logged_in_as(serial: Serial) -> None:
    """It moves when it is linked again: unlike an owner, its parent is not resolved at each update."""
    to_bob = Update(APP, DEVICE, 1, "m", kind="push", links={"email": BOB})
    assert serial.take(to_bob).mirrors == (BOB,)
    log_in(serial, BOB)
    assert serial.take(to_bob).mirrors == (ANN,)
