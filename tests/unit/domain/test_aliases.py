"""Names by example: who is meant, who gets an alias, who logs in as whom."""

import pytest

from notify.domain.records import ids
from notify.domain.records.aliases import ALIAS_LIMIT, ALIAS_TAKEN
from notify.domain.records.decide import LINK_REFUSED, SKIPPED, Decision, Reason, decide, writes
from notify.domain.records.ids import alias_id, named_user, record_id
from notify.domain.records.links import Links
from notify.domain.records.patch import ADD, REMOVE, SET, Patch
from notify.domain.records.policy import MERGED_LIMIT_DEFAULT, Limit, Policy, Skip
from notify.domain.records.update import ALIAS, DELETE, DETACH, MERGED, TOKEN, USER, Update
from tests.serial import ANN, APP, BOB, DEVICE, NO_POLICY, OTHER_DEVICE, Serial, device, user

E1, E2, CRM = (
    alias_id(APP, USER, label, name)
    for label, name in (("external_id", "e1"), ("external_id", "e2"), ("crm", "c"))
)
T = alias_id(APP, "push", TOKEN, "t")
#: The user that the alias stands for while nobody has it, and the subscription of the token.
OF_E1, HOME = named_user(APP, E1, 0), record_id(APP, "push", "t")


@pytest.fixture
def serial() -> Serial:
    return Serial()


def test_the_ids_of_aliases_are_told_from_all_others() -> None:
    assert all(ids.is_alias(alias) for alias in (E1, E2, CRM, T))
    others = (
        ids.random_id(),
        HOME,
        OF_E1,
        ids.keyed_id(APP, "k"),
        record_id(APP, "email", "a@b.c"),
    )
    assert not any(ids.is_alias(other) for other in others)
    assert len({E1, E2, CRM, T, alias_id(APP, "push", "external_id", "e1")}) == 5


def test_an_update_by_an_unknown_alias_makes_its_user(serial: Serial) -> None:
    decision = serial.take(user(E1, external_id="e1"))
    assert decision == Decision(target=OF_E1)
    (write,) = writes(serial.update, decision)
    assert write.record == OF_E1
    assert write.patch.ops["properties.alias:external_id"] == (SET, "e1")
    assert serial.take(user(E1)) == Decision(target=OF_E1)
    assert serial.count(OF_E1, ALIAS) == 1


def test_a_users_alias_may_be_labelled_token(serial: Serial) -> None:
    """It is a name like any other, and no subscription's token."""
    alias = alias_id(APP, USER, TOKEN, "x")
    assert serial.take(user(alias, token="x")) == Decision(target=named_user(APP, alias, 0))


def test_an_alias_leads_to_whom_it_was_given(serial: Serial) -> None:
    assert serial.take(user(ANN, external_id="e1")) == Decision()
    assert serial.take(user(E1)) == Decision(target=ANN)
    assert serial.take(user(E1, crm="c")) == Decision(target=ANN)
    assert serial.meant(CRM) == ANN
    assert serial.count(ANN, ALIAS) == 2


def test_an_alias_that_another_has_is_not_given(serial: Serial) -> None:
    serial.take(user(ANN, external_id="e1"))
    serial.take(user(BOB, crm="c"))
    decision = serial.take(user(BOB, external_id="e1"))
    assert decision == Decision(reasons=(Reason(ALIAS_TAKEN, BOB),), refused=("external_id",))
    (write,) = writes(serial.update, decision)
    assert "properties.alias:external_id" not in write.patch.ops
    assert serial.meant(E1) == ANN


def test_an_anonymous_user_that_asks_for_a_users_alias_is_that_user(serial: Serial) -> None:
    serial.take(user(ANN, external_id="e1"))
    assert serial.take(user(BOB, external_id="e1")) == Decision(target=ANN)
    assert serial.take(user(BOB)) == Decision(target=ANN)
    assert serial.take(device(DEVICE, owner=BOB)) == Decision()
    assert serial.links.parent(APP, DEVICE, USER) == ANN
    assert serial.count(ANN, MERGED) == 1


