"""A learned player: the networks, what they read of a position, their weights on disk, and the search."""
