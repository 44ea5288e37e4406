"""The streams, consumers and buckets of a run on NATS, with their settings as JetStream's API takes them. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from common.nats.names import ACTORS, COLLECTOR, Bucket, NatsNames

SECOND_NS = 10**9
REDELIVERY_S = 30.0
"""After this long a batch, or a log record, that was not acknowledged is delivered again."""
LOG_BYTES = 256 * 1024 * 1024
LOG_AGE_S = 7 * 24 * 3600
MAX_WAITING = 65536
"""Actors that may wait for a unit at once; the server keeps but a pointer for each."""
MAX_ACK_PENDING = 65536
"""Parts under way to a learner, records to the collectors: the links ask for no more than they have room for."""

DESCRIPTION = "Rookery run "
"""What stands before the run's id in the description of its streams."""

Config = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsPlan:
    """What a run needs of its cluster."""

    names: NatsNames
    agents: Sequence[str]
    max_units_ahead: int
    lease_timeout_s: float
    replicas: int = 1
    run_id: str = ""
    """Tells what is learned, from what: streams that hold something of another run are not touched."""
    redelivery_s: float = REDELIVERY_S

    def streams(self) -> list[Config]:
        """Return the settings of each stream, those of the object stores among them."""
        names = self.names
        return [
            self._stream(
                names.units_stream, names.units, retention="workqueue", discard="new",
                # A unit is there once: who publishes it again is told so.
                max_msgs_per_subject=1, discard_new_per_subject=True,
            ),
            self._stream(names.experience_stream, names.experience, retention="workqueue", discard="new"),
            self._stream(
                names.logs_stream, names.logs, retention="limits", discard="old", max_bytes=LOG_BYTES,
                max_age=LOG_AGE_S * SECOND_NS,
            ),
            self._bucket(names.weights),
            self._bucket(names.games),
        ]  # fmt: skip

    def consumers(self) -> list[tuple[str, Config]]:
        """Return the stream and the settings of each durable consumer."""
        names = self.names
        return [
            (
                names.units_stream,
                _consumer(ACTORS, self.lease_timeout_s, self.max_units_ahead) | {"max_waiting": MAX_WAITING},
            ),
            *(
                (
                    names.experience_stream,
                    _consumer(names.learner(agent), self.redelivery_s, MAX_ACK_PENDING)
                    | {"filter_subject": names.experience_of(agent)},
                )
                for agent in self.agents
            ),
            (names.logs_stream, _consumer(COLLECTOR, self.redelivery_s, MAX_ACK_PENDING)),
        ]

    def _stream(self, name: str, *subjects: str, **settings: Any) -> Config:
        fixed = {"name": name, "subjects": list(subjects), "storage": "file", "num_replicas": self.replicas}
        fixed |= {"description": f"{DESCRIPTION}{self.run_id}"}
        return fixed | settings

    def _bucket(self, bucket: Bucket) -> Config:
        return self._stream(
            bucket.stream, *bucket.subjects, retention="limits", discard="new", allow_rollup_hdrs=True,
            allow_direct=True,
        )  # fmt: skip


def _consumer(name: str, ack_wait_s: float, max_ack_pending: int) -> Config:
    return {
        "durable_name": name,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "replay_policy": "instant",
        "ack_wait": int(ack_wait_s * SECOND_NS),
        "max_ack_pending": max_ack_pending,
        "max_deliver": -1,
    }
