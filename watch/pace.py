"""The pace of a run, from successive statuses: what was counted, how fast it goes, how far it is, when it ends."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from common.messages import Status
from watch.counters import Counters, Key, present_states
from watch.forecast import Forecast, fraction_trained
from watch.rates import RateMeter, Rates


@dataclass(frozen=True, kw_only=True, slots=True)
class Pace:
    """The pace at a moment."""

    totals: Mapping[Key, float] = field(default_factory=dict)
    """Counts over the run, of what is in the status."""
    rates: Rates = field(default_factory=Rates)
    done: float = 0.0
    """Share of all units that every agent is trained on."""
    left_s: float | None = None
    """Seconds until the end at the pace of the last while; None where that can't be told."""

    def in_silence(self) -> "Pace":
        """Return what of it still holds while no status comes."""
        return replace(self, rates=Rates(), left_s=None)


class PaceMeter:
    """Holds what has been counted, and the moments of the last while. Owned by one thread."""

    def __init__(self) -> None:
        self._counters, self._rates, self._forecast = Counters(), RateMeter(), Forecast()

    def take(self, now_s: float, status: Status) -> Pace:
        """Note a status that came at `now_s`, and return the pace up to it."""
        totals, done = self._counters.take(status), fraction_trained(status)
        return Pace(
            totals=totals,
            rates=self._rates.take(now_s, {**totals, **present_states(status)}),
            done=done,
            left_s=self._forecast.take(now_s, done),
        )
