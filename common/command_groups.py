"""What `rookery --help` says: the subcommands by what one does with them, and the services beside them.

Read by common.command, which shows of it what is installed, and by the command reference. A subcommand that is
not named here still works, and is listed by its own words under MORE.
"""

from dataclasses import dataclass

ABOUT = (
    "Rookery breeds chess agents. Give it PGN files: it replays every game with Stockfish, makes of each move "
    "something to learn from, and trains a network for each agent, from every game exactly once. All of that "
    "runs on this machine with one command, or as services on many hosts. Then the agents are measured, and play."
)
"""What Rookery is, for a newcomer."""

START = (
    ("rookery doctor", "is this machine ready?"),
    ("rookery up games.pgn --run runs/first", "train two agents on your games"),
    ("rookery dashboard --run runs/first", "watch it in a browser"),
    ("rookery play runs/first", "play against them"),
)
"""Where to begin: command lines and what each is for."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CommandGroup:
    """Some subcommands of one purpose."""

    title: str
    commands: dict[str, str]
    """Name and one line of help, at most 60 characters, in the order in which they are shown."""


GROUPS = (
    CommandGroup(
        title="Train",
        commands={
            "up": "train agents on PGN files, all of it on this machine",
            "baselines": "train what a run's agents are compared with",
        },
    ),
    CommandGroup(
        title="Watch and steer a run",
        commands={
            "status": "how far it is, who works on it, what holds it back",
            "dashboard": "the run as a live page in a browser",
            "top": "the same in a terminal",
            "logs": "find log records, or put several hosts' in order",
            "trace": "where a transition came from; a timeline of a run",
            "report": "a page on a run, or on several side by side",
            "pause": "let actors finish what they have and wait",
            "resume": "let paused actors go on",
            "drain": "let actors finish what they have and exit",
            "reset": "let actors give their work back and restart their engine",
        },
    ),
    CommandGroup(
        title="Measure and play",
        commands={
            "evaluate": "measure how good agents are: a report card",
            "match": "games between two players, and who is the stronger",
            "play": "play against an agent, on a board in the terminal",
            "uci": "an agent as a UCI engine for any chess program",
        },
    ),
    CommandGroup(
        title="Data",
        commands={
            "annotate": "Stockfish's evaluations of games as a table",
            "export": "an agent's experience as a table, a row per transition",
            "export-weights": "an agent's network as safetensors or ONNX",
        },
    ),
    CommandGroup(
        title="Set up",
        commands={
            "doctor": "check this host: packages, engine, memory, keys, ports",
            "config": "show, check or write the settings",
            "keys": "the keys with which services on several hosts meet",
            "systemd": "a service's systemd unit, filled in for this host",
            "nats-cluster": "three NATS servers on this machine, to try a cluster",
            "completion": "completion by the TAB key for bash, zsh and fish",
        },
    ),
)

MORE = "More"
"""Title of the group of subcommands that are in no other."""

SERVICES = {
    "rookery-broker": "hands out the games and moves the messages; once",
    "rookery-learner": "trains one agent; once for each agent",
    "rookery-actor": "replays games with a Stockfish; once for each core",
    "rookery-logs": "gathers every log record; once",
}
"""The services' commands and what each does and how many a run has."""

OTHER_NAMES = {"train": "up", "run": "up", "start": "up", "stop": "drain", "watch": "dashboard", "init": "config"}
"""What a newcomer may type for a command that is called otherwise."""
