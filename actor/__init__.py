"""Actor service: leases units of games, replays them with a local Stockfish and sends transitions."""