def test_a_user_with_users_of_its_own_does_not_become_another(serial: Serial) -> None:
    serial.take(user(ANN, external_id="e1"))
    serial.take(user(BOB, external_id="e1"))  # BOB is ANN
    serial.take(user(ANN, external_id=None))  # ANN has no alias, but BOB
    serial.take(user(DEVICE, external_id="e2"))
    decision = serial.take(user(ANN, external_id="e2"))
    assert decision.reasons == (Reason(ALIAS_TAKEN, ANN),)
    assert serial.meant(BOB) == ANN


def test_logins_have_a_limit_of_their_own(serial: Serial) -> None:
    assert NO_POLICY.limit(APP, MERGED) == MERGED_LIMIT_DEFAULT == 1_000
    serial.take(user(ANN, external_id="e1"))
    policy = Policy(limits={(APP, MERGED): Limit(0)})
    decision = serial.take(user(BOB, external_id="e1"), policy)
    assert decision == Decision(reasons=(Reason(ALIAS_TAKEN, BOB),), refused=("external_id",))
    assert serial.meant(BOB) == BOB


def test_a_new_name_by_a_label_takes_the_place_of_the_old_one(serial: Serial) -> None:
    serial.take(user(ANN, external_id="e1"))
    serial.take(user(ANN, external_id="e2"))
    assert serial.meant(E2) == ANN
    assert serial.count(ANN, ALIAS) == 1
    assert serial.meant(E1) == named_user(APP, E1, 1)


def test_a_first_alias_replaces_none(serial: Serial) -> None:
    """Only an alias that is taken away starts a new generation."""
    serial.take(user(ANN, external_id="e1"))
    assert not serial.links.generations


def test_a_user_whose_alias_is_removed_has_one_less(serial: Serial) -> None:
    serial.take(user(ANN, external_id="e1", crm="c"))
    serial.take(user(ANN, external_id=None))
    assert serial.count(ANN, ALIAS) == 1
    assert serial.meant(CRM) == ANN


def test_an_alias_that_was_taken_away_is_nobodys(serial: Serial) -> None:
    serial.take(user(E1, external_id="e1"))
    serial.take(user(E1, crm="c"))
    decision = serial.take(user(CRM, external_id=None))
    assert decision == Decision(target=OF_E1)
    (write,) = writes(serial.update, decision)
    assert write.patch.ops["properties.alias:external_id"] == (REMOVE, None)
    assert serial.meant(CRM) == OF_E1
    # Whoever comes by that name next is not let in to the user that it was of.
    assert serial.take(user(E1, external_id="e1")) == Decision(target=named_user(APP, E1, 1))
    assert serial.take(user(BOB, external_id=None)) == Decision()


def test_a_users_aliases_have_a_limit(serial: Serial) -> None:
    policy = Policy(limits={(None, ALIAS): Limit(1)})
    serial.take(user(ANN, external_id="e1"), policy)
    decision = serial.take(user(ANN, crm="c"), policy)
    assert decision == Decision(reasons=(Reason(ALIAS_LIMIT, ANN),), refused=("crm",))
    assert serial.take(user(ANN, external_id="e2"), policy) == Decision()
    assert (serial.meant(E2), serial.count(ANN, ALIAS)) == (ANN, 1)


def test_a_deleted_user_has_no_name_and_a_revived_one_none_of_its_old_ones(serial: Serial) -> None:
    serial.take(user(ANN, external_id="e1"))
    assert serial.take(Update(APP, E1, 1, "m", op=DELETE)) == Decision(target=ANN)
    assert serial.meant(E1) == OF_E1
    serial.take(user(BOB, external_id="e1"))
    serial.take(user(ANN, external_id="e2"))  # e1 is not ANN's to give up any more
    assert (serial.meant(E1), serial.meant(E2)) == (BOB, ANN)


def test_a_detach_by_an_alias_takes_the_users_children(serial: Serial) -> None:
    serial.take(user(ANN, external_id="e1"))
    serial.take(device(DEVICE, owner=E1))
    assert serial.links.parent(APP, DEVICE, USER) == ANN
    serial.take(Update(APP, E1, 1, "m", op=DETACH))
    assert serial.links.parent(APP, DEVICE, USER) is None


def test_a_subscription_of_an_unknown_alias_is_of_the_user_that_it_will_make(
    serial: Serial,
) -> None:
    serial.take(device(DEVICE, owner=E1))
    assert serial.links.parent(APP, DEVICE, USER) == OF_E1
    assert serial.take(user(E1, external_id="e1")) == Decision(target=OF_E1)


