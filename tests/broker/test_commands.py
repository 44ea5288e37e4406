import json

import pytest
from click.testing import CliRunner
from rich.console import Console

from broker import commands
from broker.status_view import render
from common.errors import BrokerUnreachable, OperatorError
from common.links import LeasedUnit
from common.messages import Order, Status, Welcome
from tests.broker.live import LiveBroker, way_to
from tests.links.peers import Actor, Learner
from tests.until import until


@pytest.fixture
def rookery(base_port, monkeypatch):
    monkeypatch.setenv("ROOKERY_BASE_PORT", str(base_port))

    def invoke(command, *arguments: str):
        return CliRunner().invoke(command, arguments)

    return invoke


@pytest.fixture
def run(base_port):
    """A broker with both learners and an actor at work."""
    with LiveBroker(base_port) as broker:
        learners = [Learner(way_to(base_port), agent).join() for agent in ("white", "black")]
        actor = Actor(way_to(base_port))
        actor.wait(LeasedUnit)
        actor.renew([0], 5)
        learners[0].report()
        until(
            lambda: (
                broker.router.desk.registry.by_name["actor-0"].units
                and broker.router.desk.registry.by_name["learner-white"].learner
            )
        )
        yield actor
        for peer in (*learners, actor):
            peer.link.close()


def test_status_shows_units_accounting_services_and_the_bottleneck(run, rookery):
    shown = rookery(commands.status)
    assert shown.exit_code == 0
    for word in ("bottleneck", "Units", "Accounting", "Services", "actor-0", "learner-white", "yes"):
        assert word in shown.output


def test_status_as_json_is_all_that_the_broker_knows(run, rookery):
    status = json.loads(rookery(commands.status, "--json").output)
    assert set(status) == {"kind", *Status.__struct_fields__}
    assert [service["name"] for service in status["services"]] == ["actor-0", "learner-black", "learner-white"]
    assert [agent["leased"] for agent in status["agents"]] == [1, 1]


def test_orders_are_confirmed_with_the_names_they_reached(run, rookery):
    assert rookery(commands.pause, "actor-0").output == "pause: actor-0\n"
    assert rookery(commands.resume).output == "resume: actor-0\n"
    assert len(run.wait(Order, 2)) == 2


def test_an_order_to_an_unknown_actor_is_told_and_the_others_are_reached(run, rookery):
    found = rookery(commands.drain, "actor-0", "actor-9")
    assert found.output == "drain: actor-0\n"
    assert isinstance(found.exception, OperatorError)
    assert str(found.exception) == "no actor is called actor-9; see `rookery status`"


def test_an_order_without_actors_says_so(base_port, rookery):
    with LiveBroker(base_port):
        assert rookery(commands.reset).output == "reset: no actors are connected\n"


def test_without_a_broker_there_is_one_clear_line(rookery):
    for command in (commands.status, commands.pause):
        error = rookery(command, "--timeout", "0.05").exception
        assert isinstance(error, BrokerUnreachable)
        assert "within 0.05 s: is it running, and are --broker and --base-port right?" in str(error)


def test_what_peers_say_of_themselves_is_shown_as_it_is(base_port):
    with LiveBroker(base_port) as broker:
        actor = Actor(way_to(base_port))
        actor.wait(Welcome)
        service = broker.router.desk.registry.by_name["actor-0"]
        service.hello = service.hello.__class__(
            **{**{name: getattr(service.hello, name) for name in service.hello.__struct_fields__}, "host": "[/red]"}
        )
        broker.router.desk.dropped["[bold]odd"] = 3
        console = Console(width=200)
        with console.capture() as captured:
            console.print(render(broker.router.desk.status()))
        actor.link.close()
    assert "[/red]" in captured.get()
    assert "[bold]odd 3" in captured.get()


def test_the_run_that_is_named_is_the_one_that_is_asked(run, base_port, rookery, monkeypatch, tmp_path):
    monkeypatch.delenv("ROOKERY_BASE_PORT")
    (tmp_path / "settings.toml").write_text(f'base_port = {base_port}\nrun = "elsewhere"\n')
    assert "actor-0" in rookery(commands.status, "--run", str(tmp_path)).output
    assert "actor-0" in rookery(commands.pause, "--run", str(tmp_path)).output
