import logging
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from actor import service
from actor.engine import Engine
from actor.labels import Labels
from actor.service import ActorService
from actor.work import Desk
from agent.weights import pack
from common.batch import decode
from common.errors import Refused
from common.links import ActorEvent, LeasedUnit, Weights
from common.logs import fields_of
from common.messages import Action, ActorReport, BatchHeader, Lease, Order, RawGame, Refusal, WeightsHeader
from common.settings import EvaluationSource, Settings

GAME = '[Event "x"]\n[Result "1-0"]\n\n1. e4 {{[%eval 0.3]}} e5 {{[%eval 0.2]}} 2. Nf3 {{[%eval {pawns}]}} 1-0\n'
ILLEGAL = b'[Result "1-0"]\n\n1. e4 e5 2. Ke3 1-0\n'


class Stop:
    """A stop signal that no process sends."""

    def __init__(self) -> None:
        self.asked = False

    def __bool__(self) -> bool:
        return self.asked

    def set(self) -> None:
        self.asked = True


class FakeLink:
    """A link that plays a script, one step a poll, then asks to stop; what the actor says is kept."""

    def __init__(self, stop: Stop) -> None:
        self.script: deque[Sequence[ActorEvent] | Callable[[], None]] = deque()
        self.stop = stop
        self.sent: list[tuple[BatchHeader, bytes]] = []
        self.full = False
        self.capacities: list[int] = []
        self.released: list[int] = []
        self.reports: list[ActorReport] = []
        self.renewed: list[list[int]] = []

    def poll(self, timeout_s: float) -> Sequence[ActorEvent]:
        if not self.script:
            self.stop.set()
            return []
        step = self.script.popleft()
        if callable(step):
            step()
            return []
        return step

    def capacity(self, units: int) -> None:
        self.capacities.append(units)

    def renew(self, units: Sequence[int], report: ActorReport) -> None:
        self.renewed.append(list(units))
        self.reports.append(report)

    def release(self, units: Sequence[int]) -> None:
        self.released += units

    def send(self, header: BatchHeader, body: bytes) -> bool:
        if not self.full:
            self.sent.append((header, body))
        return not self.full

    def close(self) -> None:
        pass


@pytest.fixture
def stop() -> Stop:
    return Stop()


@pytest.fixture
def link(stop: Stop) -> FakeLink:
    return FakeLink(stop)


@pytest.fixture
def desk() -> Desk:
    return Desk(Labels(EvaluationSource.PGN), None, EvaluationSource.PGN)


@pytest.fixture
def actor(link: FakeLink, desk: Desk, stop: Stop) -> ActorService:
    return ActorService(Settings(games_per_unit=2), "a", link, desk, stop)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "FLUSH_S", 0.2)
    monkeypatch.setattr(service, "REPORT_INTERVAL_S", 0.0)


def leased(unit: int, *agents: str, texts: Sequence[bytes] = ()) -> LeasedUnit:
    texts = texts or [GAME.format(pawns=unit / 10).encode()] * 2
    games = [RawGame(number=2 * unit + at, source="games.pgn", line=1, text=text) for at, text in enumerate(texts)]
    return LeasedUnit(Lease(unit=unit, agents=list(agents or ("white", "black"))), games)


def sent(link: FakeLink) -> list[tuple[int, str]]:
    return [(header.unit, header.agent) for header, _ in link.sent]


def test_a_leased_unit_becomes_one_batch_for_each_of_its_agents(link: FakeLink, actor: ActorService) -> None:
    link.script += [[leased(3)], [leased(4, "black")], []]
    actor.run()
    assert sent(link) == [(3, "white"), (3, "black"), (4, "black")]
    for header, body in link.sent:
        batch = decode(body)
        assert (batch.unit, batch.agent, len(batch)) == (header.unit, header.agent, header.transitions)
        assert (header.games, header.actor) == (2, "a")


def test_games_that_cannot_be_used_go_with_the_batches(link: FakeLink, actor: ActorService) -> None:
    link.script += [[leased(0, "white", texts=[ILLEGAL, GAME.format(pawns=0).encode()])], []]
    actor.run()
    ((_, body),) = link.sent
    batch = decode(body)
    assert [(rejection.number, rejection.reason.value) for rejection in batch.rejections] == [(0, "illegal-move")]
    assert link.reports[-1].rejected == 1