def test_a_users_subscriptions_have_a_limit_and_may_be_transferred(serial: Serial) -> None:
    policy = Policy(limits={(APP, USER): Limit(1)})
    serial.take(device(DEVICE, owner=ANN), policy)
    refused = serial.take(device(OTHER_DEVICE, owner=ANN), policy)
    assert refused == Decision(reasons=(Reason(LINK_REFUSED, ANN),))
    assert serial.links.parent(APP, OTHER_DEVICE, USER) is None
    moved = serial.take(device(DEVICE, owner=BOB), policy)
    assert moved.prior == (("user", ANN),)
    assert serial.take(device(OTHER_DEVICE, owner=ANN), policy) == Decision()


def test_at_the_limit_a_subscription_may_be_linked_to_its_user_again(serial: Serial) -> None:
    policy = Policy(limits={(APP, USER): Limit(1)})
    serial.take(device(DEVICE, owner=ANN), policy)
    assert serial.take(device(DEVICE, owner=ANN), policy) == Decision()
    assert serial.links.parent(APP, DEVICE, USER) == ANN


def test_a_refused_subscription_leaves_its_user_all_the_same(serial: Serial) -> None:
    """F4: the phone has another person now."""
    policy = Policy(limits={(APP, USER): Limit(1)})
    serial.take(device(OTHER_DEVICE, owner=BOB), policy)
    serial.take(device(DEVICE, owner=ANN), policy)
    refused = serial.take(device(DEVICE, owner=BOB), policy)
    assert refused == Decision(reasons=(Reason(LINK_REFUSED, BOB),), prior=(("user", ANN),))
    assert serial.links.parent(APP, DEVICE, USER) is None
    assert (serial.count(ANN, USER), serial.count(BOB, USER)) == (0, 1)


def log_in(serial: Serial, subscription: str, policy: Policy = NO_POLICY) -> str:
    """A logout, which makes an anonymous user of the subscription, and a login as e1."""
    anonymous = ids.random_id()
    serial.take(user(anonymous), policy)
    serial.take(device(subscription, owner=anonymous), policy)
    serial.take(user(anonymous, external_id="e1"), policy)
    return anonymous


def test_a_login_works_as_often_as_it_is_repeated(serial: Serial) -> None:
    """F5: a shared tablet."""
    policy = Policy(limits={(APP, MERGED): Limit(1)})
    serial.take(user(ANN, external_id="e1"), policy)
    for _ in range(4):
        anonymous = log_in(serial, DEVICE, policy)
        assert serial.meant(anonymous) == ANN
        assert serial.count(ANN, MERGED) == 1
        assert serial.links.parent(APP, DEVICE, USER) == anonymous


def test_a_login_lasts_while_another_subscription_is_the_anonymous_users(serial: Serial) -> None:
    serial.take(user(ANN, external_id="e1"))
    anonymous = ids.random_id()
    serial.take(device(OTHER_DEVICE, owner=anonymous))
    serial.take(device(DEVICE, owner=anonymous))
    serial.take(user(anonymous, external_id="e1"))
    serial.take(device(DEVICE, owner=BOB))
    assert serial.meant(anonymous) == ANN
    serial.take(device(OTHER_DEVICE, owner=BOB))
    assert serial.meant(anonymous) == anonymous
    assert serial.count(ANN, MERGED) == 0


def test_a_subscription_that_is_linked_again_ends_no_login(serial: Serial) -> None:
    """The device goes on to use the anonymous user's id, which means the user that it is logged in as."""
    serial.take(user(ANN, external_id="e1"))
    anonymous = log_in(serial, DEVICE)
    for owner in (anonymous, ANN, E1):
        assert serial.take(device(DEVICE, owner=owner)) == Decision()
        assert serial.links.parent(APP, DEVICE, USER) == anonymous
        assert serial.meant(anonymous) == ANN
    serial.take(device(DEVICE, owner=BOB))
    assert serial.count(ANN, MERGED) == 0


def test_a_deleted_subscription_ends_no_login(serial: Serial) -> None:
    """The device makes another one under the same id."""
    serial.take(user(ANN, external_id="e1"))
    anonymous = log_in(serial, DEVICE)
    serial.take(Update(APP, DEVICE, 1, "m", op=DELETE))
    assert serial.meant(anonymous) == ANN


