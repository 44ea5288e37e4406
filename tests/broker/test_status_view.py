"""What a status shows of services that are in trouble."""

import pytest
from rich.console import Console

from broker.status_view import STUCK_S, render
from common.messages import ActorReport, Role, ServiceStatus, Status


def shown(*services: ServiceStatus) -> str:
    status = Status(
        broker="b", software="0.1.0", uptime_s=60.0, units_total=8, games_total=16, games_cut=16, fraction_read=1.0,
        services=list(services), agents=[], bottleneck="none", dropped={}, broker_share=0.0, memory_bytes=0,
        finished=False,
    )  # fmt: skip
    console = Console(width=150)
    with console.capture() as captured:
        console.print(render(status))
    return captured.get()


def actor(state: str, progress_s: float, units: list[int]) -> ServiceStatus:
    return ServiceStatus(
        name="far-0", role=Role.ACTOR, host="h", pid=1, state=state, seen_s=0.3, progress_s=progress_s, units=units,
        actor=ActorReport(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "progress_s", "units", "stuck"),
    [
        ("working", STUCK_S + 1, [3], True),
        ("working", STUCK_S - 1, [3], False),
        ("waiting", STUCK_S + 1, [], False),
        ("away", STUCK_S + 1, [3], False),
    ],
)
def test_an_actor_is_stuck_that_has_units_in_hand_and_makes_no_progress(state, progress_s, units, stuck):
    text = shown(actor(state, progress_s, units))
    assert state in text
    assert ("stuck" in text) is stuck
