from tests.watch.statuses import actor, agent, status
from watch.pace import PaceMeter


def test_the_pace_is_that_of_successive_statuses_and_in_silence_only_what_was_counted_holds() -> None:
    meter = PaceMeter()
    first = meter.take(100.0, status([actor(0, positions=0)], agents=[agent("white", trained=40)]))
    assert (first.rates.positions_per_s, first.done, first.left_s) == (0.0, 0.4, None)
    second = meter.take(102.0, status([actor(0, positions=500)], agents=[agent("white", trained=50)]))
    assert second.totals["actor_positions", "actor-0", ""] == 500
    assert (second.rates.positions_per_s, second.done) == (250.0, 0.5)
    assert second.left_s is not None
    assert round(second.left_s, 6) == 10.0
    silent = second.in_silence()
    assert (silent.totals, silent.done) == (second.totals, second.done)
    assert (silent.rates.positions_per_s, silent.left_s) == (0.0, None)
