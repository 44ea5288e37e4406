"""What players do: games against each other, against engines and against people, and what comes of it."""
