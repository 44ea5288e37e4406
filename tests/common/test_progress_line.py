import io

import pytest

from common.progress_line import PLAIN_INTERVAL_S, TERMINAL_INTERVAL_S, ProgressLine


class Clock:
    now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_one_line_rewritten_and_wiped_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    clock, stream = Clock(), Terminal()
    with ProgressLine(stream, clock=clock) as line:
        line.show("too soon")
        clock.now_s += TERMINAL_INTERVAL_S
        line.show("first")
        line.show("too soon")
        clock.now_s += TERMINAL_INTERVAL_S
        line.show("a line that is longer than the terminal")
    assert stream.getvalue() == "\rfirst\x1b[K\ra line that is long\x1b[K\r\x1b[K"


def test_elsewhere_a_line_is_printed_now_and_then() -> None:
    clock, stream = Clock(), io.StringIO()
    with ProgressLine(stream, clock=clock) as line:
        for second in range(12):
            line.show(f"after {second}")
            clock.now_s += 1
    assert PLAIN_INTERVAL_S == 5
    assert stream.getvalue() == "after 5\nafter 10\n"


def test_without_plain_lines_nothing_is_printed_elsewhere() -> None:
    clock, stream = Clock(), io.StringIO()
    with ProgressLine(stream, plain=False, clock=clock) as line:
        clock.now_s += 60
        line.show("nobody sees this")
    assert stream.getvalue() == ""
