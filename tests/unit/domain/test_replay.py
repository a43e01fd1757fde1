"""What a replay sends: one write of one record, the newest, always under the same message id."""

import uuid

import pytest
from msgspec.structs import replace

from notify.domain.records import idempotency, ids
from notify.domain.records import links as linking
from notify.domain.records.decide import decide, writes
from notify.domain.records.links import Links
from notify.domain.records.patch import ADD, DEFAULT, REMOVE, SET, Patch
from notify.domain.records.policy import SCOPE_ALL, SCOPE_MIRRORED, Policy, Skip
from notify.domain.records.replay import (
    CannotReplay,
    Source,
    again,
    dropped,
    encoded,
    message_id,
    names,
    read,
    undecided,
    whole,
)
from notify.domain.records.update import (
    DELETE,
    DETACH,
    UPDATE,
    UPDATE_BYTES_MAX,
    VALUE_CHARS_MAX,
    Update,
    encode,
    parse,
)

APP = "0a000000-0000-4000-8000-000000000001"
DEVICE = "0d000000-0000-4000-8000-000000000001"
EMAIL = "0e000000-0000-5000-8000-000000000001"
OTHER = "0e000000-0000-5000-8000-000000000002"
USER = "0f000000-0000-4000-8000-000000000001"
HERE = Source(3, 70)
NOW = 1_800_000_000_000
PATCH = Patch(
    False,
    {
        "tags.plan": (SET, "gold"),
        "tags.old": (REMOVE, None),
        "properties.language": (DEFAULT, "de"),
        "properties.device_model": (SET, "x"),
        "session_count": (ADD, 2),
        "identifier": (SET, "a token"),
    },
)


def update(record: str = DEVICE, **fields: object) -> Update:
    given = {"kind": "push", "patch": PATCH, **fields}
    return Update(APP, record, 1_700_000_000_000, "m-1", **given)  # type: ignore[arg-type]


def linked(*rows: tuple[str, str, str]) -> Links:
    """Links (child, label, parent) that all count."""
    links = Links()
    for child, label, parent in rows:
        links.put(linking.join(links, APP, child, label, parent))
    return links


MIRRORED = linked((DEVICE, "email", EMAIL))


def replay(message: Update, record: str, links: Links | None = None) -> Update:
    return again(message, record, NOW, source=HERE, links=links or Links())


def test_an_own_write_is_done_again_as_the_newest_and_nothing_else() -> None:
    message = update(links={"email": EMAIL})
    sent = replay(message, DEVICE, MIRRORED)
    assert (sent.app, sent.record, sent.kind, sent.at) == (APP, DEVICE, "push", NOW)
    assert sent.patch == PATCH
    assert sent.links == {}
    assert sent.only
    assert sent.once
    decision, changes = decide(sent, MIRRORED, Policy())
    assert changes == ()
    (write,) = writes(sent, decision)
    assert write.record == DEVICE
    assert write.patch.ops["updated_at"] == (SET, NOW)


def test_a_mirrored_write_reaches_the_parent_alone_with_what_a_mirror_carries() -> None:
    sent = replay(update(), EMAIL, MIRRORED)
    assert (sent.record, sent.kind) == (EMAIL, None)
    assert sent.patch.ops == {
        key: PATCH.ops[key] for key in ("tags.plan", "tags.old", "properties.language")
    }
    decision, _ = decide(sent, MIRRORED, Policy())
    assert [write.record for write in writes(sent, decision)] == [EMAIL]


@pytest.mark.parametrize("links", [{"email": EMAIL}, {}], ids=["linked by it", "unlinked since"])
def test_a_mirrored_write_is_told_without_its_link(links: dict[str, str]) -> None:
    assert replay(update(links=links), EMAIL).kind is None


def test_the_message_is_one_that_the_bridge_reads() -> None:
    for record in (DEVICE, EMAIL):
        sent = replay(update(), record, MIRRORED)
        assert parse(encoded(sent)) == sent


def test_again_is_the_same_message_however_often_and_counts_once() -> None:
    first, second = replay(update(), DEVICE), replay(update(), DEVICE)
    assert first.message_id == second.message_id
    assert idempotency.key_of(first) is not None
    assert idempotency.key_of(first) == idempotency.key_of(second)


def test_other_messages_and_other_records_have_other_ids() -> None:
    found = {
        message_id(update(), record, source)
        for record in (DEVICE, EMAIL)
        for source in (HERE, Source(3, 71), Source(4, 70))
    }
    assert len(found) == 6


def test_two_copies_of_a_clients_update_are_one() -> None:
    copies = {message_id(update(once=True), DEVICE, Source(3, n)) for n in (70, 90)}
    assert len(copies) == 1
    assert copies != {message_id(update(), DEVICE, HERE)}


def test_a_replay_that_was_refused_is_replayed_as_another_message() -> None:
    first = replay(update(), DEVICE)
    second = replay(first, DEVICE)
    assert second.message_id != first.message_id
    assert second.patch == first.patch


def test_a_delete_is_done_again() -> None:
    sent = replay(update(op=DELETE, patch=Patch(False, {})), DEVICE)
    assert (sent.op, sent.patch.ops) == (DELETE, {})
    assert parse(encoded(sent)) == sent


def test_a_detach_has_nothing_to_replay() -> None:
    with pytest.raises(CannotReplay, match="writes to no record"):
        replay(update(op=DETACH, kind=None, patch=Patch(False, {})), DEVICE)


def test_an_owners_update_is_replayed_to_the_user() -> None:
    message = update(kind="user", owner=True)
    sent = replay(message, USER, linked((DEVICE, "user", USER)))
    assert (sent.record, sent.kind, sent.owner) == (USER, "user", False)
    assert parse(encoded(sent)) == sent


