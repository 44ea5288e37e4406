"""How far a run is, and when it will end: from successive statuses."""

from collections import deque

from common.messages import Status

WINDOW_S = 60.0
"""The pace is that of the last minute: units come in bursts."""


def fraction_trained(status: Status) -> float:
    """Return the share of all units that every agent is trained on; the total is estimated until it is known."""
    slowest = min(status.agents, key=lambda agent: agent.units_trained)
    if status.units_total is not None:
        return slowest.units_trained / status.units_total if status.units_total else 1.0
    if not slowest.units_stored or not status.games_cut:
        return 0.0
    games_trained = slowest.totals.games_read * slowest.units_trained / slowest.units_stored
    return status.fraction_read * games_trained / status.games_cut


class Forecast:
    """Holds how far the run was at the moments of the last minute, of which it tells when the run will end."""

    def __init__(self, window_s: float = WINDOW_S) -> None:
        self._window_s = window_s
        self._moments: deque[tuple[float, float]] = deque()

    def take(self, now_s: float, done: float) -> float | None:
        """Note the share that is done at a moment; return the seconds left, None where that can't be told.

        A broker that was started anew knows less than before: the forecast begins anew with it.
        """
        if self._moments and done < self._moments[-1][1]:
            self._moments.clear()
        self._moments.append((now_s, done))
        while len(self._moments) > 2 and now_s - self._moments[1][0] > self._window_s:
            self._moments.popleft()
        then_s, then = self._moments[0]
        return (1.0 - done) * (now_s - then_s) / (done - then) if done > then else None
