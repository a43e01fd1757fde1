"""Recorded decisions survive their bytes; other bytes are never guessed at."""

import pytest

from notify.domain.errors import PlanUnreadable
from notify.domain.records.decide import MISROUTED, OWN_ONLY, SKIPPED, Decision, Reason
from notify.domain.records.plan import decode, encode

DECISIONS = {
    7: Decision(mirrors=("p", "q")),
    9: Decision(False, reasons=(Reason(SKIPPED, "r", 3), Reason(MISROUTED, "p"))),
    12: Decision(prior=(("email", "p"), ("sms", "")), mirrors=("q",)),
}
RARE = {
    8: Decision(target="t"),
    10: Decision(False, ("q",), target="q", refused=("external_id", "crm")),
    11: Decision(repeated=True),
}


def test_decisions_are_read_back_by_offset() -> None:
    assert decode(7, encode(7, DECISIONS)) == DECISIONS


def test_the_second_format_is_for_what_the_first_has_no_place_for() -> None:
    encoded = encode(7, DECISIONS | RARE)
    assert encoded[:1] == b"\x02"
    assert decode(7, encoded) == DECISIONS | RARE
    assert encode(8, {8: Decision(target="t")}) == b'\x02[["t"],[[0,1,[],[],[],0,[],0]]]'
    assert encode(7, DECISIONS)[:1] == b"\x01"


def test_the_default_decision_takes_no_bytes() -> None:
    assert encode(7, {7: OWN_ONLY, 8: Decision()}) == b"\x01"
    assert decode(7, b"\x01") == {}
    assert encode(7, {**DECISIONS, 8: OWN_ONLY}) == encode(7, DECISIONS)


def test_the_format_is_written_down() -> None:
    """Plans outlive the version that wrote them."""
    encoded = b'\x01[["q","p"],[[5,1,[0],[["skip_rule",1,3]],[["email",1]]]]]'
    decision = Decision(True, ("q",), (Reason(SKIPPED, "p", 3),), (("email", "p"),))
    assert decode(7, encoded) == {12: decision}
    assert encode(7, {12: decision}) == encoded


@pytest.mark.parametrize(
    ("encoded", "words"),
    [
        (b"", "format none, this version reads 1 to 2"),
        (b"\x03[[],[]]", "format 03, this version reads 1 to 2"),
        (b"\x01{", "chunk at offset 7"),
        (b"\x01\xff", "chunk at offset 7"),
        (b"\x01[[]]", "chunk at offset 7"),
        (b"\x01[[],[[0,1,[0],[],[]]]]", "chunk at offset 7"),
        (b"\x01[[],[[0,1,[]]]]", "chunk at offset 7"),
        (b"\x01[[],[0]]", "chunk at offset 7"),
    ],
)
def test_bytes_that_are_no_plan_are_refused(encoded: bytes, words: str) -> None:
    with pytest.raises(PlanUnreadable, match=words):
        decode(7, encoded)
