"""A cluster whose cable is cut: one server on one side, two on the other, and the services on either or both.

Two hosts joined by a cable (tests/torture/cable.py). The side with two servers goes on alone, the other can't; once
the cable is whole again nothing is missing, nothing is there twice, and all three have everything.
"""

import re
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from unittest import SkipTest

import msgspec

from common.errors import OperatorError
from common.messages import Status
from common.nats.names import NatsNames
from common.nats.server import NatsServer, find_server
from deploy.nats_cluster import address_of, seats, wait_for_leader
from tests.deploy.hosts import NoHosts, hosts, within
from tests.deploy.runs import SAMPLE
from tests.torture.cable import Cable, Conditions, can_be_played
from tests.torture.nats_progress import StoredUnits
from tests.torture.nats_servers import Servers
from tests.torture.networks import FAR, LEARNERS, NEAR, RUN
from tests.torture.outcome import Outcome, Setting
from tests.torture.two_hosts import ACTORS, PATIENCE_S, Fleet
from tests.torture.undisturbed import Undisturbed, audit, settings_for, undisturbed

ALONE, TOGETHER = NEAR, FAR
"""The side with one server, and that with two."""
SERVICES = ("broker", "logs", *LEARNERS, *ACTORS)
LAST_AT = 0.3
"""Share of the units stored by which the last cut is due."""
SETTLED_S = 3.0
"""How long what was under way when the cable was cut may still be stored."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One run."""

    name: str
    alone: Sequence[str]
    """Services on the side of the one server; all others are with the two."""
    goes_on: bool = False
    """Whether units are stored while the cable is cut: once all have noticed that a server no longer answers."""
    cuts_s: Sequence[float] = (20.0, 20.0)
    """How long each cut lasts."""


ROWS = (
    Row(name="one server cut off, alone", alone=(), goes_on=True, cuts_s=(60.0,)),
    Row(name="one server cut off, with the broker", alone=("broker", "logs")),
    Row(name="one server cut off, with the actors", alone=ACTORS),
    Row(name="one server cut off, with everybody", alone=SERVICES),
)


def run(setting: Setting) -> list[Outcome]:
    """Run every row; raises SkipTest where this machine can't play hosts and cables."""
    try:
        find_server()
    except OperatorError as error:
        raise SkipTest(str(error)) from error
    if not can_be_played():
        raise SkipTest("no /dev/net/tun to make a cable of")
    limit = 96 if setting.short else 1200
    settings = settings_for(
        [SAMPLE] * 4, setting.folder / "run",
        **RUN | {"limit_games": limit, "actors": len(ACTORS), "insecure": True, "replicas": 3},
    )  # fmt: skip
    wanted = undisturbed(settings, (SAMPLE,) * 4, limit)
    rows = [replace(ROWS[1], cuts_s=(8.0,))] if setting.short else ROWS
    return [_play(setting, row, wanted) for row in rows]


def _play(setting: Setting, row: Row, undisturbed_: Undisturbed) -> Outcome:
    folder = setting.folder / re.sub(r"\W+", "-", row.name)
    folder.mkdir()
    setting.say(row.name)
    one, *two = servers = [
        NatsServer(settings) for settings in seats(folder / "nats", setting.base_port, (ALONE, TOGETHER, TOGETHER))
    ]
    settings = msgspec.structs.replace(
        undisturbed_.settings, run=str(folder / "run"),
        transport=address_of([server.settings for server in servers]),
        evaluations=str(setting.folder / "undisturbed" / "evaluations.db"),
    )  # fmt: skip
    with ExitStack() as stack:
        try:
            near, far = stack.enter_context(hosts(ALONE, TOGETHER))
        except NoHosts as reason:
            raise SkipTest(str(reason)) from reason
        cable = stack.enter_context(Cable(near, far, seed=setting.seed))
        for host, there in ((near, [one]), (far, two)):
            with within(host.namespace):
                for server in there:
                    stack.enter_context(server)
        with within(far.namespace):
            wait_for_leader(address_of([server.settings for server in two]))
            asked = stack.enter_context(Servers(two, NatsNames()))
        fleet = stack.enter_context(Fleet(near, far, cable, settings))
        stored = stack.enter_context(StoredUnits(settings))
        return Cuts(setting, row, replace(undisturbed_, settings=settings), fleet, stored, asked).run()


