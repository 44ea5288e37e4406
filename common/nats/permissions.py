"""What each holder of a key may say and hear on NATS: subjects, by role and name. Pure.

Whatever is not listed here is refused by the server. So an actor can't publish weights or acknowledge batches, a
learner publishes the weights and takes the batches of its own agent only, a collector takes log records, an
operator asks; streams and consumers are made, changed and purged by the broker alone.

Two things a server can't tell apart. All actors share the units' consumer, so one can acknowledge a unit that
another has: that costs time, never data, for the broker sees what no learner has. And it is never checked where the
answer to a request is to go: see docs/decisions/0021-keys-on-nats.md.
"""

from dataclasses import dataclass

from common.keys import BROKER, KeyHolder
from common.messages import Role
from common.nats.names import ACTORS, COLLECTOR, Bucket, NatsNames

SERVERS = "$SYS.REQ.SERVER.PING.VARZ"
"""Asks all servers how they are set; of the system's account, and let through by our configuration."""

Subjects = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subjects, with wildcards."""

    publish: Subjects
    subscribe: Subjects


def permissions_of(holder: KeyHolder, names: NatsNames) -> Permissions:
    """Return what a holder may say and hear in a run."""
    match holder.role:
        case Role.ACTOR:
            said, heard = _actor(names), _peer_hears(holder, names)
        case Role.LEARNER:
            said, heard = _learner(holder.name, names), _peer_hears(holder, names)
        case Role.COLLECTOR:
            said, heard = _takes(names.logs_stream, COLLECTOR), _peer_hears(holder, names)
        case Role.OPERATOR:
            said, heard = (names.ask(holder.name), SERVERS), ()
        case None:
            said, heard = _broker(names), (names.controls, names.asks, names.to(BROKER, "*"))
    if holder.role not in (Role.OPERATOR, None):
        said = (names.control(holder), *said)
    logs = (names.log(holder), f"$JS.API.STREAM.INFO.{names.logs_stream}")
    return Permissions(publish=tuple(dict.fromkeys((*said, *logs))), subscribe=(f"{names.inbox(holder)}.>", *heard))


def _actor(names: NatsNames) -> Subjects:
    return (
        *_takes(names.units_stream, ACTORS),
        names.experience,
        _reads(names.games),
        _reads(names.weights),
    )


def _learner(agent: str, names: NatsNames) -> Subjects:
    bucket = names.weights
    return (
        *_takes(names.experience_stream, names.learner(agent)),
        bucket.pieces(f"{agent}.*"),
        bucket.about(agent),
        _reads(bucket),
    )


def _broker(names: NatsNames) -> Subjects:
    streams = (
        names.units_stream, names.experience_stream, names.logs_stream, names.weights.stream, names.games.stream,
    )  # fmt: skip
    return (
        f"{names.namespace}.to.>",
        names.units,
        *names.games.subjects,
        f"_INBOX.{names.namespace}.{Role.OPERATOR}.>",
        "$JS.API.INFO",
        SERVERS,
        # Its streams: INFO, CREATE, UPDATE, PURGE, DELETE; MSG.GET, MSG.DELETE; consumers in all their spellings.
        *(
            subject
            for stream in streams
            for subject in (
                f"$JS.API.STREAM.*.{stream}",
                f"$JS.API.STREAM.MSG.*.{stream}",
                f"$JS.API.CONSUMER.*.{stream}.>",
                f"$JS.API.CONSUMER.DURABLE.CREATE.{stream}.*",
                f"$JS.API.DIRECT.GET.{stream}",
            )
        ),
    )


def _peer_hears(holder: KeyHolder, names: NatsNames) -> Subjects:
    hears = (names.to(holder, "*"),)
    return (*hears, names.weights.abouts) if holder.role is Role.ACTOR else hears


def _takes(stream: str, consumer: str) -> Subjects:
    """Fetch a consumer's messages, and acknowledge them.

    Only as servers write it by default, `$JS.ACK.STREAM.CONSUMER.…`: with wildcards before the stream, as the form
    of their feature flag `js_ack_fc_v2` takes, who has one consumer would reach into every other.
    """
    return (f"$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}", f"$JS.ACK.{stream}.{consumer}.>")


def _reads(bucket: Bucket) -> str:
    return f"$JS.API.DIRECT.GET.{bucket.stream}"