def test_an_alias_leads_to_its_record_and_the_records_parent() -> None:
    alias = ids.alias_id(APP, "push", "token", "t")
    links = linked((alias, "alias", DEVICE), (DEVICE, "email", EMAIL))
    message = update(alias)
    assert replay(message, DEVICE, links).kind == "push"
    assert replay(message, EMAIL, links).kind is None
    with pytest.raises(CannotReplay, match="now names another"):
        replay(message, OTHER, links)


def test_only_names_that_the_user_still_bears_are_written_again() -> None:
    mine, lost = (ids.alias_id(APP, "user", label, "x") for label in ("mine", "lost"))
    links = linked((mine, "alias", USER), (lost, "alias", OTHER), (USER, "is:0:taken", mine))
    message = update(
        USER, kind="user", aliases={"mine": "x", "lost": "x", "gone": None, "taken": None}
    )
    assert replay(message, USER, links).aliases == {"mine": "x", "gone": None}
    assert names(message, USER).children >= {(APP, mine), (APP, lost), (APP, USER)}


@pytest.mark.parametrize("value", [b"\xff{", b"{}", b""])
def test_a_malformed_letter_says_so(value: bytes) -> None:
    with pytest.raises(CannotReplay, match=r"malformed.*through the API"):
        read(value)


def test_a_letter_of_a_later_release_says_which_version_to_upgrade_to() -> None:
    with pytest.raises(CannotReplay, match=r"v is 2, of a later release.*upgrade web to a release"):
        read(b'{"v":2}')


@pytest.mark.parametrize("op", [UPDATE, DELETE])
def test_what_could_not_be_read_is_sent_whole_under_an_id_that_is_always_the_same(op: str) -> None:
    links = {"email": EMAIL} if op == UPDATE else {}
    message = update(op=op, links=links, patch=PATCH if op == UPDATE else Patch(False, {}))
    sent = whole(message, NOW, source=HERE)
    made = message_id(message, DEVICE, HERE)
    assert sent == replace(message, at=NOW, message_id=made, once=True)
    assert parse(encoded(sent)) == sent
    assert whole(message, NOW + 1, source=HERE).message_id == made


def test_a_clients_own_message_id_stays_so_that_its_retry_is_not_counted_again() -> None:
    message = update(once=True)
    assert whole(message, NOW, source=HERE) == replace(message, at=NOW)


@pytest.mark.parametrize(
    "message",
    [
        update(op=DELETE, patch=Patch(False, {})),
        update(kind="user", owner=True),
        update(ids.alias_id(APP, "push", "token", "t")),
    ],
    ids=["delete", "owner", "alias"],
)
def test_what_only_a_decision_can_tell_is_not_replayed(message: Update) -> None:
    with pytest.raises(CannotReplay, match="through the API"):
        undecided(message)
    assert undecided(update()) == DEVICE


def test_a_message_that_becomes_too_long_is_refused() -> None:
    # One character a value less would do: the new id and the two flags are longer than the old.
    ops = {f"tags.{n:03}": (SET, "x" * VALUE_CHARS_MAX) for n in range(31)}
    room = UPDATE_BYTES_MAX - len(encode(update(patch=Patch(False, {**ops, "tags.z": (SET, "")}))))
    full = update(patch=Patch(False, {**ops, "tags.z": (SET, "x" * room)}))
    assert len(encode(full)) == UPDATE_BYTES_MAX
    with pytest.raises(CannotReplay, match=f"at most {UPDATE_BYTES_MAX}"):
        encoded(replay(full, DEVICE))


class TestDropped:
    """An order sends what the rule dropped, by its scope."""

    def sent(self, message: Update, record: str, scope: str, links: Links) -> Update | None:
        return dropped(message, record, scope, NOW, source=HERE, links=links)

    @pytest.mark.parametrize("scope", [SCOPE_ALL, SCOPE_MIRRORED])
    @pytest.mark.parametrize("record", [DEVICE, EMAIL, OTHER])
    def test_it_is_what_decide_dropped(self, scope: str, record: str) -> None:
        policy = Policy(1, {(APP, record): Skip(1, scope)})
        decision, _ = decide(update(), MIRRORED, policy)
        was_dropped = any(reason.record == record for reason in decision.reasons)
        sent = self.sent(update(), record, scope, MIRRORED)
        assert (sent is not None) == was_dropped
        if sent is not None:
            assert (sent.record, sent.only) == (record, True)
            assert sent.kind == ("push" if record == DEVICE else None)

    def test_links_as_they_are_now_count(self) -> None:
        assert self.sent(update(), EMAIL, SCOPE_ALL, Links()) is None
        detached = linked((DEVICE, "email", EMAIL))
        detached.put(linking.detach(detached, APP, EMAIL))
        assert self.sent(update(), EMAIL, SCOPE_ALL, detached) is None

    def test_deletes_are_never_dropped_so_never_replayed(self) -> None:
        gone = update(op=DELETE, patch=Patch(False, {}))
        assert self.sent(gone, DEVICE, SCOPE_ALL, MIRRORED) is None

    def test_a_replay_that_was_dropped_goes_to_its_record_only(self) -> None:
        message = replay(update(), DEVICE)
        assert self.sent(message, EMAIL, SCOPE_ALL, MIRRORED) is None
        assert self.sent(message, DEVICE, SCOPE_ALL, MIRRORED) is not None


def test_the_ids_never_change() -> None:
    """Letters that were replayed before a deployment and again after it count once."""
    assert message_id(update(), DEVICE, HERE) == str(
        uuid.uuid5(uuid.UUID("5f1c8f0e-0b7a-5d0e-9a43-7c1f0d6f2a11"), f"3/70/{DEVICE}")
    )
