"""`rookery-broker`: cuts the games into units, leases them, routes batches, weights and logs."""

from typing import Any

import click

from broker.service import serve
from common.keys import BROKER
from common.options import run, settings_from, settings_options
from common.process import service
from common.settings import Settings
from common.verbosity import Verbosity, verbosity_options


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("games", nargs=-1, type=click.Path())
@settings_options
@verbosity_options
@click.option("--discard", is_flag=True, help="On NATS: first throw away what another run has left there.")
@click.option("--supervised", is_flag=True, hidden=True)
def broker(games: tuple[str, ...], discard: bool, supervised: bool, verbosity: Verbosity, **flags: Any) -> None:
    """Hand out GAMES... to actors and route what they make of them; keeps no state on disk.

    Example:  rookery-broker --settings rookery.toml --bind 0.0.0.0
    """

    def read() -> Settings:
        return settings_from(flags, games=games or None)

    settings = read()
    with service(settings, BROKER, supervised=supervised, reread=read, verbosity=verbosity) as process:
        serve(settings, process, discard=discard)


def main() -> None:
    """Run the command."""
    run(broker, "rookery-broker")


if __name__ == "__main__":
    main()
