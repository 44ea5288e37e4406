import pytest

from arena.uci_clock import think_s
from arena.uci_go import Go, parse_go


def go(text: str) -> Go:
    return parse_go(text.split())


def test_every_limit_is_read() -> None:
    limits = go(
        "wtime 1000 btime 2000 winc 10 binc 20 movestogo 5 nodes 7 depth 8 mate 2 movetime 9 infinite ponder"
    )
    assert limits == Go(
        white_ms=1000, black_ms=2000, white_increment_ms=10, black_increment_ms=20, moves_to_go=5, nodes=7,
        depth=8, mate=2, move_time_ms=9, infinite=True, ponder=True,
    )  # fmt: skip


def test_search_moves_end_at_the_next_word_of_the_command() -> None:
    assert go("searchmoves e2e4 d2d4 nodes 5") == Go(search_moves=("e2e4", "d2d4"), nodes=5)


@pytest.mark.parametrize("text", ["", "wtime", "nodes x", "foo bar", "depth -", "nodes " + "9" * 5000, "nodes ²"])
def test_nonsense_is_left_out(text: str) -> None:
    assert go(text) == Go()


def test_time_for_a_move_is_used_but_for_the_overhead() -> None:
    assert think_s(go("movetime 500"), True, 0.03) == pytest.approx(0.47)
    assert think_s(go("movetime 10"), True, 0.03) == 0.0


def test_each_side_has_its_own_clock() -> None:
    limits = go("wtime 30000 btime 3000")
    assert think_s(limits, True, 0.0) == pytest.approx(1.0)
    assert think_s(limits, False, 0.0) == pytest.approx(0.1)
    assert think_s(go("wtime 1000"), False, 0.0) is None
    assert think_s(go("nodes 5"), True, 0.0) is None


@pytest.mark.parametrize("left_ms", [-100, 0, 10, 50, 1_000, 3_600_000])
@pytest.mark.parametrize("increment_ms", [0, 10, 5_000])
@pytest.mark.parametrize("moves", ["", " movestogo 0", " movestogo 1", " movestogo 2", " movestogo 40"])
def test_no_move_takes_more_than_is_left(left_ms: int, increment_ms: int, moves: str) -> None:
    limits = go(f"wtime {left_ms} winc {increment_ms}{moves}")
    seconds = think_s(limits, True, 0.03)
    assert seconds is not None
    assert 0.0 <= seconds <= max(0.0, 0.9 * (left_ms / 1000 - 0.03))


def test_a_reserve_is_kept_for_a_busy_machine() -> None:
    assert think_s(go("wtime 330"), True, 0.03) == pytest.approx(0.0)
    assert think_s(go("wtime 330 winc 10"), True, 0.03) == pytest.approx(0.0075)
    assert think_s(go("wtime 930 winc 10"), True, 0.03) == pytest.approx(0.6 / 30 + 0.0075)
