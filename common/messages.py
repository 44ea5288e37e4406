"""Every message of the protocol, each a frozen type; nowhere else is a message described.

A message is one *envelope* frame (msgpack, one of the types below, with `kind` and `v`, the protocol
version) and, for three kinds, one *body* frame of bytes that the broker forwards unopened:

    Lease     body: msgpack list of RawGame, zstd-compressed
    Batch     body: see common/batch.py
    Weights   body: the arrays' bytes one after another, in the order of `arrays`

`docs/protocol.md` shows each message by annotated example; a test holds the two together.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from common.bottlenecks import BottleneckKind
from common.roles import Action as Action
from common.roles import Role as Role
from common.words import MAX_REASON_CHARACTERS

PROTOCOL_VERSION = 3
"""Peers whose envelopes carry another number are turned away with one clear line."""

Count = Annotated[int, Meta(ge=0, le=2**53)]
"""A number that every language has exactly, and of which millions add up without overflow."""
Rows = Annotated[int, Meta(ge=0, le=2**32 - 1)]
"""Transitions in one batch."""
Nanoseconds = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Seconds = Annotated[float, Meta(ge=0.0, le=1e12)]
Share = Annotated[float, Meta(ge=0.0, le=1.0)]
Measure = Annotated[float, Meta(ge=-1e300, le=1e300)]
"""A number that is one: neither infinite nor NaN, which compares as out of every range."""
Name = Annotated[str, Meta(min_length=1, max_length=128, pattern=r"^[A-Za-z0-9@._-]+\Z")]
Line = Annotated[str, Meta(max_length=255, pattern=r"^[^\x00-\x1f\x7f-\x9f]*\Z")]
"""Text for a person, without what could move a terminal's cursor."""
UnitsInHand = Annotated[list[Count], Meta(max_length=1024)]
Text = Annotated[str, Meta(max_length=MAX_REASON_CHARACTERS)]
Reasons = Annotated[dict[Name, Count], Meta(max_length=64)]
"""Games by the reason why they can't be used."""
MAX_AGENTS = 1024
MAX_ACTORS = 4096
MAX_GAMES = 4096
"""Games of one unit."""


class Message(msgspec.Struct, frozen=True, kw_only=True, tag_field="kind"):
    """Base of all messages: `kind` on the wire tells which one it is."""


class RawGame(msgspec.Struct, frozen=True, kw_only=True):
    """The text of one game as it stands in its source."""

    number: Count
    """Game number, from 0 over all sources in order."""
    source: Annotated[str, Meta(max_length=4096)]
    """The source's name as given."""
    line: Count
    """Line of the source at which the game begins, from 1."""
    text: bytes
    """The game's PGN text, undecoded."""


class Interval(msgspec.Struct, frozen=True, array_like=True):
    """Units `first` to `last`, both included."""

    first: Count
    last: Count


class StoreTotals(msgspec.Struct, frozen=True, kw_only=True):
    """What an agent's experience store holds: the learner's side of the accounting."""

    units: Count = 0
    transitions: Count = 0
    games_read: Count = 0
    games_used: Count = 0
    games_unselected: Count = 0
    """Games that the agent's query leaves out."""
    rejected: Reasons = {}
    """Games rejected, by reason."""


class ActorReport(msgspec.Struct, frozen=True, kw_only=True):
    """An actor's own figures; counters run since its start."""

    positions: Count = 0
    """Positions evaluated or looked up: the actor's progress."""
    engine_positions: Count = 0
    """Positions that the engine evaluated."""
    engine_nodes: Count = 0
    """Nodes that it searched, as its info lines say; where they say none, the limit for each position."""
    cached_games: Count = 0
    """Games whose evaluations came from the store."""
    games: Count = 0
    transitions: Count = 0
    probes: Count = 0
    """Probes made: moves that agents themselves would have chosen, with the engine's evaluation."""
    units: Count = 0
    """Units sent in whole."""
    rejected: Count = 0
    """Games rejected."""
    engine_share: Share = 0.0
    """Share of the last interval in which the engine had work."""
    lease_wait_share: Share = 0.0
    """Share of the last interval spent without any unit to work on."""
    engine_restarts: Count = 0
    memory_bytes: Count = 0
    """Resident memory of the actor's own process."""
    engine_memory_bytes: Count = 0
    """Resident memory of its engine."""
    cpu_s: Seconds = 0.0
    """Processor time of the actor and its engine, user and system."""
    weights: Annotated[dict[Name, Count], Meta(max_length=MAX_AGENTS)] = {}
    """Version of the latest weights, by agent."""
    weights_age_s: Annotated[dict[Name, Seconds], Meta(max_length=MAX_AGENTS)] = {}
    """Seconds since they arrived, by agent."""


