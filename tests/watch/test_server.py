"""The HTTP contract, with a real broker behind it and a real server before it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.log_lines import LogLine, encode_line
from common.messages import ActorReport, Order
from tests.broker.live import LiveBroker, way_to
from tests.links.peers import Actor
from tests.until import until
from tests.watch.log_files import NOON_NS, line, written
from tests.watch.served import Served, served
from watch import server
from watch.curves import EVENT
from watch.guard import Access


def interval(at: int, **figures: object) -> LogLine:
    return line(
        at, source="learner-white.5e55", event=EVENT, logger="learner.metrics",
        fields={"agent": "white", "first_unit": at, "last_unit": at, "step": at, **figures},
    )  # fmt: skip


def game(at: int, moves: str = "e2e4 e7e5", source: str = "actor-0.5e55") -> LogLine:
    fields = {
        "unit": 1, "game": at, "source": "a.pgn", "line": 3, "result": "1-0", "agents": "white black",
        "moves": moves, "scores": "20 30 40",
    }  # fmt: skip
    return line(at, source=source, level="DEBUG", event="game", logger="trace", fields=fields)


def span(at: int) -> LogLine:
    fields = {"name": "engine", "begin_ns": NOON_NS + at * 10**9, "seconds": 0.5, "unit": at}
    return line(at, level="DEBUG", event="span", logger="trace", fields=fields)


def append(path: Path, *lines: LogLine) -> None:
    with path.open("ab") as file:
        file.write(b"".join(encode_line(each) + b"\n" for each in lines))


@pytest.fixture
def run(tmp_path: Path) -> Path:
    levels = ("INFO", "WARNING", "ERROR")
    records = [line(at, level=levels[at % 3], fields={"unit": at}) for at in range(30)]
    written(tmp_path / "logs" / "rookery.jsonl", [*records, interval(40), interval(41, td_error=0.05)])
    written(tmp_path / "logs" / "trace.jsonl", [span(1), game(5), game(6, source="actor-1.5e55")])
    return tmp_path


@pytest.fixture
def page(run: Path, base_port: int) -> Iterator[Served]:
    with LiveBroker(base_port), served(run, base_port) as found:
        until(lambda: found.ask("/api/state").json["status"])
        until(lambda: found.ask("/api/game").code == 200)
        yield found


def first(events: Iterator[tuple[str, Any]], wanted: str) -> Any:
    return next(said for name, said in events if name == wanted)


def test_state_holds_all_that_is_needed_to_draw(page: Served, run: Path) -> None:
    state = page.ask("/api/state").json
    assert state["status"]["bottleneck"].startswith("waiting")
    assert state["status_age_s"] < 5.0
    assert state["broker"] == {"state": "answers", "reason": ""}
    assert state["rates"]["positions_per_s"] == 0.0
    assert [point["step"] for point in state["series"]["white"]] == [40, 41]
    assert state["run"]["directory"] == str(run)
    assert state["run"]["settings"]["nodes"] == 1000
    assert state["services"] == ["actor-0", "learner-white"]
    assert state["may_order"] is True
    assert len(state["order_token"]) > 30


def test_logs_are_filtered_and_paged(page: Served) -> None:
    found = page.ask("/api/logs?level=error&service=actor-0&limit=3").json
    assert [record["Attributes"]["unit"] for record in found["logs"]] == [29, 26, 23]
    older = page.ask(f"/api/logs?level=error&limit=2&before={found['logs'][-1]['id']}").json
    assert [record["Attributes"]["unit"] for record in older["logs"]] == [20, 17]
    assert [record["id"] for record in page.ask("/api/logs?text=unit%3D7").json["logs"]] == [8]
    assert page.ask("/api/logs?level=loud").code == 400
    assert page.ask("/api/logs?before=yesterday").code == 400


def test_spans_and_games_are_told(page: Served) -> None:
    spans = page.ask("/api/spans?seconds=1e12").json["spans"]
    assert [(found["service"], found["name"], found["unit"]) for found in spans] == [("actor-0", "engine", 1)]
    assert page.ask("/api/spans").json["spans"] == []
    assert page.ask("/api/spans?seconds=nan").json["spans"] == []
    assert page.ask("/api/game").json["actor"] == "actor-1"
    told = page.ask("/api/game?actor=actor-0").json
    assert [ply["san"] for ply in told["plies"]] == ["e4", "e5"]
    assert page.ask("/api/game?actor=nobody").code == 404


def test_a_page_is_told_what_is_new(page: Served, run: Path) -> None:
    with page.events() as events:
        assert first(events, "status")["status"]["kind"] == "status"
        append(run / "logs" / "rookery.jsonl", line(50, event="brand new"), interval(42))
        append(run / "logs" / "trace.jsonl", span(7), game(8))
        seen: dict[str, Any] = {}
        while seen.keys() < {"status", "logs", "intervals", "spans", "game"}:
            name, said = next(events)
            seen.setdefault(name, said)
    assert [record["EventName"] for record in seen["logs"]["logs"]] == ["brand new", EVENT]
    assert [point["step"] for point in seen["intervals"]["intervals"]] == [42]
    assert [found["unit"] for found in seen["spans"]["spans"]] == [7]
    assert len(seen["game"]["game"]["plies"]) == 2


def test_orders_reach_actors_only_with_the_token_and_from_our_own_page(page: Served, base_port: int) -> None:
    actor = Actor(way_to(base_port))
    until(lambda: page.ask("/api/state").json["status"]["services"], actor.poll)
    own = f"http://127.0.0.1:{page.port}"
    token = page.ask("/api/state").json["order_token"]
    order = {"action": "pause", "names": ["actor-0", "ghost"]}
    assert page.ask("/api/order", order).code == 403
    assert page.ask("/api/order", order, X_Rookery_Token=token[:-1]).code == 403
    assert page.ask("/api/order", order, X_Rookery_Token=token, Origin="http://elsewhere.example").code == 403
    assert page.ask("/api/order", order, X_Rookery_Token=token, Origin="null").code == 403
    assert page.ask("/api/order", order, X_Rookery_Token=token, Sec_Fetch_Site="cross-site").code == 403
    assert page.ask("/api/order", {"action": "explode"}, X_Rookery_Token=token).code == 400
    assert page.ask("/api/order", method="GET").code == 405
    actor.poll()
    assert actor.of(Order) == []
    told = page.ask("/api/order", order, X_Rookery_Token=token, Origin=own)
    assert told.json == {"names": ["actor-0"], "unknown": ["ghost"]}
    actor.wait(Order)
    actor.link.close()


def test_what_is_shipped_is_served_and_nothing_else(page: Served) -> None:
    assert page.ask("/").headers["Content-Type"].startswith("text/html")
    knight = page.ask("/pieces/wN.svg")
    assert (knight.code, knight.headers["Content-Type"]) == (200, "image/svg+xml")
    for path in (
        "/pieces/wX.svg",
        "/pieces/..svg",
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/api/none",
    ):
        assert page.ask(path).code == 404
    assert page.ask("/api/stream", method="HEAD").code == 200


def test_every_answer_keeps_browsers_from_running_and_framing_what_is_not_ours(page: Served) -> None:
    for path in ("/", "/api/state", "/api/none", "/metrics"):
        headers = page.ask(path).headers
        assert headers["Content-Security-Policy"].startswith("default-src 'self';")
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "Access-Control-Allow-Origin" not in headers
    assert page.ask("/api/state").headers["Cache-Control"] == "no-store"


def test_a_page_of_elsewhere_whose_name_leads_here_gets_nothing(page: Served) -> None:
    for name in ("evil.example", "evil.example:5760", "127.0.0.1.evil.example", ""):
        told = page.ask("/api/state", Host=name)
        assert told.code == 403, name
        assert "order_token" not in told.text
    for name in ("localhost", "localhost:1", "127.0.0.1", "127.8.9.1:80", "[::1]:80"):
        assert page.ask("/api/state", Host=name).code == 200, name


def test_a_broker_that_is_away_is_a_state_that_is_shown(run: Path, base_port: int) -> None:
    with served(run, base_port) as page:
        state = until(
            lambda: found if (found := page.ask("/api/state").json)["broker"]["state"] == "away" else None
        )
        assert state["status"] is None
        assert str(base_port) in state["broker"]["reason"]
        token = state["order_token"]
        until(lambda: page.ask("/api/logs").json["held"] == 32)
        with page.events() as events:
            assert first(events, "status")["broker"]["state"] == "away"
            with LiveBroker(base_port):
                until(lambda: first(events, "status")["broker"]["state"] == "answers")
        assert page.ask("/api/order", {"action": "resume"}, X_Rookery_Token=token).code == 502


def test_off_loopback_everybody_shows_the_password_once(run: Path, base_port: int) -> None:
    access = Access(bind="0.0.0.0", host_names=("north",), password="hunter2hunter2hunter2")
    with served(run, base_port, access) as page:
        assert page.ask("/api/state").code == 401
        assert page.ask("/metrics", Authorization="Bearer wrong").code == 401
        assert page.ask("/?token=wrong").code == 401
        assert page.ask("/metrics", Authorization="Bearer hunter2hunter2hunter2").code == 200
        let_in = page.ask("/?token=hunter2hunter2hunter2", Host=f"north:{page.port}")
        assert (let_in.code, let_in.headers["Location"]) == (303, "/")
        cookie = let_in.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=lax" in cookie.lower()
        assert cookie.startswith(f"rookery-{page.port}=")
        kept = cookie.partition(";")[0]
        assert page.ask("/api/state", Cookie=kept).code == 200
        assert page.ask("/api/state", Cookie=f"rookery-{page.port}=wrong").code == 401
        assert page.ask("//evil.example/?token=hunter2hunter2hunter2").headers["Location"].startswith("/evil")
        # from this host, but by a name that is not its own: somebody else's way in
        state = page.ask("/api/state", Cookie=kept, Host="north").json
        assert (state["may_order"], state["order_token"]) == (False, "")
        order = {"X_Rookery_Token": access.order_token, "Cookie": kept, "Host": "north"}
        assert page.ask("/api/order", {"action": "pause"}, **order).code == 403


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
def test_what_a_proxy_passes_on_gives_no_orders(page: Served, name: str) -> None:
    passed_on = {name.replace("-", "_"): "127.0.0.1"}
    state = page.ask("/api/state", **passed_on).json
    assert (state["may_order"], state["order_token"]) == (False, "")
    token = page.ask("/api/state").json["order_token"]
    assert page.ask("/api/order", {"action": "pause"}, X_Rookery_Token=token, **passed_on).code == 403


def test_a_game_that_can_not_be_played_through_is_none(page: Served, run: Path) -> None:
    append(run / "logs" / "trace.jsonl", game(9, moves="0000 0000", source="actor-2.5e55"))
    until(lambda: page.dashboard.observer.game("actor-2"))
    assert page.ask("/api/game?actor=actor-2").code == 404


def test_a_fault_in_telling_of_a_game_does_not_end_the_telling(
    page: Served, run: Path, monkeypatch, caplog
) -> None:
    monkeypatch.setattr(server, "GAME_INTERVAL_S", 0.05)
    real, faults = server.digest, iter([KeyError("0000")])

    def digest(*arguments: Any) -> Any:
        for fault in faults:
            raise fault
        return real(*arguments)

    with page.events() as events:
        first(events, "game")
        monkeypatch.setattr(server, "digest", digest)
        append(run / "logs" / "trace.jsonl", game(9))
        assert first(events, "game")["game"]["game"] == 9
    assert "the last game can't be told" in caplog.text


def test_no_more_pages_are_let_in_than_there_is_room_for(page: Served) -> None:
    page.dashboard.broadcast._max_clients = 1
    with page.events() as events:
        first(events, "status")
        told = page.ask("/api/stream")
        assert (told.code, told.text) == (503, "too many pages are open on this dashboard: close some\n")


def test_metrics_tell_of_the_broker(page: Served, base_port: int) -> None:
    actor = Actor(way_to(base_port))
    actor.poll()
    actor.link.renew([], ActorReport(positions=120))
    until(lambda: 'rookery_actor_positions_total{actor="actor-0"' in page.ask("/metrics").text, actor.poll)
    assert "rookery_broker_up 1.0" in page.ask("/metrics").text
    actor.link.close()


def test_a_hostile_body_is_refused_before_it_is_read_whole(page: Served) -> None:
    token = page.ask("/api/state").json["order_token"]
    assert page.ask("/api/order", ["x" * 2_000_000], X_Rookery_Token=token).code == 413
    assert page.ask("/api/order", {"action": "pause", "names": ["../x y"]}, X_Rookery_Token=token).code == 400
