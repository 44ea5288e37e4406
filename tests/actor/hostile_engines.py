"""Engines that lie, flood, choke or die: bodies for `fake_engine`, each with how the actor has to see it."""

LIES = {
    "dies at once": ("def go(): os._exit(1)", "ended"),
    "a best move without a score": ("def go(): say('bestmove a1a1')", "without a score"),
    "centipawns beyond belief": ("def go(): say('info score cp 99999999\\nbestmove a1a1')", "beyond belief"),
    "a score of 30 digits": ("def go(): say('info score cp ' + '9' * 30 + '\\nbestmove a1a1')", "beyond belief"),
    "a mate in a million": ("def go(): say('info score mate -1000000\\nbestmove a1a1')", "beyond belief"),
    "a score that is no number": ("def go(): say('info score cp NaN\\nbestmove a1a1')", "without a score"),
    "a score in another unit": ("def go(): say('info score pawns 3\\nbestmove a1a1')", "without a score"),
    "a score in a remark": ("def go(): say('info string score cp 5\\nbestmove a1a1')", "without a score"),
    "two answers to one question": ("def go(): answer(); answer()", "no question"),
    "no best move": ("def go(): say('info depth 1 score cp 5'); forever()", "hung"),
    "silence": ("def go(): forever()", "hung"),
    "info lines without end": (
        "def go():\n    while True: os.write(1, b'info depth 1 score cp 5\\n' * 1000)", "hung",
    ),
    "output without a line end": ("def go():\n    while True: os.write(1, b'x' * 65536)", "a line of more than"),
    "binary output": (
        "def go():\n    while True: os.write(1, bytes(range(256)) * 256)", "hung",
    ),
    "NULs without end": ("def go():\n    while True: os.write(1, bytes(65536))", "a line of more than"),
    "a best move in mid-line": ("def go(): os.write(1, b'info score cp 5 bestmove a1a1'); forever()", "hung"),
    "closed pipes": ("def go():\n    os.close(1)\n    os.close(0)\n    forever()", "ended"),
}  # fmt: skip
"""By what they do: the body, and what the failure of a game says."""

HARMLESS = {
    "best moves that are illegal": "def go(): say('info score cp 7\\nbestmove h9z9 ponder e2e2e2')",
    "best moves of a megabyte": "def go(): say('info score cp 7\\nbestmove ' + 'e2e4 ' * 100_000)",
    "lines of another protocol": (
        "def go(): say('\\x00\\xff# move e4\\ninfo score cp 7\\ninfo nonsense\\nbestmove 0000')"
    ),
}
"""What does not touch the scores, which are all that an engine is asked for; each position gets 7."""

NO_ENGINES = {
    "a name without end": ("def hello(): say('id name a' + ' ' * 900_000 + 'b\\nuciok')", None),
    "a name of control characters": ("def hello(): say('id name \\x1b[2J\\x00\\nuciok')", None),
    "a hello without end": ("def hello():\n    while True: os.write(1, b'option name ' * 5000)", "talks without"),
    "a hello without a line end": ("def hello():\n    while True: os.write(1, b'u' * 65536)", "talks without"),
    "a hello of binary": ("def hello():\n    while True: os.write(1, bytes(range(256)) * 256)", "talks without"),
    "no hello": ("def hello(): pass", "in time"),
    "the end": ("def hello(): os._exit(0)", "ends without"),
}
"""What they do when greeted: None where they are taken for engines all the same."""