class StoredUnit(msgspec.Struct, frozen=True, kw_only=True):
    """One batch that a learner has on disk."""

    unit: Count
    transitions: Rows
    duplicate: bool
    """True when the store had the unit already and this copy was dropped."""


# From a peer to the broker, on the control channel ---------------------------------------------------


class Hello(Message, frozen=True, kw_only=True, tag="hello"):
    """First message of every service, and again whenever the broker does not know it."""

    role: Role
    name: Name
    session: Name
    """Drawn anew at each start of the process; of two with one name, the one started later goes on."""
    started_ns: Nanoseconds = 0
    """When the process was started, nanoseconds since 1970, UTC."""
    host: Line
    pid: Count
    software: Line
    """Version of Rookery, for the operator's eyes; compatibility is the protocol version's matter."""
    settings: Annotated[dict[Name, Annotated[str, Meta(max_length=65536)]], Meta(max_length=64)] = {}
    """Actors and learners: the settings that decide the weights, as TOML; must be the broker's."""
    agent: Name | None = None
    """Learners: the agent that it trains."""
    stored: list[Interval] = []
    """Learners: the units on disk."""
    trained_units: Count = 0
    """Learners: units 0 to this one (excluded) are trained."""
    totals: StoreTotals = StoreTotals()
    """Learners: what the store holds."""
    units: UnitsInHand = []
    """Actors: the units in hand."""


class LeaseRequest(Message, frozen=True, kw_only=True, tag="lease-request"):
    """An actor's credit: the broker leases it units, as there are any, up to `capacity` at once.

    An absolute number, sent again about once a second, so that a lost message costs no credit.
    """

    capacity: Annotated[int, Meta(ge=0, le=64)]
    """Leases that the actor can hold; 0 asks for no more."""


class Renew(Message, frozen=True, kw_only=True, tag="renew"):
    """An actor's report, sent about once a second; leases live on only while `report.positions` grows."""

    units: UnitsInHand
    """Units in hand."""
    report: ActorReport


class Release(Message, frozen=True, kw_only=True, tag="release"):
    """An actor gives units back that it will not finish."""

    units: UnitsInHand


class Stored(Message, frozen=True, kw_only=True, tag="stored"):
    """The acknowledgement: these batches are in the learner's store, synced to disk."""

    agent: Name
    session: Name
    units: Annotated[list[StoredUnit], Meta(max_length=4096)]
    totals: StoreTotals
    """What the store holds now, these units included."""


class Declined(Message, frozen=True, kw_only=True, tag="declined"):
    """A learner can't use a batch: the broker forgets that copy, and leases the unit again."""

    agent: Name
    session: Name
    unit: Count
    reason: Text
    """Why, for the log."""


class LearnerReport(Message, frozen=True, kw_only=True, tag="learner-report"):
    """A learner's own figures, sent about once a second."""

    agent: Name
    session: Name
    totals: StoreTotals
    trained_units: Count
    """Units 0 to this one (excluded) are trained."""
    transitions_trained: Count
    step: Count
    """Gradient steps taken."""
    version: Count
    """Latest published version."""
    loss: Measure | None = None
    """Mean loss of the last interval; None before the first step."""
    td_error: Measure | None = None
    """Mean absolute TD error of the last unit, taken before training on it."""
    move_match: Measure | None = None
    """Share of the last unit's moves that the prior ranks first, taken before training on it."""
    match_top3: Measure | None = None
    """Share of them that it ranks among the first three."""
    probe_lag_mean: Measure | None = None
    """By how many versions the weights behind the last unit's probes were older than the learner's, in the mean."""
    validation_loss: Measure | None = None
    """Loss on the games that are kept out of training, at the last checkpoint that it was taken at."""
    validation_match_top1: Measure | None = None
    """Share of the moves of those games that the prior ranks first."""
    samples_per_second: Measure = 0.0
    train_share: Share = 0.0
    """Share of the last interval spent in training; the rest was waiting for units."""
    memory_bytes: Count = 0
    cpu_s: Seconds = 0.0
    """Processor time of the process since its start, user and system."""
    finished: bool = False
    """True once every unit is trained and the last checkpoint and weights are written."""


