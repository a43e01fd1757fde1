"""What an update does, by example: links, limits, skips, mirrors, deletes."""

from collections.abc import Sequence
from functools import reduce

import pytest

from notify.domain.errors import ReplayDisagrees
from notify.domain.records.decide import (
    LINK_REFUSED,
    MALFORMED,
    MIRROR_STOPPED,
    MISROUTED,
    OWN_ONLY,
    SKIPPED,
    Decision,
    Reason,
    Write,
    decide,
    writes,
)
from notify.domain.records.links import Change, Detached, Links
from notify.domain.records.patch import (
    ADD,
    DEFAULT,
    PUSH_IDENTIFIER,
    REMOVE,
    SET,
    Op,
    Patch,
    Value,
    apply,
    compose,
)
from notify.domain.records.policy import SCOPE_ALL, SCOPE_MIRRORED, Limit, Policy, Skip
from notify.domain.records.update import DELETE, DETACH, UPDATE, Unreadable, Update

APP = "app"
MAIL, OTHER_MAIL = "mail", "other mail"
PUSH, PUSH_2, PUSH_3 = "push 1", "push 2", "push 3"
AT = 1_700_000_000_000
NO_POLICY = Policy()


def update(
    record: str = PUSH,
    *,
    op: str = UPDATE,
    kind: str | None = None,
    only: bool = False,
    ops: dict[str, Op] | None = None,
    **links: str | None,
) -> Update:
    patch = Patch(False, ops or {})
    return Update(APP, record, AT, "m", op=op, kind=kind, patch=patch, links=links, only=only)


class Serial:
    """Decides one update after the other."""

    def __init__(self) -> None:
        self.links = Links()

    def take(self, message: Update, policy: Policy = NO_POLICY) -> Decision:
        return self.decide(message, policy)[0]

    def decide(
        self, message: Update, policy: Policy = NO_POLICY
    ) -> tuple[Decision, Sequence[Change]]:
        decision, changes = decide(message, self.links, policy)
        self.links.put(changes)
        return decision, changes

    def children(self, parent: str = MAIL, label: str = "email") -> int:
        return self.links.count(APP, parent, label)


@pytest.fixture
def serial() -> Serial:
    return Serial()


def limit(children: int, label: str = "email") -> Policy:
    return Policy(1, limits={(APP, label): Limit(children)})


def skip(record: str, scope: str = SCOPE_ALL) -> Policy:
    return Policy(1, skips={(APP, record): Skip(5, scope)})


# -- links and limits ----------------------------------------------------------------------------------


def test_an_update_without_links_is_for_its_own_record_only(serial: Serial) -> None:
    assert serial.decide(update()) == (OWN_ONLY, ())


def test_a_linked_child_is_mirrored_from_the_linking_update_on(serial: Serial) -> None:
    assert serial.take(update(email=MAIL)).mirrors == (MAIL,)
    assert serial.take(update()).mirrors == (MAIL,)
    assert serial.children() == 1


def test_the_child_past_the_limit_is_refused_but_its_own_update_applies(serial: Serial) -> None:
    for child in (PUSH, PUSH_2):
        assert serial.take(update(child, email=MAIL), limit(2)).mirrors == (MAIL,)
    refused = serial.take(update(PUSH_3, email=MAIL), limit(2))
    assert refused == Decision(reasons=(Reason(LINK_REFUSED, MAIL),))
    assert serial.take(update(PUSH_3)) == OWN_ONLY
    assert serial.children() == 2


def test_a_limit_of_zero_refuses_every_child(serial: Serial) -> None:
    assert serial.take(update(email=MAIL), limit(0)).reasons == (Reason(LINK_REFUSED, MAIL),)


def test_linking_to_the_same_parent_again_counts_nothing(serial: Serial) -> None:
    serial.take(update(email=MAIL), limit(1))
    decision, changes = serial.decide(update(email=MAIL), limit(1))
    assert decision == Decision(mirrors=(MAIL,))
    assert not changes
    assert serial.children() == 1


