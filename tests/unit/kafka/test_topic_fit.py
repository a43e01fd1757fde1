"""Where a stream goes on after Kafka lost messages."""

from hypothesis import given
from hypothesis import strategies as st

from notify.domain.engine.stream import Position, fit
from notify.kafka.topic import Extent

OFFSETS = st.integers(0, 50)
POSITIONS = st.tuples(OFFSETS, OFFSETS).map(lambda pair: Position(*sorted(pair)))
LOGS = st.tuples(OFFSETS, OFFSETS).map(lambda pair: Extent(*sorted(pair)))


@given(POSITIONS, LOGS)
def test_a_fitted_position_can_be_read_on_from(position: Position, log: Extent) -> None:
    fitted = fit(position, start=log.start, end=log.end)
    assert log.start <= fitted.frontier <= fitted.planned <= log.end
    assert fit(fitted, start=log.start, end=log.end) == fitted


@given(POSITIONS, LOGS)
def test_what_fits_stays(position: Position, log: Extent) -> None:
    fits = log.start <= position.frontier and position.planned <= log.end
    assert (fit(position, start=log.start, end=log.end) == position) == fits
