"""A UCI engine as a process: a small network of random weights behind `rookery uci`'s own loop.

python -m tests.arena.uci_process [OPTION=VALUE ...]
"""

import sys

import torch

from agent.networks import Mlp
from agent.player import Player
from arena.uci_options import Options
from arena.uci_stream import serve


def small_player() -> Player:
    """Return a player whose network is small, random and always the same."""
    torch.manual_seed(4)
    network = Mlp(16, 16)
    for parameter in network.parameters():
        torch.nn.init.normal_(parameter, 0.0, 0.1)
    return Player.of(white=network, black=network, name="small")


if __name__ == "__main__":
    options = Options()
    for entry in sys.argv[1:]:
        options = options.with_value(*entry.split("=", 1))
    serve(small_player, options, "small")
