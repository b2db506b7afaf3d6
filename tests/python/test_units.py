from __future__ import annotations

import pytest
from pyre.units import parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("500ms", 0.5), ("5s", 5), ("2m", 120), ("1h", 3600), ("7", 7), ("0.25", 0.25), (" 3 S ", 3), (4, 4), (0.5, 0.5)],
)
def test_durations(text: str | float, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text", ["", "s", "5x", "-1", "1e3", "5 5", "nan", "inf", -1, float("inf"), float("nan"), True]
)
def test_what_is_no_duration(text: str | float) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("64k", 65536), ("16m", 16 * 1024**2), ("1g", 1024**3), ("10", 10), ("2KiB", 2048), ("3B", 3), (5, 5)],
)
def test_sizes(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "k", "1.5m", "-1", "10x", -1, True])
def test_what_is_no_size(text: str | int) -> None:
    with pytest.raises(ValueError, match="not a size"):
        parse_size(text)