def test_a_refused_move_leaves_the_parent_before_all_the_same(serial: Serial) -> None:
    """F4: the device has another person now, whose tags are none of the one before."""
    serial.take(update(PUSH, email=MAIL))
    serial.take(update(PUSH_2, email=OTHER_MAIL))
    moved = serial.take(update(PUSH, email=OTHER_MAIL), limit(1))
    assert moved == Decision(reasons=(Reason(LINK_REFUSED, OTHER_MAIL),), prior=(("email", MAIL),))
    assert (serial.children(MAIL), serial.children(OTHER_MAIL)) == (0, 1)
    assert serial.take(update(PUSH)) == OWN_ONLY


def test_a_move_leaves_one_parent_and_joins_the_other(serial: Serial) -> None:
    serial.take(update(email=MAIL))
    moved = serial.take(update(email=OTHER_MAIL))
    assert moved == Decision(mirrors=(OTHER_MAIL,), prior=(("email", MAIL),))
    assert (serial.children(MAIL), serial.children(OTHER_MAIL)) == (0, 1)


def test_an_unlinked_child_is_not_mirrored(serial: Serial) -> None:
    serial.take(update(email=MAIL))
    assert serial.take(update(email=None)) == Decision(prior=(("email", MAIL),))
    assert serial.children() == 0
    assert serial.decide(update(email=None)) == (OWN_ONLY, ())


def test_mirroring_stops_while_there_are_more_children_than_the_limit(serial: Serial) -> None:
    for child in (PUSH, PUSH_2, PUSH_3):
        serial.take(update(child, email=MAIL))
    assert serial.take(update(PUSH), limit(2)).reasons == (Reason(MIRROR_STOPPED, MAIL),)
    serial.take(update(PUSH_3, email=None), limit(2))
    assert serial.take(update(PUSH), limit(2)).mirrors == (MAIL,)


def test_a_child_linked_twice_to_a_parent_is_mirrored_once(serial: Serial) -> None:
    assert serial.take(update(email=MAIL, sms=MAIL)).mirrors == (MAIL,)
    assert (serial.children(label="email"), serial.children(label="sms")) == (1, 1)


def test_two_parents_are_both_mirrored_to(serial: Serial) -> None:
    assert serial.take(update(email=MAIL, sms=OTHER_MAIL)).mirrors == (MAIL, OTHER_MAIL)


def test_a_user_link_counts_but_never_mirrors(serial: Serial) -> None:
    assert serial.take(update(user=MAIL)) == OWN_ONLY
    assert serial.take(update()) == OWN_ONLY
    assert serial.children(label="user") == 1


def test_a_mirror_goes_no_further_than_one_step(serial: Serial) -> None:
    serial.take(update(MAIL, email=OTHER_MAIL))
    assert serial.take(update(PUSH, email=MAIL)).mirrors == (MAIL,)


# -- skips ---------------------------------------------------------------------------------------------


def test_a_skipped_record_gets_no_writes_and_mirrors_none(serial: Serial) -> None:
    serial.take(update(email=MAIL))
    assert serial.take(update(), skip(PUSH)) == Decision(
        own=False, reasons=(Reason(SKIPPED, PUSH, 5),)
    )


def test_the_links_of_a_skipped_record_are_kept_up(serial: Serial) -> None:
    decision = serial.take(update(email=MAIL), skip(PUSH))
    assert (decision.own, decision.mirrors) == (False, ())
    assert serial.children() == 1
    serial.take(update(email=None), skip(PUSH))
    assert serial.children() == 0


def test_no_mirror_reaches_a_skipped_parent(serial: Serial) -> None:
    decision = serial.take(update(email=MAIL), skip(MAIL))
    assert decision == Decision(reasons=(Reason(SKIPPED, MAIL, 5),))
    assert serial.children() == 1


def test_a_skip_of_mirrored_updates_leaves_direct_ones(serial: Serial) -> None:
    policy = skip(MAIL, SCOPE_MIRRORED)
    assert serial.take(update(MAIL), policy) == OWN_ONLY
    assert serial.take(update(email=MAIL), policy).reasons == (Reason(SKIPPED, MAIL, 5),)


@pytest.mark.parametrize("op", [DELETE, DETACH])
def test_a_skipped_record_is_still_deleted_and_detached(serial: Serial, op: str) -> None:
    serial.take(update(email=MAIL))
    assert serial.take(update(MAIL, op=op), skip(MAIL)) == OWN_ONLY
    assert serial.children() == 0


