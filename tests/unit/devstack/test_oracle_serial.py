"""The serial interpreter leaves out the writes that it is told were dead-lettered, and lists them."""

from devstack.oracle.serial import Rules, Serial
from devstack.oracle.state import Dead
from notify.domain.records.patch import SET, Patch
from notify.domain.records.update import Update, encode

APP, CHILD, PARENT = (f"00000000-0000-4000-8000-00000000000{n}" for n in range(3))
WHY = "23514 CheckViolation"


def _message(tag: str) -> bytes:
    patch = Patch(False, {f"tags.{tag}": (SET, "1")})
    return encode(Update(APP, CHILD, 0, "m", patch=patch, links={"email": PARENT}))


def _serial(*refused: tuple[int, str, str]) -> Serial:
    return Serial(
        partition=0,
        partitions=1,
        rules_at=lambda _: Rules({}, {}),
        refused=dict.fromkeys(refused, WHY),
    )


def test_a_refused_write_is_a_dead_letter_and_the_others_are_done() -> None:
    serial = _serial((0, APP, CHILD))
    first, second = _message("a"), _message("b")
    serial.take(0, first)
    serial.take(1, second)
    state = serial.end()
    assert state.dead == {Dead(0, 0, WHY, APP, CHILD, first): 1}
    assert state.records[APP, CHILD]["tags"] == {"b": "1"}
    assert state.records[APP, PARENT]["tags"] == {"a": "1", "b": "1"}


def test_a_mirrored_write_is_refused_alone() -> None:
    serial = _serial((0, APP, PARENT))
    message = _message("a")
    serial.take(0, message)
    state = serial.end()
    assert state.dead == {Dead(0, 0, WHY, APP, PARENT, message): 1}
    assert state.records[APP, CHILD]["tags"] == {"a": "1"}
    assert (APP, PARENT) not in state.records


def test_a_refusal_that_the_log_does_not_bear_out_is_no_dead_letter() -> None:
    serial = _serial((7, APP, CHILD))
    serial.take(0, _message("a"))
    assert not serial.end().dead
