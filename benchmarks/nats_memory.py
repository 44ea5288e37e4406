"""Memory of broker and servers with the learners stopped: the window fills, and everything waits.

The learners are there, and take no batch; two actors send until no unit is leased any more. Memory is resident
memory above that before the first lease.
"""

import time
from collections.abc import Iterator
from functools import partial

import psutil

from benchmarks.figure import Figure
from benchmarks.nats_figures import Measured, beside, in_turns
from benchmarks.nats_peers import Load, load_of, peers
from benchmarks.nats_sites import ALL, site
from benchmarks.nats_through import ACTORS, cpu_s
from benchmarks.scale import Scale
from benchmarks.services import service, wait_for
from common.links import Transport
from common.messages import Status
from common.security import reach_as_operator

WINDOW_UNITS = 4096
"""As much as a fleet of a thousand actors has leased."""
QUIET_S = 3.0
LOOKED_AT_S = 5.0


def measure(scale: Scale) -> Iterator[Figure]:
    """Measure a full window."""
    load, units = load_of(scale), scale.of(WINDOW_UNITS, 128)
    found = in_turns(1, ALL, partial(full, load, units, scale))
    what = f"with learners stopped and {2 * units:,} batches waiting"
    total_mb = 2 * units * load.mean_bytes / 1e6
    yield from beside(found, "before", "memory of broker and servers, nothing to do", "MB")
    yield from beside(found, "broker", f"the broker's growth {what}", "MB", note=f"{total_mb:.0f} MB of batches")
    yield from beside(found, "all", f"broker's and servers' growth {what}", "MB")
    yield from beside(found, "cpu", f"CPU of broker and servers {what}", "% of a core")


def full(load: Load, units: int, scale: Scale, name: str) -> Measured:
    """Return what one site comes to."""
    with site(name, scale) as here:
        settings = here.settings(max_units_ahead=units)
        operator = reach_as_operator(settings)
        with service("broker", settings) as process:
            wait_for(operator, lambda status: bool(status.agents))
            broker = psutil.Process(process.pid)
            everybody = [broker, *here.servers]
            before = [each.memory_info().rss for each in everybody]
            with peers(settings, load, ACTORS, storing=False):
                wait_until_quiet(operator)
                used_s, begun_s = cpu_s(everybody), time.monotonic()
                time.sleep(LOOKED_AT_S)
                cpu = (cpu_s(everybody) - used_s) / (time.monotonic() - begun_s)
                after = [each.memory_info().rss for each in everybody]
    return {
        "before": sum(before) / 1e6,
        "broker": (after[0] - before[0]) / 1e6,
        "all": (sum(after) - sum(before)) / 1e6,
        "cpu": 100 * cpu,
    }


def wait_until_quiet(operator: Transport) -> None:
    """Return once no batch has come for a while."""
    seen, since_s = 0, time.monotonic()

    def quiet(status: Status) -> bool:
        nonlocal seen, since_s
        in_flight = sum(agent.in_flight for agent in status.agents)
        if in_flight != seen or not in_flight:
            seen, since_s = in_flight, time.monotonic()
        return time.monotonic() - since_s > QUIET_S

    wait_for(operator, quiet, timeout_s=120.0)
