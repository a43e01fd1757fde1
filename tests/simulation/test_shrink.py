"""Steps as text, and the arguments of `make simulate`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulation.__main__ import main
from tests.simulation.shrink import as_text, from_text


@given(st.sets(st.integers(0, 300)))
def test_steps_are_read_as_they_were_written(steps: set[int]) -> None:
    assert from_text(as_text(sorted(steps))) == sorted(steps)


def test_steps_of_one_seed_are_replayed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["3", "--steps", "0-40"]) == 0
    assert "seed 3, steps 0-40: the protocol held" in capsys.readouterr().out


@pytest.mark.parametrize(
    "argv",
    [["many"], ["5", "3"], ["1", "2", "3"], ["3", "--steps", "x"], ["3", "--steps", "9999"]],
)
def test_a_bad_argument_is_named(argv: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(argv)
    assert ended.value.code == 2
    assert "error:" in capsys.readouterr().err
