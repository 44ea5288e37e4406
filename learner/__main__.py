"""`rookery-learner --agent NAME`: stores one agent's experience, trains it, publishes its weights."""

from typing import Any

import click

from common.keys import KeyHolder
from common.messages import Role
from common.options import run, settings_from, settings_options
from common.process import service
from common.verbosity import Verbosity, verbosity_options


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@settings_options
@click.option("--agent", "agent_name", required=True, metavar="NAME", help="The agent to train.")
@verbosity_options
@click.option("--supervised", is_flag=True, hidden=True)
def learner(agent_name: str, supervised: bool, verbosity: Verbosity, **flags: Any) -> None:
    """Train one agent from its units, in unit order, each exactly once.

    Example:  rookery-learner --settings rookery.toml --agent white
    """
    settings = settings_from(flags)
    agent = settings.agent(agent_name)
    from learner.service import LearnerService  # with torch, which takes seconds: not to learn of a typo

    with service(
        settings,
        KeyHolder(Role.LEARNER, agent_name),
        supervised=supervised,
        reread=lambda: settings_from(flags),
        verbosity=verbosity,
    ) as process:
        LearnerService(settings, agent, process).run()


def main() -> None:
    """Run the command."""
    run(learner, "rookery-learner")


if __name__ == "__main__":
    main()