class CollectorReport(Message, frozen=True, kw_only=True, tag="collector-report"):
    """A log collector's own figures."""

    records: Count
    missing: Count
    """Records whose numbers never came."""


class Goodbye(Message, frozen=True, kw_only=True, tag="goodbye"):
    """A service leaves for good: what it held is free at once."""


class WeightsRequest(Message, frozen=True, kw_only=True, tag="weights-request"):
    """An actor asks for an agent's latest weights unless it has them."""

    agent: Name
    newer_than: Annotated[int, Meta(ge=-1, le=2**53)]
    """Version at hand; -1 for none."""
    session: Name | None = None
    """Session that published it."""


class StatusRequest(Message, frozen=True, kw_only=True, tag="status-request"):
    """Anybody asks how things stand."""


class Command(Message, frozen=True, kw_only=True, tag="command"):
    """An operator's order to actors."""

    action: Action
    names: Annotated[list[Name], Meta(max_length=MAX_ACTORS)]
    """Actors by name; empty means all of them."""


# From the broker to a peer, on the control channel ---------------------------------------------------


class Welcome(Message, frozen=True, kw_only=True, tag="welcome"):
    """Answer to hello."""

    broker: Name
    """The broker's session: another one means that it was started anew."""
    agents: Annotated[list[Name], Meta(max_length=MAX_AGENTS)]


class Refusal(Message, frozen=True, kw_only=True, tag="refusal"):
    """The broker turns a peer away; the peer says why and exits."""

    reason: Text


class Unknown(Message, frozen=True, kw_only=True, tag="unknown"):
    """The broker does not know the sender (it was started anew), or too little of it: say hello again."""


class Totals(Message, frozen=True, kw_only=True, tag="totals"):
    """How many units and games there are in all, once the sources have been read to their end."""

    units: Count
    games: Count


class Lease(Message, frozen=True, kw_only=True, tag="lease"):
    """A unit to work on, for these agents only; the body holds its games."""

    unit: Count
    agents: Annotated[list[Name], Meta(max_length=MAX_AGENTS)]


class Order(Message, frozen=True, kw_only=True, tag="order"):
    """An operator's order, passed on to one actor."""

    action: Action


class PublishAgain(Message, frozen=True, kw_only=True, tag="publish-again"):
    """The broker misses the weights that the learner reported: publish them once more."""


class CommandReply(Message, frozen=True, kw_only=True, tag="command-reply"):
    """Which actors an order went to."""

    names: list[Name]
    unknown: list[Name]


# Experience and delivery -----------------------------------------------------------------------------


class BatchHeader(Message, frozen=True, kw_only=True, tag="batch"):
    """Envelope of a batch, for the broker: over NATS, which has the batch, a message of its own, to account by."""

    unit: Count
    agent: Name
    transitions: Rows
    games: Count
    """Games of the unit that the batch accounts for: used, unselected or rejected."""
    actor: Name
    host: Line = ""
    """Where the actor runs."""
    engine: Line = ""
    """What its evaluations come from, with the limit of a search."""


class Credit(Message, frozen=True, kw_only=True, tag="credit"):
    """A learner's credit: how many batches may be under way to it, sent and not acknowledged.

    An absolute number, sent again about once a second, so that a lost message costs no credit.
    """

    agent: Name
    session: Name
    batches: Annotated[int, Meta(ge=0, le=65536)]


# Weights ---------------------------------------------------------------------------------------------


class ArraySpec(msgspec.Struct, frozen=True, kw_only=True):
    """One named array of a set of weights."""

    name: Name
    dtype: Annotated[str, Meta(pattern=r"^(float32|float16|int64|int32|uint64|uint32|uint16|uint8)\Z")]
    shape: Annotated[list[Count], Meta(max_length=8)]