def test_an_expired_rule_does_not_act(serial: Serial) -> None:
    policy = Policy(1, {(APP, PUSH): Skip(5, expires_at=10)}, {(APP, "email"): Limit(0, 10)})
    assert serial.take(update(email=MAIL), policy.at(9)).own is False
    assert serial.take(update(email=MAIL), policy.at(10)) == Decision(mirrors=(MAIL,))


# -- delete, detach, only ------------------------------------------------------------------------------


def test_a_detach_takes_all_children_and_leaves_the_record_alone(serial: Serial) -> None:
    for child in (PUSH, PUSH_2):
        serial.take(update(child, email=MAIL, user=MAIL))
    detach = update(MAIL, op=DETACH)
    decision, changes = serial.decide(detach)
    assert (decision, list(changes)) == (OWN_ONLY, [Detached(APP, MAIL, 1)])
    assert writes(detach, decision) == []
    assert (serial.children(), serial.children(label="user")) == (0, 0)
    assert serial.take(update(PUSH)) == OWN_ONLY


def test_a_detached_child_may_link_again(serial: Serial) -> None:
    serial.take(update(email=MAIL))
    serial.take(update(MAIL, op=DETACH))
    again = serial.take(update(email=MAIL), limit(1))
    assert again == Decision(mirrors=(MAIL,))
    assert serial.children() == 1


def test_leaving_a_parent_that_has_detached_counts_nothing(serial: Serial) -> None:
    serial.take(update(PUSH, email=MAIL))
    serial.take(update(MAIL, op=DETACH))
    serial.take(update(PUSH_2, email=MAIL))
    assert serial.take(update(PUSH, email=None)) == OWN_ONLY
    assert serial.children() == 1


def test_a_delete_leaves_the_parents_and_takes_the_children(serial: Serial) -> None:
    serial.take(update(MAIL, email=OTHER_MAIL, user=PUSH_3))
    serial.take(update(PUSH, email=MAIL))
    decision = serial.take(update(MAIL, op=DELETE))
    assert decision == Decision(prior=(("email", OTHER_MAIL), ("user", PUSH_3)))
    assert serial.children(OTHER_MAIL) == serial.children(PUSH_3, "user") == 0
    assert serial.children(MAIL) == 0
    assert serial.take(update(PUSH)) == OWN_ONLY


def test_only_keeps_an_update_from_its_links_and_mirrors(serial: Serial) -> None:
    serial.take(update(email=MAIL))
    assert serial.decide(update(email=OTHER_MAIL, only=True)) == (OWN_ONLY, ())
    assert serial.decide(update(MAIL, op=DELETE, only=True)) == (OWN_ONLY, ())
    assert serial.children() == 1


def test_only_is_not_for_a_skipped_record_except_to_delete_it(serial: Serial) -> None:
    policy = skip(PUSH)
    assert serial.take(update(only=True), policy).reasons == (Reason(SKIPPED, PUSH, 5),)
    assert serial.take(update(op=DELETE, only=True), policy) == OWN_ONLY


# -- messages that are none ----------------------------------------------------------------------------


def test_an_unreadable_message_is_decided_malformed() -> None:
    unreadable = Unreadable("why")
    decision, changes = decide(unreadable, Links(), NO_POLICY)
    assert decision == Decision(own=False, reasons=(Reason(MALFORMED, ""),))
    assert not changes
    assert writes(unreadable, decision) == []


def test_a_message_in_another_apps_partition_is_decided_misrouted() -> None:
    decision, changes = decide(update(email=MAIL), Links(), NO_POLICY, routed=False)
    assert decision == Decision(own=False, reasons=(Reason(MISROUTED, PUSH),))
    assert not changes


@pytest.mark.parametrize("decision", [OWN_ONLY, Decision(own=False, mirrors=(MAIL,))])
def test_a_decision_with_targets_needs_a_message_that_can_be_read(decision: Decision) -> None:
    with pytest.raises(ReplayDisagrees, match="why"):
        writes(Unreadable("why"), decision)


# -- writes --------------------------------------------------------------------------------------------

STAMPS: dict[str, Op] = {"created_at": (DEFAULT, AT), "updated_at": (SET, AT)}


