"""Links, generations and counts."""

import uuid

from notify.domain.records.ids import logins_id
from notify.domain.records.links import (
    Counted,
    Detached,
    Linked,
    Links,
    detach,
    gather,
    join,
    leave,
    named,
)
from notify.domain.records.update import DELETE, DETACH, MERGED, USER, Unreadable, Update

A, B = "app a", "app b"


def test_what_is_absent_has_no_link_no_generation_and_no_children() -> None:
    links = Links()
    assert links.parent(A, "child", "email") is None
    assert links.generation(A, "parent") == 0
    assert links.count(A, "parent", "email") == 0


def test_a_link_counts_while_its_generation_is_the_parents() -> None:
    links = Links()
    links.put(join(links, A, "child", "email", "parent"))
    assert links.parent(A, "child", "email") == "parent"
    links.put(detach(links, A, "parent"))
    assert links.parent(A, "child", "email") is None
    assert links.count(A, "parent", "email") == 0
    links.put(join(links, A, "child", "email", "parent"))
    assert links.parents[A, "child", "email"] == ("parent", 1)
    assert links.counts == {(A, "parent", "email", 0): 1, (A, "parent", "email", 1): 1}


def test_what_was_put_is_kept_for_the_tick_to_write() -> None:
    links = Links({(A, "child", "email"): ("old", 2)}, {(A, "old"): 2}, {(A, "old", "email", 2): 3})
    links.put(
        [
            Linked(A, "child", "email", None, 0),
            Counted(A, "old", "email", 2, -1),
            Linked(A, "child", "sms", "new", 0),
            Detached(A, "child", 1),
        ]
    )
    assert links.new_parents == {(A, "child", "email"), (A, "child", "sms")}
    assert links.new_counts == {(A, "old", "email", 2)}
    assert links.new_generations == {(A, "child")}
    assert links.parents == {(A, "child", "sms"): ("new", 0)}
    assert links.counts == {(A, "old", "email", 2): 2}
    assert links.generations == {(A, "old"): 2, (A, "child"): 1}


def test_leaving_where_there_is_no_link_changes_nothing() -> None:
    assert leave(Links(), A, "child", "email") == []


def test_apps_and_labels_share_no_links() -> None:
    links = Links()
    links.put(join(links, A, "child", "email", "parent"))
    assert links.parent(B, "child", "email") is None
    assert links.parent(A, "child", "sms") is None
    assert links.count(B, "parent", "email") == links.count(A, "parent", "sms") == 0


def test_named_are_the_records_of_a_chunk_and_the_parents_that_it_names() -> None:
    updates: list[Update | Unreadable] = [
        Update(A, "1", 0, "m", links={"email": "2", "user": None}),
        Unreadable("why"),
        Update(B, "1", 0, "m"),
        Update(A, "3", 0, "m", op=DELETE),
        Update(A, "4", 0, "m", op=DETACH),
    ]
    assert named(updates) == (
        {(A, "1"), (A, "2"), (B, "1"), (A, "3"), (A, "4")},
        {(A, "2"), (A, "3"), (A, "4")},
        set(),
        set(),
    )


def test_what_counts_the_logins_of_a_user_is_known_where_its_new_alias_may_be_asked_for() -> None:
    """Also if the user gets the alias by the id of an anonymous user that is logged in as it."""
    app, user, anonymous = (str(uuid.UUID(int=n)) for n in (1, 2, 3))
    asked: set[tuple[str, str]] = set()

    def load(children: set[tuple[str, str]], parents: set[tuple[str, str]]) -> Links:
        asked.update(children | parents)
        return Links(parents={(app, anonymous, MERGED): (user, 0)})

    update = Update(app, anonymous, 0, "m", kind=USER, aliases={"crm": "z"})
    gather(load, named([update]))
    assert (app, logins_id(app, user, 0)) in asked
    asked.clear()
    gather(load, named([Update(app, anonymous, 0, "m", kind=USER)]))
    assert (app, logins_id(app, user, 0)) not in asked