class WeightsHeader(Message, frozen=True, kw_only=True, tag="weights"):
    """Envelope of a set of weights; on PUB/SUB a topic frame with the agent's name goes before it."""

    agent: Name
    session: Name
    """Session of the learner that publishes them: one that starts from nothing begins with version 1 again."""
    version: Count
    """Rises within a session."""
    step: Count
    """Gradient steps behind it."""
    network: Name
    arrays: Annotated[list[ArraySpec], Meta(max_length=4096)]
    size_bytes: Count
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
    """Of the body."""

    def newer_than(self, session: str | None, version: int) -> bool:
        """Whether these take the place of `version` of `session`; of another session they do in any case."""
        return self.session != session or self.version > version


# Logs ------------------------------------------------------------------------------------------------


LogField = Annotated[str, Meta(max_length=8192)] | int | float | bool | None


class LogRecord(Message, frozen=True, kw_only=True, tag="log"):
    """One log record; `source` and `number` make losses visible."""

    source: Name
    """The service's name and session."""
    host: Line = ""
    """Name of the host that the service runs on."""
    number: Count
    """Counts from 0 over the records of one source, given before the record is queued."""
    time_ns: Nanoseconds
    """Nanoseconds since 1970, UTC."""
    level: Annotated[str, Meta(pattern=r"^(DEBUG|INFO|WARNING|ERROR|CRITICAL)\Z")]
    logger: Annotated[str, Meta(max_length=256)]
    event: Annotated[str, Meta(max_length=65536)]
    """The stable name of what happened, or the formatted text of a foreign library's record."""
    fields: Annotated[dict[Annotated[str, Meta(max_length=256)], LogField], Meta(max_length=256)] = {}
    error: Annotated[str, Meta(max_length=65536)] | None = None
    """Traceback text, where there is one."""


# Status ----------------------------------------------------------------------------------------------


class ServiceStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One process as the broker sees it."""

    name: str
    role: Role
    host: str
    pid: int
    state: str
    """working, waiting, paused, draining, finished, collecting, away."""
    seen_s: float
    """Seconds since its last message."""
    progress_s: float
    """Seconds since its last progress."""
    units: list[int] = []
    """Actors: units in hand."""
    actor: ActorReport | None = None
    learner: LearnerReport | None = None
    collector: CollectorReport | None = None


class AgentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One agent's accounting (promise 7), in transitions and games.

    produced = stored + duplicates + in_flight, and games_read = sum(rejected) + unselected + used.
    """

    name: str
    learner: str
    """connected, away, or never seen."""
    leased: int
    """Units under lease that the agent misses."""
    units_stored: int
    units_trained: int
    produced: int
    """Transitions: in the store when its learner said hello, plus those that came from actors since."""
    stored: int
    """Transitions in the units that the broker knows to be stored."""
    duplicates: int
    in_flight: int
    """Transitions with the broker or under way to the learner."""
    totals: StoreTotals
    closed: bool
    """Whether both identities hold."""
    step: int = 0
    version: int = 0
    loss: float | None = None


class Status(Message, frozen=True, kw_only=True, tag="status"):
    """How things stand: answer to StatusRequest."""

    broker: str
    software: str
    uptime_s: float
    units_total: int | None
    """None until the sources have been read to their end."""
    games_total: int | None
    games_cut: int
    fraction_read: float
    """Share of the sources' bytes that has been cut into units."""
    services: list[ServiceStatus]
    agents: list[AgentStatus]
    bottleneck: str
    """What holds the run back, and why, in words."""
    bottleneck_kind: BottleneckKind | None = None
    """The same for programs; None from a broker that has only words for it."""
    bottleneck_agents: list[str] = []
    """Agents whose learners hold the run back, or are waited for."""
    dropped: dict[str, int]
    """Messages dropped, by reason."""
    broker_share: float
    """Share of the last interval in which the broker's loop was busy."""
    memory_bytes: int
    finished: bool


ToBroker = (
    Hello | LeaseRequest | Renew | Release | Stored | Declined | LearnerReport | CollectorReport | Goodbye
    | WeightsRequest | StatusRequest | Command | BatchHeader
)  # fmt: skip
FromBroker = (
    Welcome | Refusal | Unknown | Totals | Lease | Order | PublishAgain | CommandReply | WeightsHeader | Status
)
