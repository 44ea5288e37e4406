from functools import partial

import msgspec

from common.messages import Status
from tests.watch import statuses
from watch.counters import Counters, Key, present_states
from watch.rates import RateMeter


def positions(*counts: int, pid: int = 100) -> Status:
    """A status in which actor-0, actor-1 and so on have evaluated so many positions."""
    actors = [statuses.actor(number, positions=count) for number, count in enumerate(counts)]
    return statuses.status([msgspec.structs.replace(actor, pid=pid) for actor in actors])


agent = partial(statuses.agent, "white")
POSITIONS: Key = ("actor_positions", "actor-0", "")
STORED: Key = ("agent_stored", "white", "")


def test_an_actor_that_starts_anew_goes_on_from_what_it_had() -> None:
    counters = Counters()
    assert counters.take(positions(500))[POSITIONS] == 500
    assert counters.take(positions(700))[POSITIONS] == 700
    assert counters.take(positions(30))[POSITIONS] == 730
    assert counters.take(positions(50, pid=7))[POSITIONS] == 780  # a new process, though its count is higher
    assert counters.take(positions(50, pid=7))[POSITIONS] == 780


def test_what_an_agent_has_stored_never_falls_while_a_new_broker_learns_of_it() -> None:
    counters = Counters()
    assert counters.take(statuses.status(agents=[agent(stored=800)]))[STORED] == 800
    unknown = counters.take(statuses.status(agents=[agent(stored=0, learner="never seen")]))
    assert STORED not in unknown
    assert counters.take(statuses.status(agents=[agent(stored=0)]))[STORED] == 800
    assert counters.take(statuses.status(agents=[agent(stored=900)]))[STORED] == 900


def of_session(session: str, **changes: object) -> Status:
    """A status of white alone, whose learner was started as `session`."""
    return statuses.status(agents=[agent(**changes)], services=[statuses.learner("white", session=session)])


def test_a_fresh_run_at_the_same_address_is_counted_from_its_own_start() -> None:
    counters, meter = Counters(), RateMeter()
    former = [of_session("s1", stored=9000, units_stored=90)] * 2
    resumed = [of_session("s2", stored=9000, units_stored=90, units_trained=10)]
    fresh = [of_session("s3", stored=100 * at, units_stored=at) for at in range(4)]
    stored, rates = [], []
    for second, status in enumerate([*former, *resumed, *fresh]):
        totals = counters.take(status)
        stored.append(totals[STORED])
        made = meter.take(float(second), {**totals, **present_states(status)})
        rates.append(made.agents["white"].stored_per_s)
    assert stored == [9000, 9000, 9000, 0, 100, 200, 300]
    assert rates == [0, 0, 0, 0, 100, 100, 100]


def test_a_learner_that_goes_back_to_a_checkpoint_is_seen_to_train() -> None:
    meter = RateMeter()
    key: Key = ("agent_trained", "white", "")
    other: Key = ("agent_stored", "white", "")
    for second, trained in enumerate([900, 1000, 500, 540]):
        rates = meter.take(float(second), {key: trained, other: 0})
    assert rates.trained_per_s == 40.0


def test_messages_dropped_are_added_up_over_brokers() -> None:
    counters = Counters()
    key = ("dropped", "", "too long")
    assert counters.take(statuses.status(dropped={"too long": 3}))[key] == 3
    assert counters.take(statuses.status(dropped={"too long": 4}, broker="b2"))[key] == 7


def test_rates_are_those_of_the_last_while() -> None:
    counters, meter = Counters(), RateMeter(window_s=10.0)
    for second in range(31):
        rates = meter.take(float(second), counters.take(positions(100 * second, 50 * second)))
    assert rates.positions_per_s == 150.0
    assert rates.actors["actor-0"].positions_per_s == 100.0
    for second in range(31, 51):
        rates = meter.take(float(second), counters.take(positions(3000, 1500)))
    assert rates.positions_per_s == 0.0


def test_no_rate_is_negative_or_jumps_when_services_start_anew() -> None:
    counters, meter = Counters(), RateMeter()
    states = [agent(stored=1000), agent(stored=1100), agent(stored=0, learner="never seen"), agent(stored=1100)]
    for second, state in enumerate(states):
        actors = [statuses.actor(0, positions=1000 - 300 * second)]
        rates = meter.take(float(second), counters.take(statuses.status(actors, agents=[state])))
        assert 0.0 <= rates.positions_per_s < 1000.0
        assert all(0.0 <= found.stored_per_s <= 100.0 for found in rates.agents.values())


def test_an_actor_that_comes_later_has_no_rate_at_first_and_its_own_then() -> None:
    counters, meter = Counters(), RateMeter()
    meter.take(0.0, counters.take(positions(0)))
    assert meter.take(1.0, counters.take(positions(10, 9999))).actors["actor-1"].positions_per_s == 0.0
    assert meter.take(2.0, counters.take(positions(20, 10_004))).actors["actor-1"].positions_per_s == 5.0