def test_what_the_way_has_no_room_for_is_sent_later_and_once(link: FakeLink, actor: ActorService) -> None:
    def fill() -> None:
        link.full = True

    def empty() -> None:
        assert link.sent == []
        link.full = False

    link.script += [fill, [leased(0), leased(1)], [], [], empty, []]
    actor.run()
    assert sorted(sent(link)) == [(0, "black"), (0, "white"), (1, "black"), (1, "white")]


def test_told_to_stop_it_gives_up_sending_after_a_while(link: FakeLink, actor: ActorService) -> None:
    link.full = True
    link.script += [[leased(0)], []]
    actor.run()
    assert link.sent == []


def test_told_to_stop_it_takes_no_more_and_gives_back_what_comes_late(
    link: FakeLink, actor: ActorService, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = Desk.poll
    monkeypatch.setattr(Desk, "poll", lambda self, timeout_s: () if link.script else plain(self, timeout_s))
    link.script += [[leased(0)], stop.set, [leased(1)]]
    actor.run()
    assert link.capacities[-1] == 0
    assert link.released == [1]
    assert sent(link) == [(0, "white"), (0, "black")]


def test_a_lease_that_comes_twice_is_worked_on_once(
    link: FakeLink, actor: ActorService, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = []
    plain = Desk.begin
    monkeypatch.setattr(Desk, "begin", lambda self, unit, *rest: (begun.append(unit), plain(self, unit, *rest))[1])
    link.script += [[leased(5), leased(5)], []]
    actor.run()
    assert begun == [5]


def test_paused_it_asks_for_nothing_until_it_is_told_to_go_on(link: FakeLink, actor: ActorService) -> None:
    wanted = actor._capacity
    seen: list[int] = []
    link.script += [
        [Order(action=Action.PAUSE)], [], lambda: seen.append(link.capacities[-1]),
        [Order(action=Action.RESUME)], [], lambda: seen.append(link.capacities[-1]),
    ]  # fmt: skip
    actor.run()
    assert seen == [0, wanted]


def test_an_order_to_drain_ends_it(link: FakeLink, actor: ActorService, stop: Stop) -> None:
    link.script += [[leased(0)], [Order(action=Action.DRAIN)], [leased(7)], [leased(8)]]
    actor.run()
    assert stop
    assert sent(link) == [(0, "white"), (0, "black")]


def test_a_reset_gives_everything_back(
    link: FakeLink, actor: ActorService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Desk, "hungry", property(lambda self: False))  # so that nothing is begun
    link.script += [[leased(0), leased(1)], [Order(action=Action.RESET)], []]
    actor.run()
    assert link.released == [0, 1]
    assert link.sent == []


def test_a_refusal_ends_it_with_the_reason(link: FakeLink, actor: ActorService) -> None:
    link.script += [[Refusal(reason="settings differ")]]
    with pytest.raises(Refused, match="settings differ"):
        actor.run()


def test_reports_grow_with_the_work_and_name_the_weights(link: FakeLink, actor: ActorService) -> None:
    header = WeightsHeader(
        agent="white", session="s", version=4, step=40, network="mlp", arrays=[], size_bytes=0, sha256="0" * 64
    )
    link.script += [[Weights(header, b"")], [leased(0)], []]
    actor.run()
    report = link.reports[-1]
    assert (report.units, report.games, report.positions) == (1, 2, 8)
    assert report.transitions == sum(header.transitions for header, _ in link.sent)
    assert report.weights == {"white": 4}
    assert report.weights_age_s["white"] >= 0.0
    assert report.memory_bytes > 0
    assert link.reports[0].positions == 0


def test_leases_beyond_what_it_asked_for_are_given_back(
    link: FakeLink, actor: ActorService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Desk, "hungry", property(lambda self: False))  # so that nothing is begun
    link.script += [[leased(unit) for unit in range(200)], []]
    actor.run()
    wanted = actor._capacity
    assert sorted(link.released) == list(range(200))
    assert link.released[: 200 - wanted] == list(range(wanted, 200))


def test_weights_of_other_agents_are_not_kept(link: FakeLink, actor: ActorService) -> None:
    header = WeightsHeader(
        agent="red", session="1ea2", version=4, step=40, network="mlp", arrays=[], size_bytes=0, sha256="0" * 64
    )
    link.script += [[Weights(header, b"")], []]
    actor.run()
    assert actor._weights == {}


def test_weights_go_to_the_desk_for_its_probes(
    link: FakeLink, desk: Desk, stop: Stop, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[object, ...]] = []
    monkeypatch.setattr(
        Desk, "renew", lambda self, agent, version, network, arrays: seen.append((agent, version, network, arrays))
    )
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    messages = [
        Weights(*pack({"w": array + at}, agent="white", session="s", version=at, step=9, network="mlp"))
        for at in (4, 5)
    ]
    for rate in (0.0, 0.5):
        stop.asked = False
        link.script += [messages, []]
        ActorService(Settings(games_per_unit=2, probe_rate=rate), "a", link, desk, stop).run()  # type: ignore[arg-type]
    assert [head[:3] for head in seen] == [("white", 4, "mlp"), ("white", 5, "mlp")]
    for at, (*_, arrays) in zip((4, 5), seen, strict=True):
        np.testing.assert_array_equal(arrays["w"], array + at)  # type: ignore[index]


# What is recorded of the work


def events(caplog: pytest.LogCaptureFixture, *names: str) -> list[tuple[object, ...]]:
    """Name, unit and agent of the events and spans of these names, in order."""
    found = [(record.getMessage(), fields_of(record)) for record in caplog.records if record.name == "trace"]
    told = [(fields.get("name", event), fields.get("unit"), fields.get("agent")) for event, fields in found]
    return [one for one in told if one[0] in names]


def test_each_step_of_a_unit_is_recorded(
    link: FakeLink, actor: ActorService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="trace")
    link.script += [[], [leased(3)], [leased(4, "black")], []]
    actor.run()
    assert events(caplog, "read", "batch") == [
        ("read", 3, None), ("batch", 3, None), ("read", 4, None), ("batch", 4, None)
    ]  # fmt: skip
    assert events(caplog, "lease") == [("lease", 3, None), ("lease", 4, None)]
    assert events(caplog, "encode") == [("encode", 3, "white"), ("encode", 3, "black"), ("encode", 4, "black")]
    assert events(caplog, "send") == [("send", 3, "white"), ("send", 3, "black"), ("send", 4, "black")]
    assert events(caplog, "engine") == []  # comments count, and no engine was asked


def test_a_game_is_sampled_now_and_then(
    link: FakeLink, actor: ActorService, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="trace")
    link.script += [[leased(3)], [leased(4)], [leased(5)], []]
    actor.run()
    assert events(caplog, "game") == [("game", 3, None)]


def test_nothing_is_recorded_unless_it_goes_somewhere(
    link: FakeLink, actor: ActorService, caplog: pytest.LogCaptureFixture
) -> None:
    link.script += [[leased(3)], []]
    actor.run()
    assert not [record for record in caplog.records if record.name == "trace"]


def test_an_engines_work_is_recorded_and_reported(
    link: FakeLink, stop: Stop, stockfish: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger="trace")
    with Engine(stockfish, nodes=50) as engine:
        desk = Desk(Labels(EvaluationSource.ENGINE, engine), engine, EvaluationSource.ENGINE)
        link.script += [[leased(0), leased(1)], []]
        ActorService(Settings(games_per_unit=2, nodes=50), "a", link, desk, stop).run()  # type: ignore[arg-type]
    spans = [fields_of(record) for record in caplog.records if fields_of(record).get("name") == "engine"]
    assert [fields["unit"] for fields in spans] == [0, 1]
    (first, second) = [(int(str(span["begin_ns"])), float(str(span["seconds"]))) for span in spans]
    assert second[0] >= first[0] + first[1] * 1e9 - 1000  # one after the other
    report = link.reports[-1]
    assert report.engine_positions == 4  # of the same game twice, evaluated once for all
    assert 200 <= report.engine_nodes < 300
    assert report.cpu_s > 0.0
    assert report.probes == 0
