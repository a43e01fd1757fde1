"""docs/reliability.md shows a result of every row of the fault matrix, as the runs wrote them."""

from tests.qa.faults import report, test_matrix  # noqa: F401 - it registers the rows
from tests.qa.faults.matrix import ROWS


def test_every_row_has_a_result_and_no_other_has() -> None:
    assert report.read().keys() == ROWS.keys()


def test_the_page_shows_the_results() -> None:
    assert report.PAGE.read_text() == report.page()


def test_every_result_holds() -> None:
    for name, result in report.read().items():
        assert (result["lost"], result["doubled"]) == (0, 0), name
        assert result["recovered_s"] <= result["bound_s"], name
