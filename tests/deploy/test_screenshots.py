"""The run of the documentation's pictures is looked at when there is something to see, on ports that are free."""

import socket

from deploy.screenshots import INTERVALS, KINDS, free_base_port, worth_looking_at
from watch.dashboard_command import PORT_OFFSET


def state(version: int, intervals: int, games_per_s: float = 2.0) -> dict[str, object]:
    return {
        "rates": {"games_per_s": games_per_s},
        "status": {"agents": [{"name": "white", "version": version}]},
        "series": {"white": [{}] * intervals} if intervals else {},
    }


def test_pictures_wait_for_weights_and_curves() -> None:
    for nothing in (
        None,
        {"status": None},
        {"status": {"agents": []}},
        state(0, INTERVALS),
        state(1, 0),
        state(1, 9, 0.0),
    ):
        assert not worth_looking_at(nothing)
    assert worth_looking_at(state(1, INTERVALS))


def test_the_ports_are_free_ones() -> None:
    first = free_base_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", first + PORT_OFFSET))
        assert free_base_port() > first


def test_the_picture_of_the_readme_is_taken() -> None:
    taken = {f"{view}-{kind.name}" for kind in KINDS for view in kind.views}
    assert {"overview-light", "board-dark", "curves-light", "board-phone"} <= taken