def test_a_token_is_of_the_subscription_with_its_id_until_another_has_it(serial: Serial) -> None:
    by_token = device(T, "t")
    assert serial.take(device(HOME, "t")) == Decision()
    assert not serial.links.parents
    assert serial.take(by_token) == Decision(target=HOME)
    assert serial.take(device(DEVICE, "t")) == Decision()
    assert serial.take(by_token) == Decision(target=DEVICE)


def test_a_push_token_that_moves_takes_its_old_subscription_from_its_user(serial: Serial) -> None:
    """F11: a token that was refreshed, and registered again by its new value."""
    serial.take(device(DEVICE, "t", owner=ANN))
    assert serial.take(device(HOME, "t", owner=ANN)) == Decision()
    assert serial.links.parent(APP, DEVICE, USER) is None
    assert serial.links.parent(APP, HOME, USER) == ANN
    assert serial.count(ANN, USER) == 1
    serial.take(device(HOME, "t", owner=BOB))
    assert serial.links.parent(APP, HOME, USER) == BOB


def test_a_push_token_that_moves_takes_the_subscription_with_its_id_from_its_user(
    serial: Serial,
) -> None:
    """Decision 0040: that one needed no claim for its token."""
    serial.take(device(HOME, "t", owner=ANN))
    assert serial.take(device(DEVICE, "t", owner=BOB)) == Decision()
    assert serial.links.parent(APP, HOME, USER) is None
    assert serial.count(ANN, USER) == 0
    assert serial.links.parent(APP, DEVICE, USER) == BOB


def test_the_subscription_with_a_tokens_id_that_has_another_token_keeps_its_user(
    serial: Serial,
) -> None:
    serial.take(device(HOME, "t", owner=ANN))
    serial.take(device(HOME, "another"))
    serial.take(device(DEVICE, "t", owner=BOB))
    assert serial.links.parent(APP, HOME, USER) == ANN


@pytest.mark.parametrize("record", [HOME, DEVICE], ids=["with the token's id", "with another id"])
def test_a_subscription_that_says_its_token_again_keeps_its_user(
    serial: Serial, record: str
) -> None:
    serial.take(device(record, "t", owner=ANN))
    serial.take(device(record, "t"))
    assert serial.links.parent(APP, record, USER) == ANN


@pytest.mark.parametrize("next_token", ["another", None], ids=["is changed", "is removed"])
def test_a_push_token_that_nobody_claims_any_more_is_of_the_subscription_with_its_id_again(
    serial: Serial, next_token: str | None
) -> None:
    """So that subscription leaves its user if the token moves once more."""
    serial.take(device(HOME, "t", owner=ANN))
    serial.take(device(DEVICE, "t"))
    serial.take(Update(APP, DEVICE, 1, "m", kind="push", aliases={TOKEN: next_token}))
    serial.take(device(HOME, owner=ANN))
    serial.take(device(OTHER_DEVICE, "t", owner=BOB))
    assert serial.links.parent(APP, HOME, USER) is None


def test_a_push_token_that_was_removed_still_takes_the_subscription_with_its_id_from_its_user(
    serial: Serial,
) -> None:
    """That subscription has claimed no other token (decision 0040)."""
    serial.take(device(HOME, "t", owner=ANN))
    serial.take(Update(APP, HOME, 1, "m", kind="push", aliases={TOKEN: None}))
    serial.take(device(DEVICE, "t", owner=BOB))
    assert serial.links.parent(APP, HOME, USER) is None


def test_of_all_subscriptions_that_had_a_push_token_only_the_last_has_a_user(
    serial: Serial,
) -> None:
    for record in (HOME, DEVICE, OTHER_DEVICE):
        serial.take(device(record, "t", owner=ANN))
        assert serial.count(ANN, USER) == 1
        assert serial.links.parent(APP, record, USER) == ANN


def test_an_address_that_moves_leaves_its_old_subscription_where_it_is(serial: Serial) -> None:
    for record in (DEVICE, OTHER_DEVICE):
        names: dict[str, str | None] = {TOKEN: "a@example.com"}
        serial.take(Update(APP, record, 1, "m", kind="email", aliases=names, links={USER: ANN}))
    assert serial.count(ANN, USER) == 2


