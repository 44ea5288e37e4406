"""`rookery nats-cluster DIR`: three NATS servers on this machine, for trying out what a cluster does."""

import signal
import time
from pathlib import Path

import click

from common.nats.server import NatsServer, find_server, server_version
from deploy.nats_cluster import PORT, PORTS, NatsCluster

POLL_S = 0.5
"""How soon a server that was killed is started again."""


@click.command("nats-cluster", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path, file_okay=False))
@click.option(
    "--port", type=click.IntRange(1, 65536 - PORTS), default=PORT,
    help=f"First of {PORTS} consecutive ports. [default: {PORT}]",
)  # fmt: skip
def nats_cluster(directory: Path, port: int) -> None:
    """Run three NATS servers with JetStream on this machine as one cluster, until Ctrl-C.

    They listen on loopback only, let every program of this machine in, and keep what they store in DIR: the same
    command goes on with it. One of the three may be killed at any time, and nothing is lost: try it. It is started
    again at once.

    Example:  rookery nats-cluster runs/nats
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with NatsCluster(directory, port) as cluster:
            for server in cluster.servers:
                click.echo(_line(server))
            if not all(server.syncs_always for server in cluster.servers):
                click.echo(_LATE_SYNC.format(server_version(find_server())))
            click.echo(f"ready: --transport {cluster.address} --replicas {len(cluster.servers)}")
            while True:
                time.sleep(POLL_S)
                cluster.mend(lambda server: click.echo(f"started again: {_line(server)}"))
    except KeyboardInterrupt:
        click.echo("stopped; the same command goes on with what is stored")


_LATE_SYNC = (
    "nats-server {} syncs its disk every two minutes: acknowledged messages survive its death, but not a power cut "
    "of all servers; 2.10 and later can sync before they acknowledge"
)


def _line(server: NatsServer) -> str:
    settings = server.settings
    assert settings.seat is not None
    where = f"{settings.address}, route {settings.host}:{settings.seat.port}"
    return f"{settings.name}: {where}, pid {server.pid}, log {settings.log_file}"
