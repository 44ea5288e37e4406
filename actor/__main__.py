"""`rookery-actor`: leases units, replays their games with a local Stockfish, sends transitions."""

from typing import Any

import click

from actor.service import ActorService, default_name
from actor.work import DeskStats, open_desk
from common.keys import KeyHolder
from common.messages import Role
from common.options import run, settings_from, settings_options
from common.process import service
from common.settings import identity
from common.verbosity import Verbosity, verbosity_options


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@settings_options
@click.option("--name", metavar="NAME", help="Name of this actor. [default: host and process]")
@verbosity_options
@click.option("--supervised", is_flag=True, hidden=True)
def actor(name: str | None, supervised: bool, verbosity: Verbosity, **flags: Any) -> None:
    """Replay games with a local Stockfish and send what comes of it; start one for each core.

    Example:  rookery-actor --settings rookery.toml --broker train1.example
    """
    settings = settings_from(flags)
    name = name or default_name()
    with (
        service(
            settings,
            KeyHolder(Role.ACTOR, name),
            supervised=supervised,
            reread=lambda: settings_from(flags),
            verbosity=verbosity,
        ) as process,
        open_desk(settings) as desk,
    ):
        link = process.transport.actor(name, process.session, identity(settings))
        try:
            process.ready()
            ActorService(
                settings, name, link, desk, process.stopping, lambda: process.turn(lambda: _summary(desk.stats()))
            ).run()
        finally:
            link.close()


def _summary(stats: DeskStats) -> str:
    return (
        f"{stats.units} units, {stats.games} games ({stats.rejected} rejected), {stats.positions} positions, "
        f"{stats.probes} probes ({stats.probes_failed} failed, {stats.units_unprobed} units without weights); "
        f"{stats.engine_restarts} engine restarts"
    )


def main() -> None:
    """Run the command."""
    run(actor, "rookery-actor")


if __name__ == "__main__":
    main()