def test_a_token_is_of_whom_said_so_last(serial: Serial) -> None:
    by_token = device(T, "t")
    serial.take(device(DEVICE, "t"))
    serial.take(device(OTHER_DEVICE, "t"))
    assert serial.take(by_token) == Decision(target=OTHER_DEVICE)
    serial.take(device(OTHER_DEVICE, "another"))
    assert serial.take(by_token) == Decision(target=HOME)
    serial.take(device(DEVICE, "t"))
    serial.take(device(HOME, "t"))
    assert serial.take(by_token) == Decision(target=HOME)


def by_device(record: str, **names: str | None) -> Update:
    return Update(APP, record, 1, "m", kind=USER, aliases=names, owner=True)


def test_an_update_of_a_subscriptions_owner(serial: Serial) -> None:
    serial.take(device(DEVICE, owner=ANN))
    assert serial.take(by_device(DEVICE, external_id="e1")) == Decision(target=ANN)
    assert serial.meant(E1) == ANN
    serial.take(user(BOB, external_id="e2"))
    serial.take(device(DEVICE, owner=BOB))
    assert serial.take(by_device(DEVICE)) == Decision(target=BOB, prior=())


def test_the_owner_of_a_subscription_that_logged_in(serial: Serial) -> None:
    serial.take(user(ANN, external_id="e1"))
    serial.take(device(DEVICE, owner=BOB))
    assert serial.take(by_device(DEVICE, external_id="e1")) == Decision(target=ANN)
    assert serial.take(by_device(DEVICE)) == Decision(target=ANN)


def test_a_subscription_without_an_owner_gets_one(serial: Serial) -> None:
    first = serial.take(by_device(DEVICE, external_id="e1"))
    assert first.target == named_user(APP, DEVICE, 0)
    assert not ids.follows_from_a_name(first.target)
    assert serial.links.parent(APP, DEVICE, USER) == first.target == serial.meant(E1)
    assert serial.take(by_device(DEVICE)) == Decision(target=first.target)


def test_a_record_is_never_its_own_owner(serial: Serial) -> None:
    """Bob's id is used as that of a subscription, whose owner logs in as Bob."""
    serial.take(user(BOB, external_id="e1"))
    serial.take(by_device(BOB, external_id="e1"))
    serial.take(Update(APP, BOB, 1, "m", links={USER: None}))
    serial.take(by_device(BOB))
    assert serial.links.parent(APP, BOB, USER) is None


def test_a_token_that_is_named_and_changed_in_two_steps(serial: Serial) -> None:
    serial.take(device(T, "t"))
    assert serial.take(device(T, "another")) == Decision(target=HOME)


def test_a_skip_rule_is_for_whom_an_alias_names(serial: Serial) -> None:
    serial.take(user(ANN, external_id="e1"))
    policy = Policy(skips={(APP, ANN): Skip(7)})
    decision = serial.take(user(E1), policy)
    assert decision == Decision(own=False, reasons=(Reason(SKIPPED, ANN, 7),), target=ANN)
    assert writes(serial.update, decision) == []


def test_a_replayed_dead_letter_is_not_resolved(serial: Serial) -> None:
    serial.take(user(ANN, external_id="e1"))
    assert serial.take(Update(APP, E1, 1, "m", kind=USER, only=True)) == Decision()


def test_a_repeated_update_adds_nothing_and_still_sets() -> None:
    patch = Patch(False, {"session_count": (ADD, 1), "tags.a": (SET, 1)})
    decision, _ = decide(
        Update(APP, ANN, 1, "m", patch=patch, once=True), Links(), NO_POLICY, repeated=True
    )
    assert decision == Decision(repeated=True)
    (write,) = writes(Update(APP, ANN, 1, "m", patch=patch, once=True), decision)
    assert "session_count" not in write.patch.ops
    assert write.patch.ops["tags.a"] == (SET, 1)


def test_an_address_leads_to_so_many_ids() -> None:
    """The later hands of an address may act for their records by it, up to a limit."""
    address = alias_id(APP, "email", TOKEN, "old@example.org")
    found = list(ids.of_address(APP, "email", " Old@example.org"))
    assert len(found) == len(set(found)) == ids.ADDRESS_HANDS == 10
    assert found[0] == record_id(APP, "email", "old@example.org")
    assert found[-1] == named_user(APP, address, 8)
    assert named_user(APP, address, 9) not in found