def test_the_own_write_is_the_patch_with_kind_and_times() -> None:
    ops: dict[str, Op] = {"tags.a": (SET, 1), "session_count": (ADD, 1)}
    patch = Patch(False, {**ops, **STAMPS, "kind": (DEFAULT, "push"), "deleted": (SET, False)})
    assert writes(update(kind="push", ops=ops), OWN_ONLY) == [Write(APP, PUSH, patch)]


def test_without_a_kind_the_kind_stays() -> None:
    (written,) = writes(update(), OWN_ONLY)
    assert "kind" not in written.patch.ops


def after(*messages: Update) -> dict[str, Value]:
    """The record's state, the messages applied one by one and merged."""
    patches = [write.patch for each in messages for write in writes(each, OWN_ONLY)]
    merged = apply({}, reduce(compose, patches))
    nothing: dict[str, Value] = {}
    assert merged == reduce(apply, patches, nothing)
    return merged


@pytest.mark.parametrize("first", ["push", "email", "sms", "user"])
@pytest.mark.parametrize("then", ["push", "email", "sms", "user"])
def test_a_record_keeps_its_first_kind(first: str, then: str) -> None:
    assert after(update(), update(kind=first), update(kind=then))["kind"] == first
    gone = update(op=DELETE)
    assert after(update(kind=first), gone, update(kind=then))["kind"] == then


def test_a_push_token_is_no_address() -> None:
    """A push token never takes the place of an address; an identifier of no kind does, as before."""
    mail = update(kind="email", ops={"identifier": (SET, "a@example.com")})
    token = update(kind="push", ops={"identifier": (SET, "b@example.com")})
    removed = update(kind="push", ops={"identifier": (REMOVE, None)})
    other = update(ops={"identifier": (SET, "c@example.com")})
    assert after(mail, token)["identifier"] == "a@example.com"
    assert after(mail, removed)["identifier"] == "a@example.com"
    assert after(mail, other, token)["identifier"] == "c@example.com"
    assert after(mail, token, other)["identifier"] == "c@example.com"
    assert after(token, other)["identifier"] == "c@example.com"
    assert after(token, update(kind="push", ops={"identifier": (SET, "t2")}))["identifier"] == "t2"
    assert after(other, token)["identifier"] == "b@example.com"
    assert "identifier" not in after(token, removed)


def test_a_delete_resets_the_record_to_a_tombstone() -> None:
    (written,) = writes(update(op=DELETE), OWN_ONLY)
    assert written.patch == Patch(True, {**STAMPS, "deleted": (SET, True)})


def test_tags_and_where_and_when_are_mirrored_and_nothing_else() -> None:
    mirrored: dict[str, Op] = {
        "tags.a": (SET, "x"),
        "tags.b": (REMOVE, None),
        "tags.c": (DEFAULT, 1),
        "properties.language": (SET, "de"),
        "properties.timezone": (SET, 3600),
        "properties.timezone_id": (SET, "Europe/Berlin"),
        "properties.country": (REMOVE, None),
        "properties.last_active": (SET, AT),
    }
    kept: dict[str, Op] = {
        "identifier": (SET, "token"),
        "properties.device_model": (SET, "X"),
        "properties.languages": (SET, "de"),
        "session_count": (ADD, 1),
        "session_time_s": (ADD, 60),
        "purchase_count": (ADD, 1),
        "spent_micros": (ADD, 990_000),
    }
    decision = Decision(mirrors=(MAIL, OTHER_MAIL))
    own, first, second = writes(update(kind="push", ops={**kept, **mirrored}), decision)
    assert (own.record, first.record, second.record) == (PUSH, MAIL, OTHER_MAIL)
    assert first.patch == Patch(False, {**mirrored, **STAMPS, "mirrored_updates": (ADD, 1)})
    assert second.patch == first.patch
    token = kept.pop("identifier")
    assert own.patch.ops.items() >= {**kept, **mirrored, PUSH_IDENTIFIER: token}.items()
    assert "mirrored_updates" not in own.patch.ops


def test_a_mirror_without_the_own_write_is_a_mirror_still() -> None:
    assert [write.record for write in writes(update(), Decision(False, (MAIL,)))] == [MAIL]