class Cuts:
    """One run whose cable is cut again and again."""

    def __init__(
        self, setting: Setting, row: Row, wanted: Undisturbed, fleet: Fleet, stored: StoredUnits, asked: Servers,
    ) -> None:  # fmt: skip
        self._setting, self._row, self._wanted, self._fleet = setting, row, wanted, fleet
        self._stored, self._asked = stored, asked
        self._total = wanted.units * len(LEARNERS)
        self._under_way = len(LEARNERS) * wanted.settings.max_units_ahead
        """Units that can be anywhere between the broker and the stores."""
        self._failures: list[str] = []
        self._recovery_s: list[float] = []
        """From the moment when the cable was whole again; from the cut, where the run goes on without it."""
        self._whole_s: list[float] = []
        self._meanwhile: list[int] = []

    def run(self) -> Outcome:
        """Run to the end, and judge."""
        fleet, row, stored = self._fleet, self._row, self._stored
        fleet.start(fleet.near, *row.alone)
        fleet.start(fleet.far, *(name for name in SERVICES if name not in row.alone))
        watch = fleet.watch(fleet.near if "broker" in row.alone else fleet.far)
        try:
            for number, cut_s in enumerate(self._row.cuts_s, start=1):
                self._reach(LAST_AT * number / len(self._row.cuts_s) * self._total)
                self._cut(cut_s)
            watch.wait_for(finished, "the end of the training")
        except TimeoutError as error:
            self._failures.append(str(error)[:2000])
        self._failures += [f"{name} has ended by itself" for name in fleet.ended()]
        if not all(agent.closed for status in watch.statuses for agent in status.agents):
            self._failures.append("the accounting was open at some time")
        self._failures += fleet.stop()
        found = audit(fleet.settings.directory, self._wanted)
        return Outcome(
            part=f"nats: {row.name}", tries=1, unit="runs", faults=len(self._row.cuts_s), expected=found.expected,
            stored=found.stored, lost=found.lost, doubled=found.doubled,
            weights_identical=found.weights_identical, memory_max_bytes=fleet.memory_max_bytes,
            recovery_s=self._recovery_s, failures=[*self._failures, *found.failures],
            figures={
                "cut for, s": max(self._row.cuts_s),
                "units stored meanwhile": ", ".join(map(str, self._meanwhile)),
                "longest time without a unit, s": round(stored.longest_pause_s, 1),
                "until all replicas are current, s, worst": round(max(self._whole_s, default=0.0), 1),
            },
        )  # fmt: skip

    def _cut(self, cut_s: float) -> None:
        """Cut the cable for a while; then wait until the run has got on, and all servers have everything again."""
        stored, begun_s = self._stored, time.monotonic()
        since_s, at = begun_s, stored.count
        self._setting.say(f"cut at {at} of {self._total} units")
        self._fleet.cable.set(Conditions(cut=True))
        time.sleep(SETTLED_S)
        settled = stored.count
        time.sleep(cut_s - SETTLED_S)
        gained = stored.count - settled
        self._meanwhile.append(gained)
        if self._row.goes_on and not gained:
            self._failures.append("no unit was stored while one server was cut off")
        if not self._row.goes_on:
            since_s, at = time.monotonic(), stored.count
            if gained > self._under_way:
                self._failures.append(f"{gained} units were stored while nobody could have sent them")
        self._fleet.cable.set(Conditions())
        healed_s = time.monotonic()
        if at + self._under_way >= self._total:
            self._failures.append("the run was as good as over")
        self._recovery_s.append(self._reach(min(at + self._under_way + 1, self._total)) - since_s)
        self._setting.say(f"on again after {self._recovery_s[-1]:.1f} s, with {gained} units stored meanwhile")
        while not self._asked.whole:
            if time.monotonic() - healed_s > PATIENCE_S:
                raise TimeoutError("not all servers have everything again")
            time.sleep(0.2)
        self._whole_s.append(time.monotonic() - healed_s)

    def _reach(self, count: float) -> float:
        """Wait until so many units are stored; return when that was."""
        end_s = time.monotonic() + PATIENCE_S
        while (reached_s := self._stored.reached_s(count)) is None:
            if self._fleet.ended():
                raise TimeoutError("a service has ended by itself")
            if time.monotonic() > end_s:
                raise TimeoutError(
                    f"{self._stored.count} units stored, and no {count:.0f} within {PATIENCE_S:.0f} s"
                )
            time.sleep(0.05)
        return reached_s


def finished(status: Status) -> bool:
    """Whether every learner has trained on every unit and written all."""
    learners = [service.learner for service in status.services if service.learner is not None]
    return status.finished and len(learners) == len(LEARNERS) and all(learner.finished for learner in learners)
