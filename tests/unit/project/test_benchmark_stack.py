"""The stack that a benchmark measures needs services."""

import pytest

from tests.qa.benchmarks.stack import measured


def test_without_services_a_benchmark_says_how_to_start_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("DATABASE_URL", raising=False)
    with pytest.raises(SystemExit) as ended, measured():
        pass
    assert ended.value.code == 2
    assert "make bench BENCH=" in capsys.readouterr().err
