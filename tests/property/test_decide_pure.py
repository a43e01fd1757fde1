"""`decide` depends on its arguments alone; its decision survives the plan's bytes; counts are counts."""

from collections import Counter
from collections.abc import Callable
from copy import deepcopy

from hypothesis import given, settings
from hypothesis import strategies as st

from notify.domain.records import links as linking
from notify.domain.records import plan as plans
from notify.domain.records import task_rows
from notify.domain.records.decide import Decision, decide, writes
from notify.domain.records.links import Links, ParentKey
from notify.domain.records.patch import EMPTY, MIRRORED_UPDATES
from notify.domain.records.policy import SCOPE_ALL, SCOPE_MIRRORED, Limit, Policy, Skip
from notify.domain.records.update import ALIAS, DETACH, LABELS, Unreadable, Update, encode, parse
from tests.property.test_update_roundtrip import APPS, RECORDS, updates

_KEYS = st.tuples(st.sampled_from(APPS), st.sampled_from(RECORDS))
POLICIES = st.builds(
    Policy,
    st.integers(0, 3),
    st.dictionaries(
        _KEYS,
        st.builds(Skip, st.integers(1, 9), st.sampled_from([SCOPE_ALL, SCOPE_MIRRORED])),
        max_size=2,
    ),
    st.dictionaries(
        st.tuples(st.sampled_from([None, *APPS]), st.sampled_from(LABELS)),
        st.builds(Limit, st.integers(0, 3)),
        max_size=3,
    ),
)
HISTORIES = st.lists(updates(st.just(EMPTY)), max_size=15)


def _after(history: list[Update], policy: Policy) -> Links:
    links = Links()
    for update in history:
        links.put(decide(update, links, policy)[1])
    return links


@settings(max_examples=50)
@given(updates(), HISTORIES, POLICIES, POLICIES, st.booleans())
def test_the_same_arguments_are_decided_the_same_and_stay_as_they_were(
    update: Update, history: list[Update], then: Policy, now: Policy, routed: bool
) -> None:
    links = _after(history, then)
    before = deepcopy((update, links, now))
    first = decide(update, links, now, routed=routed)
    assert decide(update, links, now, routed=routed) == first
    assert (update, links, now) == before
    known = deepcopy(links)
    known.put(first[1])
    assert (known == links) is (not first[1])


@settings(max_examples=50)
@given(updates(), HISTORIES, POLICIES, st.integers(0, 2**40), st.booleans())
def test_the_log_and_the_plan_give_the_writes_again(
    update: Update, history: list[Update], policy: Policy, offset: int, routed: bool
) -> None:
    decision, _ = decide(update, _after(history, policy), policy, routed=routed)
    recorded = plans.decode(offset - 3, plans.encode(offset - 3, {offset: decision}))
    assert recorded.get(offset, Decision()) == decision
    assert writes(parse(encode(update)), recorded.get(offset, Decision())) == writes(
        update, decision
    )


@settings(max_examples=50)
@given(updates(), HISTORIES, POLICIES)
def test_writes_are_the_record_first_then_each_parent_once(
    update: Update, history: list[Update], policy: Policy
) -> None:
    decision, _ = decide(update, _after(history, policy), policy)
    found = writes(update, decision)
    records = [write.record for write in found]
    assert {write.app for write in found} <= {update.app}
    assert len(set(records)) == len(records)
    if update.op != DETACH:
        own = decision.target or update.record
        assert records == [own] * decision.own + list(decision.mirrors)
    for write in found:
        is_mirrored = write.record in decision.mirrors
        assert (MIRRORED_UPDATES in write.patch.ops) is is_mirrored
        assert not (is_mirrored and write.patch.reset)


@settings(max_examples=50)
@given(updates(), HISTORIES, POLICIES)
def test_the_rows_of_a_task_hold_the_writes(
    update: Update, history: list[Update], policy: Policy
) -> None:
    decision, _ = decide(update, _after(history, policy), policy)
    found = [(stream, write) for stream, write in enumerate(writes(update, decision))]
    assert task_rows.decode(task_rows.encode(found)) == found


@settings(max_examples=50)
@given(HISTORIES, POLICIES)
def test_a_count_is_the_number_of_children_that_count(
    history: list[Update], policy: Policy
) -> None:
    links = _after(history, policy)
    children = Counter(
        (app, parent, label)
        for app, child, label in links.parents
        if (parent := links.parent(app, child, label)) is not None
    )
    for app in APPS:
        for parent in RECORDS:
            for label in LABELS:
                n = links.count(app, parent, label)
                assert n == children[app, parent, label]
                # A token is a subscription's whatever the limit of a user's aliases is.
                assert label == ALIAS or n <= policy.limit(app, label)


def _reader(whole: Links) -> Callable[[set[ParentKey], set[ParentKey]], Links]:
    """`Tick.links` on these links."""

    def read(children: set[ParentKey], parents: set[ParentKey]) -> Links:
        asked = set(parents)
        found = Links()
        for key, (parent, generation) in whole.parents.items():
            if key[:2] in children:
                found.parents[key] = (parent, generation)
                asked.add((key[0], parent))
        found.generations = {key: gen for key, gen in whole.generations.items() if key in asked}
        found.counts = {
            key: n
            for key, n in whole.counts.items()
            if key[:2] in asked and key[3] == found.generation(*key[:2])
        }
        return found

    return read


@settings(max_examples=200)
@given(HISTORIES, POLICIES, st.integers(0, 15))
def test_what_named_asks_for_is_enough_to_decide(
    history: list[Update], policy: Policy, at: int
) -> None:
    """A tick reads only the links of a chunk's records, as `Tick.links` promises."""
    whole = _after(history[:at], policy)
    chunk = history[at:]
    some = linking.gather(_reader(whole), linking.named(chunk))
    for update in chunk:
        decision, changes = decide(update, whole, policy)
        assert decide(update, some, policy) == (decision, changes)
        whole.put(changes)
        some.put(changes)


@settings(max_examples=50)
@given(st.text(max_size=5), HISTORIES, POLICIES)
def test_what_cannot_be_read_changes_nothing(
    error: str, history: list[Update], policy: Policy
) -> None:
    decision, changes = decide(Unreadable(error), _after(history, policy), policy)
    assert not changes
    assert writes(Unreadable(error), decision) == []
