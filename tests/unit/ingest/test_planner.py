"""A chunk as planned: decisions, writes, what was dropped and how often."""

from collections import Counter

from ingest.planner import DEAD_LETTER_BYTES_MAX, Message, Planned, plan_chunk
from ingest.ports import DeadMessage, SkippedRow
from notify.domain.records import plan as plans
from notify.domain.records.decide import LINK_REFUSED, SKIPPED, Decision, Reason
from notify.domain.records.idempotency import SeenKey, key_of
from notify.domain.records.links import Links
from notify.domain.records.patch import ADD, SET, Patch
from notify.domain.records.policy import Limit, Policy, Skip
from notify.domain.records.update import DELETE, DETACH, UPDATE, Update, encode, read

APP = "00000000-0000-0000-0000-0000000000a0"
A, B, C, MAIL = (f"00000000-0000-0000-0000-0000000000b{n}" for n in range(4))


def _update(record: str = A, *, op: str = UPDATE, **links: str | None) -> bytes:
    return encode(Update(APP, record, 1_000, "m", op=op, links=links))


def _plan(
    *bodies: bytes,
    first: int = 10,
    end: int | None = None,
    links: Links | None = None,
    policy: Policy | None = None,
    routed: bool = True,
    seen: set[SeenKey] | None = None,
) -> Planned:
    return plan_chunk(
        [Message(first + place, body, read(body)) for place, body in enumerate(bodies)],
        first=first,
        end=first + len(bodies) if end is None else end,
        links=links or Links(),
        policy=policy or Policy(),
        seen=set() if seen is None else seen,
        is_routed=lambda app: routed and app == APP,
    )


def _decisions(planned: Planned) -> dict[int, Decision]:
    return plans.decode(planned.chunk.plan.first, planned.chunk.plan.decisions)


def test_a_chunk_of_holes_has_a_plan_and_nothing_else() -> None:
    planned = _plan(end=14, policy=Policy(3))
    plan = planned.chunk.plan
    assert (plan.first, plan.next, plan.decisions) == (10, 14, b"\x01")
    assert planned.chunk.policy_version == 3
    assert (planned.written, planned.chunk.skipped, planned.chunk.dead) == ([], [], [])


def test_messages_are_decided_in_order_on_one_set_of_links() -> None:
    links = Links()
    planned = _plan(_update(email=MAIL), _update(), _update(email=None), _update(), links=links)
    assert _decisions(planned) == {
        10: Decision(mirrors=(MAIL,)),
        11: Decision(mirrors=(MAIL,)),
        12: Decision(prior=(("email", MAIL),)),
    }
    assert planned.chunk.links is links
    assert links.new_parents == {(APP, A, "email")}


def test_writes_stand_with_their_offset_and_bytes() -> None:
    bodies = [_update(email=MAIL), b"{", _update(MAIL, op=DETACH), _update(B)]
    planned = _plan(*bodies)
    assert [(offset, body) for offset, body, _ in planned.written] == list(enumerate(bodies, 10))
    records = [[write.record for write in writes] for _, _, writes in planned.written]
    assert records == [[A, MAIL], [], [], [B]]
    assert len(planned.accepted) == 3  # of those that are updates


def test_direct_and_mirrored_updates_are_counted_apart() -> None:
    planned = _plan(_update(email=MAIL), _update(), _update(MAIL), _update(B, op=DELETE))
    assert planned.direct == Counter({(APP, A): 2, (APP, MAIL): 1, (APP, B): 1})
    assert planned.mirrored == Counter({(APP, MAIL): 2})


def test_a_direct_update_of_a_skipped_record_counts_nowhere() -> None:
    planned = _plan(_update(), policy=Policy(1, {(APP, A): Skip(5)}))
    assert not planned.direct
    assert not planned.mirrored


def test_what_is_dropped_is_one_row_a_record_and_reason() -> None:
    policy = Policy(1, {(APP, A): Skip(5)}, {(APP, "email"): Limit(1)})
    bodies = [_update(), _update(B, email=MAIL), _update(), _update(C, email=MAIL), _update()]
    planned = _plan(*bodies, policy=policy)
    assert planned.chunk.skipped == [
        SkippedRow(APP, A, SKIPPED, 5, first=10, last=14, n=3),
        SkippedRow(APP, MAIL, LINK_REFUSED, None, first=13, last=13, n=1),
    ]


def test_what_cannot_be_read_is_a_dead_message() -> None:
    planned = _plan(b"[]", _update())
    assert planned.chunk.dead == [
        DeadMessage(10, None, None, "malformed: the message must be a JSON object", b"[]")
    ]
    assert planned.chunk.skipped == []
    assert _decisions(planned)[10] == Decision(own=False, reasons=(Reason("malformed", ""),))


def test_a_dead_letter_keeps_no_more_bytes_than_an_update_may_have() -> None:
    fits, longer = b"x" * DEAD_LETTER_BYTES_MAX, b"x" * (DEAD_LETTER_BYTES_MAX + 1)
    whole, cut = _plan(fits, longer).chunk.dead
    assert whole.message == cut.message == fits
    assert "kept" not in whole.error
    assert cut.error.endswith("(kept: the first 32768 of 32769 bytes)")


def test_what_is_in_the_wrong_partition_is_a_dead_message() -> None:
    body = _update(email=MAIL)
    links = Links()
    planned = _plan(body, links=links, routed=False)
    (dead,) = planned.chunk.dead
    assert (dead.offset, dead.app, dead.record, dead.message) == (10, APP, A, body)
    assert dead.error.startswith("misrouted: ")
    assert planned.written == [(10, body, [])]
    assert links == Links()


def _counted(message_id: str, record: str = A, *, once: bool = True) -> bytes:
    patch = Patch(False, {"session_count": (ADD, 1), "tags.a": (SET, "b")})
    return encode(Update(APP, record, 1_000, message_id, patch=patch, once=once))


def test_an_update_that_a_client_repeats_adds_to_no_counter() -> None:
    seen: set[SeenKey] = set()
    planned = _plan(_counted("m"), _counted("m"), _counted("n"), seen=seen)
    assert _decisions(planned) == {11: Decision(repeated=True)}
    added = ["session_count" in writes[0].patch.ops for _, _, writes in planned.written]
    assert added == [True, False, True]
    assert all("tags.a" in writes[0].patch.ops for _, _, writes in planned.written)
    assert len(planned.chunk.seen) == 2
    assert set(planned.chunk.seen) == seen
    assert _decisions(_plan(_counted("n", B), seen=seen)) == {10: Decision(repeated=True)}


def test_only_a_clients_own_message_id_is_remembered() -> None:
    planned = _plan(_counted("m", once=False), _counted("m", once=False))
    assert (_decisions(planned), planned.chunk.seen) == ({}, [])
    nothing_added = encode(Update(APP, A, 1_000, "m", once=True))
    assert _plan(nothing_added, nothing_added).chunk.seen == []


def test_what_was_skipped_was_not_counted() -> None:
    policy = Policy(1, {(APP, A): Skip(7)})
    assert _plan(_counted("m"), policy=policy).chunk.seen == []
    assert key_of(read(_counted("m"))) is not None
