"""What the things of one run are called on NATS: the subjects, streams, consumers and buckets of a namespace.

    N.control.ROLE.NAME            peers' messages to the broker
    N.to.ROLE.NAME.SESSION         the broker's to one start of one peer
    N.ask.OPERATOR                 operators' questions and orders
    N.units.UNIT                   stream N-units, consumer `actors`
    N.experience.AGENT.UNIT        stream N-experience, a consumer `learner-AGENT` each
    N.logs.ROLE.NAME               stream N-logs, consumer `collector`
    $O.N-weights.…, $O.N-games.…   object stores, streams OBJ_N-weights and OBJ_N-games

In subjects N is the namespace as given, in streams and buckets in capitals. ROLE and NAME are a `KeyHolder`'s, so
that a server's permissions say who may publish what; a name's dots stand as colons, which no name has. Pure.
"""

import base64
import re
from dataclasses import dataclass

from common.errors import MessageError, SettingsError
from common.keys import BROKER, KeyHolder
from common.messages import Role
from common.words import AgentName, Unit

_NAMESPACE = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
NAMESPACE_RULE = "up to 32 of a-z, 0-9, _ and -, beginning with a letter or a digit"
_ROLES = frozenset(role.value for role in Role)
_UNIT = re.compile(r"0|[1-9][0-9]{0,15}")

GAMES = "Games"
"""Header of a unit whose games are in the object store: the object's name."""
ACTORS = "actors"
"""Consumer of the units: all actors share it."""
COLLECTOR = "collector"
"""Consumer of the log records: collectors share it."""


@dataclass(frozen=True, slots=True)
class NatsNames:
    """The names of one run. Several runs share a cluster by their namespaces."""

    namespace: str = "rookery"

    def __post_init__(self) -> None:
        if not _NAMESPACE.fullmatch(self.namespace):
            raise SettingsError(f"--namespace {self.namespace!r}: {NAMESPACE_RULE}")

    # Subjects ------------------------------------------------------------------------------------

    @property
    def controls(self) -> str:
        """Everybody's messages to the broker."""
        return f"{self.namespace}.control.*.*"

    def control(self, sender: KeyHolder) -> str:
        """One peer's messages to the broker."""
        return f"{self.namespace}.control.{_holder(sender)}"

    def to(self, receiver: KeyHolder, session: str) -> str:
        """The broker's messages to one start of a peer: another one of that name must not take them for its own."""
        return f"{self.namespace}.to.{_holder(receiver)}.{_token(session)}"

    @property
    def asks(self) -> str:
        """All operators' questions."""
        return f"{self.namespace}.ask.*"

    def ask(self, operator: str) -> str:
        """One operator's questions."""
        return f"{self.namespace}.ask.{_token(operator)}"

    @property
    def units(self) -> str:
        """All units."""
        return f"{self.namespace}.units.*"

    def unit(self, unit: int) -> str:
        """One unit."""
        return f"{self.namespace}.units.{unit}"

    @property
    def experience(self) -> str:
        """All batches."""
        return f"{self.namespace}.experience.*.*"

    def experience_of(self, agent: str) -> str:
        """All batches of one agent."""
        return f"{self.namespace}.experience.{_token(agent)}.*"

    def batch(self, agent: str, unit: int) -> str:
        """One unit's batch of one agent."""
        return f"{self.namespace}.experience.{_token(agent)}.{unit}"

    @property
    def logs(self) -> str:
        """Everybody's log records."""
        return f"{self.namespace}.logs.*.*"

    def log(self, sender: KeyHolder) -> str:
        """One process's log records."""
        return f"{self.namespace}.logs.{_holder(sender)}"

    def inbox(self, owner: KeyHolder) -> str:
        """What the inboxes of a process begin with: nobody else may listen there."""
        return f"_INBOX.{self.namespace}.{_holder(owner)}"

    # What a subject says -------------------------------------------------------------------------

    def sender_of(self, subject: str) -> KeyHolder:
        """Return who published on a control or log subject, or asked; raise MessageError for another subject."""
        match self._tokens(subject):
            case ["logs", BROKER.name, BROKER.name]:
                return BROKER
            case ["control" | "logs", role, name] if role in _ROLES:
                return KeyHolder(Role(role), _name(name))
            case ["ask", name]:
                return KeyHolder(Role.OPERATOR, _name(name))
        raise MessageError(f"no sender's subject: {subject}")

    def unit_of(self, subject: str) -> Unit:
        """Return which unit a subject is of; raise MessageError for one of none."""
        match self._tokens(subject):
            case ["units", unit] if _UNIT.fullmatch(unit):
                return Unit(int(unit))
        raise MessageError(f"no unit's subject: {subject}")

    def batch_of(self, subject: str) -> tuple[AgentName, Unit]:
        """Return whose batch of which unit a subject is of; raise MessageError for one of none."""
        match self._tokens(subject):
            case ["experience", agent, unit] if _UNIT.fullmatch(unit):
                return AgentName(_name(agent)), Unit(int(unit))
        raise MessageError(f"no batch's subject: {subject}")

    def _tokens(self, subject: str) -> list[str]:
        head, _, rest = subject.partition(".")
        return rest.split(".") if head == self.namespace else []

    # Streams, consumers, buckets -----------------------------------------------------------------

    @property
    def units_stream(self) -> str:
        """Stream of the units."""
        return f"{self.namespace.upper()}-units"

    @property
    def experience_stream(self) -> str:
        """Stream of the batches."""
        return f"{self.namespace.upper()}-experience"

    @property
    def logs_stream(self) -> str:
        """Stream of the log records."""
        return f"{self.namespace.upper()}-logs"

    def learner(self, agent: str) -> str:
        """Consumer of an agent's batches."""
        return f"learner-{_token(agent)}"

    @property
    def weights(self) -> "Bucket":
        """Object store of the latest weights, an object an agent."""
        return Bucket(f"{self.namespace.upper()}-weights")

    @property
    def games(self) -> "Bucket":
        """Object store of the games of units that no message can carry, an object a unit."""
        return Bucket(f"{self.namespace.upper()}-games")


@dataclass(frozen=True, slots=True)
class Bucket:
    """An object store. Its layout is NATS's own (ADR-20), so that `nats object` reads it."""

    name: str

    @property
    def stream(self) -> str:
        """The stream behind it."""
        return f"OBJ_{self.name}"

    @property
    def subjects(self) -> list[str]:
        """The stream's subjects: of pieces, and of what tells about objects."""
        return [f"$O.{self.name}.C.>", f"$O.{self.name}.M.>"]

    def about(self, name: str) -> str:
        """Subject of what tells about the object `name`."""
        return f"$O.{self.name}.M.{base64.urlsafe_b64encode(name.encode()).decode()}"

    def object_of(self, subject: str) -> str:
        """Return which object a subject tells about; nothing where it is none's."""
        try:
            return base64.urlsafe_b64decode(subject.rpartition(".")[2]).decode()
        except ValueError:
            return ""

    @property
    def abouts(self) -> str:
        """Subject of what tells about any object."""
        return f"$O.{self.name}.M.*"

    def pieces(self, nuid: str) -> str:
        """Subject of the pieces of one writing of an object."""
        return f"$O.{self.name}.C.{nuid}"


def _holder(holder: KeyHolder) -> str:
    """Return who a process is as two tokens of a subject."""
    return f"{holder.role.value if holder.role is not None else BROKER.name}.{_token(holder.name)}"


def _token(name: str) -> str:
    return name.replace(".", ":")


def _name(token: str) -> str:
    return token.replace(":", ".")
