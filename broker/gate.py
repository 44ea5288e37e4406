"""Who may come in: the ZeroMQ authentication protocol (RFC 27/ZAP), answered from the allow list of keys.

The router owns it and serves its socket beside the others, so no thread of its own can die and leave the door
to nobody. Every channel is a ZAP domain of its own, open to the roles in MAY_ENTER alone; what a peer may say
once it is in, the control desk and the router decide by the holder of its key.
"""

from collections import Counter
from collections.abc import Iterator
from logging import getLogger
from pathlib import Path

import zmq
from zmq.utils import z85

from common.errors import MessageError, SettingsError
from common.keys import BROKER, KeyHolder
from common.messages import Role
from common.trouble import Trouble
from common.zmq import sockets
from common.zmq.keys import BrokerKeys, KeyDirectory, public_key

log = getLogger(__name__)

MAY_ENTER: dict[str, frozenset[Role | None]] = {
    "control": frozenset(Role),
    "experience": frozenset({Role.ACTOR}),
    "delivery": frozenset({Role.LEARNER}),
    "weights_in": frozenset({Role.LEARNER}),
    "weights_out": frozenset({Role.ACTOR}),
    "logs_in": frozenset({Role.ACTOR, Role.LEARNER, None}),
    "logs_out": frozenset({Role.COLLECTOR}),
}
"""Roles by channel; None is the broker itself, which ships its own log."""

_ENDPOINT = "inproc://zeromq.zap.01"
_VERSION = b"1.0"
_ALLOWED = b"200"
_TRY_AGAIN = b"300"
"""A peer that is told so comes again after its handshake time-out; told "400" it would never come again, not even
once its key is allowed."""


class AllowList:
    """The holders of the allowed keys, by public key (Z85). A key that two files hold is nobody's."""

    def __init__(self, directory: KeyDirectory) -> None:
        self._directory, self._broker = directory, directory.broker_public()
        self._holders: dict[bytes, KeyHolder] = {}
        self._files: dict[Path, tuple[int, int, int]] | None = None
        self._trouble = Trouble(
            log, "allow list can't be read: the one before it stays", "allow list can be read again"
        )
        self.read()

    def holder(self, key: bytes) -> KeyHolder | None:
        """Return whose key it is, None if it is not allowed."""
        return self._holders.get(key)

    def read(self) -> frozenset[KeyHolder]:
        """Read the list anew if a file has changed; return who was allowed until now and is no more.

        A list that can't be read as a whole is none: the one before it stays in force.
        """
        try:
            files = self._directory.stamps()
            if files == self._files:
                return frozenset()
            found = [(self._broker, BROKER), *self._read_all()]
        except SettingsError as error:
            self._trouble.again(str(error))
            return frozenset()
        self._trouble.over()
        counts = Counter(key for key, _ in found)
        for key, holder in found:
            if counts[key] > 1:
                log.error("key not allowed", extra={"holder": str(holder), "reason": "another holder has it, too"})
        holders = {key: holder for key, holder in found if counts[key] == 1}
        gone = [holder for key, holder in self._holders.items() if holders.get(key) != holder]
        log.info("allow list read", extra={"keys": len(holders) - 1, "revoked": ", ".join(map(str, gone))})
        self._files, self._holders = files, holders
        return frozenset(gone)

    def _read_all(self) -> Iterator[tuple[bytes, KeyHolder]]:
        for holder, path in self._directory.allowed():
            try:
                yield public_key(path), holder
            except SettingsError as error:
                log.error("key not allowed", extra={"holder": str(holder), "reason": str(error)})


class Gate:
    """Answers ZeroMQ's question about each connection, and says whose key a frame came in under."""

    def __init__(self, keys: BrokerKeys) -> None:
        self._secret = keys.secret
        self._allow = AllowList(keys.directory)
        self.socket: zmq.Socket[bytes] = zmq.Context.instance().socket(zmq.REP)
        """On which the questions come."""

    def open(self) -> None:
        """Take questions from now on; call it before any channel is bound."""
        sockets.bind(self.socket, _ENDPOINT)

    def close(self) -> None:
        """Take no more; call it after all channels are closed."""
        self.socket.close(linger=0)

    def guard(self, socket: zmq.Socket[bytes], channel: str) -> None:
        """Keep strangers out of a channel's socket, which is not bound yet."""
        sockets.guard(socket, self._secret, channel)

    def reread(self) -> frozenset[KeyHolder]:
        """Read the allow list anew if it has changed; return whose keys were revoked."""
        return self._allow.read()

    def sender(self, frame: zmq.Frame) -> KeyHolder:
        """Return whose key a frame came in under; raise MessageError if that key is allowed no more."""
        holder = self._allow.holder(sockets.sender_of(frame))
        if holder is None:
            raise MessageError("key not allowed any more")
        return holder

    def answers(self) -> Iterator[str]:
        """Answer the questions that have come; yield of each who is kept out why."""
        while self.socket.poll(0):
            why_not = self._answer()
            if why_not:
                yield why_not

    def _answer(self) -> str:
        _, request, domain, address, _, mechanism, *credentials = self.socket.recv_multipart()
        key = z85.encode(credentials[0]) if mechanism == b"CURVE" else b""
        holder = self._allow.holder(key)
        channel = domain.decode()
        if holder is not None and holder.role in MAY_ENTER[channel]:
            self.socket.send_multipart([_VERSION, request, _ALLOWED, b"", key, b""])
            return ""
        self.socket.send_multipart([_VERSION, request, _TRY_AGAIN, b"not allowed", b"", b""])
        who = f"{holder} may not" if holder is not None else f"unknown key {key.decode()}"
        return f"{who} ({channel}, from {address.decode()})"
