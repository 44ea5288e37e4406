"""Running the services of a run on this machine, from their start to their orderly end."""

import logging
import time
from collections.abc import Callable, Sequence

from common.errors import BrokerUnreachable
from common.links import OperatorLink
from common.messages import Status
from common.security import OWN_SERVER, reach_as_operator
from common.settings import Settings
from deploy import dashboard
from deploy.progress import Progress
from deploy.run_directory import RunDirectory
from deploy.starts import Reported
from deploy.supervisor import Supervised, Supervisor

log = logging.getLogger(__name__)

STATUS_INTERVAL_S = 0.25
"""Between two questions to the broker; also how long a Ctrl-C may have to wait."""
LAST_WORD_S = 5.0
"""Longest wait for the broker to hear that the learners have gone: one that was killed says nothing."""
LAST_WORD_PAUSE_S = 0.02
DRAIN_S = 600.0
"""Longest wait for services to finish what they have; a second Ctrl-C ends it."""


class LocalFleet:
    """Broker, collector, one learner per agent and N actors as processes of their own.

    Shutdown order: actors, so that nothing new is made; learners, which save; the collector, which takes the
    last records; the dashboard, where there is one; the broker, and the NATS server of a run on one, which
    carried them.
    """

    def __init__(
        self,
        settings: Settings,
        directory: RunDirectory,
        progress: Progress,
        supervisor: Supervisor | None = None,
        *,
        arguments: Sequence[str] = (),
        dashboard_port: int | None = None,
    ) -> None:
        """`arguments` are given to every service; `dashboard_port` is where the page is served, None for none."""
        self._dashboard_port = dashboard_port
        self._dashboard_told = False
        self._settings, self._directory, self._progress = settings, directory, progress
        self._arguments = arguments
        self.supervisor = supervisor or Supervisor()
        self.last: Status | None = None
        """The broker's last word."""
        self._reported = Reported()
        self._asked_s = 0.0

    def run(self, stopping: Callable[[], bool], aborting: Callable[[], bool]) -> bool:
        """Run until every unit is trained; False if told to stop before. Leaves no process behind."""
        link = reach_as_operator(self._settings).operator()
        try:
            self._start()
            finished = self._watch(link, stopping)
            self._drain(link, aborting)
        finally:
            self.supervisor.kill()
            link.close()
        return finished

    @property
    def engine_nodes(self) -> int:
        """Nodes that engines have searched, as far as the broker was told."""
        return self._reported.engine_nodes(ours={service.name for service in self.supervisor.services})

    @property
    def cpu_s(self) -> dict[str, float]:
        """Processor seconds by role: of our services that have ended, and of those elsewhere as they last said."""
        ours = self.supervisor.services
        took = self._reported.cpu_s(ours={service.name for service in ours})
        for service in ours:
            role = service.name.partition("-")[0]
            took[role] = took.get(role, 0.0) + service.cpu_s
        return took

    def _start(self) -> None:
        if self._settings.transport == OWN_SERVER:
            from deploy import own_server  # with the extra `nats`

            self.supervisor.add(own_server.supervised(self._settings, self._directory))
        self._add("broker", "broker")
        self._add("logs", "broker.logs")
        for agent in self._settings.agents:
            self._add(f"learner-{agent.name}", "learner", "--agent", agent.name)
        for number in range(self._settings.actors):
            self._add(f"actor-{number}", "actor", "--name", f"actor-{number}")
        if self._dashboard_port is not None:
            directory = self._directory
            self.supervisor.add(dashboard.supervised(directory.path, directory.settings_file, self._dashboard_port))

    def _add(self, name: str, module: str, *arguments: str) -> None:
        self.supervisor.add(
            Supervised(
                name=name,
                module=module,
                arguments=(
                    "--settings",
                    str(self._directory.settings_file),
                    *arguments,
                    *self._arguments,
                    "--supervised",
                ),
                stderr=self._directory.path / "logs" / f"{name}.stderr",
                may_end=module == "actor",
            )
        )

    def _watch(self, link: OperatorLink, stopping: Callable[[], bool]) -> bool:
        actors = [service for service in self.supervisor.services if service.may_end]
        while not stopping():
            for service in self.supervisor.check():
                self._progress.note(f"{service.name} was started again after {service.last_death}")
            self._tell_of_dashboard()
            if all(actor.done for actor in actors):
                self._progress.note("every actor was drained, so nothing more comes: stopping")
                return False
            if self._show(link) and self._finished:
                return True
        self._progress.note("stopping: finishing what is begun and saving; once more to abort")
        return False

    def _tell_of_dashboard(self) -> None:
        """Say once that the dashboard has ended for good."""
        ended = [service for service in self.supervisor.services if service.optional and service.done]
        if ended and not self._dashboard_told:
            self._dashboard_told = True
            self._progress.note(f"the run goes on without its {ended[0].name}, which ended: see {ended[0].stderr}")

    @property
    def _finished(self) -> bool:
        """Whether every learner has said that it is trained on every unit, and has written all."""
        status = self.last
        if status is None or not status.finished:
            return False
        learners = [service.learner for service in status.services if service.learner is not None]
        finished = {learner.agent for learner in learners if learner.finished}
        return finished >= {agent.name for agent in self._settings.agents}

    def _show(self, link: OperatorLink) -> bool:
        """Ask the broker, in a steady beat, and show what it says; return whether it said anything."""
        time.sleep(max(0.0, self._asked_s + STATUS_INTERVAL_S - time.monotonic()))
        self._asked_s = time.monotonic()
        answered = self._ask(link)
        if answered and self.last is not None:
            self._progress.show(self.last, self.supervisor.restarts)
        return answered

    def _ask(self, link: OperatorLink) -> bool:
        try:
            self.last = link.status(STATUS_INTERVAL_S)
        except BrokerUnreachable:
            return False
        self._reported.note(self.last)
        return True

    def _ask_for_last_word(self, link: OperatorLink, aborting: Callable[[], bool]) -> None:
        """Ask until the broker has taken in the learners' last acknowledgements, which their goodbyes follow."""
        end_s = time.monotonic() + LAST_WORD_S
        while time.monotonic() < end_s and not aborting():
            if self._ask(link) and self.last is not None:
                if all(agent.learner != "connected" for agent in self.last.agents):
                    return
                time.sleep(LAST_WORD_PAUSE_S)

    def _drain(self, link: OperatorLink, aborting: Callable[[], bool]) -> None:
        def show_and_give_up() -> bool:
            return aborting() or (self._show(link) and aborting())

        stop = self.supervisor.stop
        stop(lambda name: name.startswith("actor-"), DRAIN_S, show_and_give_up)
        stop(lambda name: name.startswith("learner-"), DRAIN_S, aborting)
        self._ask_for_last_word(link, aborting)
        stop(lambda name: name == "logs", DRAIN_S, aborting)
        stop(lambda name: name == dashboard.NAME, DRAIN_S, aborting)
        stop(lambda name: name == "broker", DRAIN_S, aborting)
        stop(lambda name: name == "nats", DRAIN_S, aborting)
