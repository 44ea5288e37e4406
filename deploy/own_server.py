"""The NATS server that `rookery up --transport nats` starts for its run, and that ends with it.

The supervisor starts this module, `python -m deploy.own_server DIRECTORY HOST PORT`, which becomes the server.
"""

import os
import sys
from pathlib import Path

from common.errors import OperatorError, SettingsError
from common.nats.server import NatsServer, find_server
from common.nats.server_config import NatsServerSettings
from common.security import OWN_SERVER, is_loopback
from common.settings import Settings
from deploy.checks import port_is_free
from deploy.run_directory import RunDirectory
from deploy.supervisor import Supervised

NAME = "nats"


def check_server(settings: Settings) -> None:
    """Raise OperatorError where it can't be started."""
    find_server()
    if settings.keys is not None or not is_loopback(settings.bind) or settings.replicas > 1:
        raise SettingsError(
            f"--transport {OWN_SERVER} starts one server for this machine alone: leave out --keys, --bind and "
            "--replicas, or start servers for several hosts (docs/operations.md, Fleets on NATS) and name them"
        )
    if not port_is_free(settings.bind, settings.base_port):
        raise OperatorError(
            f"port {settings.base_port} on {settings.bind} is taken; is another run going on? "
            "Choose another --base-port"
        )


def supervised(settings: Settings, directory: RunDirectory) -> Supervised:
    """Return the server as a service of the run: it keeps its streams in the run directory."""
    return Supervised(
        name=NAME,
        module="deploy.own_server",
        arguments=(str(directory.path / NAME), settings.bind, str(settings.base_port)),
        stderr=directory.path / "logs" / f"{NAME}.stderr",
    )


def main() -> None:
    """Become the server."""
    directory, host, port = sys.argv[1:]
    try:
        command = NatsServer(NatsServerSettings(directory=Path(directory), host=host, port=int(port))).command()
    except OperatorError as error:
        sys.stderr.write(f"nats-server: {error}\n")
        sys.exit(error.exit_code)
    os.execv(command[0], command)


if __name__ == "__main__":
    main()
