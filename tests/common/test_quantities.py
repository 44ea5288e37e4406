import pytest

from common.quantities import duration, size


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 kB"), (1640, "1.6 kB"), (99_949, "99.9 kB"),
        (99_951, "100 kB"), (999_600, "1.0 MB"), (25_000_000_000, "25.0 GB"), (7e15, "7000 TB"),
    ],
)  # fmt: skip
def test_sizes_have_two_or_three_figures(size_bytes: float, text: str) -> None:
    assert size(size_bytes) == text


def test_durations_are_hours_minutes_and_seconds() -> None:
    assert [duration(seconds) for seconds in (0.4, 59.6, 3599, 360_000)] == [
        "0:00:00",
        "0:01:00",
        "0:59:59",
        "100:00:00",
    ]
