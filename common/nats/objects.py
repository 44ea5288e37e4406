"""Objects in a NATS object store: put, looked at, got, removed.

In the layout of NATS's own object store (ADR-20), so that `nats object` reads them; not by nats-py's `put` and
`get`, which wait for each piece, read in quadratic time (nats.py#703), and wait for ever for an object that was
overwritten while it was read. Pieces are read by their numbers, which what tells about an object lists: no reader
needs a consumer at the server, and any replica can answer.
"""

import asyncio
import base64
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from common.errors import MessageError
from common.nats.connection import NatsConnection, patience_s
from common.nats.group import Group
from common.nats.names import Bucket

PIECES = "pieces"
"""Key of the metadata: the numbers of the pieces in the stream, in order."""
MAX_PIECES = 65536
AT_ONCE = 2
"""Pieces under way at once, either way: enough to keep a link busy, and little enough for a thin one."""
LARGE_BYTES = 1024 * 1024
"""From here on hashing is done beside the loop."""
AGAIN_S = 0.2
TRIES = 10
"""Times that a piece is asked for which a replica may not have yet."""
_ROLLUP = {"Nats-Rollup": "sub"}
"""Has the server forget what stood on the subject before."""
_DIGEST = "SHA-256="


class Overwritten(MessageError):
    """An object is not there any more as it was told about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What tells about an object."""

    name: str
    nuid: str
    """Of this writing of it; its pieces are under that name."""
    size_bytes: int
    digest: str
    """SHA-256, in hexadecimal."""
    pieces: tuple[int, ...]
    """Numbers in the bucket's stream."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the writer says of it, without the pieces."""

    @property
    def place(self) -> int:
        """A number that rises from one writing to the next."""
        return self.pieces[-1] if self.pieces else 0


def read_about(data: bytes) -> About | None:
    """Return what tells about an object; None for one that was removed. Raises MessageError for anything else."""
    try:
        said: Any = json.loads(data)
        if said.get("deleted"):
            return None
        metadata = {str(key): str(value) for key, value in said["metadata"].items()}
        numbers = metadata.pop(PIECES)
        digest = base64.urlsafe_b64decode(said["digest"].removeprefix(_DIGEST)).hex()
        if len(numbers) > 21 * MAX_PIECES:
            raise MessageError("about an object: too many pieces")
        return About(
            name=str(said["name"]), nuid=str(said["nuid"]), size_bytes=int(said["size"]), digest=digest,
            pieces=tuple(int(number) for number in numbers.split()), metadata=metadata,
        )  # fmt: skip
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise MessageError(f"about an object: {error!r}") from error


async def look(connection: NatsConnection, bucket: Bucket, name: str) -> About | None:
    """Return what tells about an object; None where there is none. Raises MessageError for what is none."""
    kept = await connection.kept(bucket.stream, last_of=bucket.about(name))
    return read_about(kept.data) if kept is not None else None


async def put(
    connection: NatsConnection, bucket: Bucket, name: str, nuid: str, payload: bytes, metadata: Mapping[str, str]
) -> About:
    """Write an object, and return once the server has all of it; what was written under `nuid` before is forgotten.

    Under a nuid that nobody reads, until the very end everybody reads the object as it was before. Raises Away
    where it got stuck, and Rejected: then it is to be written again.
    """
    length = connection.max_payload // 2
    pieces = [payload[at : at + length] for at in range(0, len(payload), length)] or [b""]
    subject, timeout_s = bucket.pieces(nuid), patience_s(AT_ONCE * length)
    # The first one alone, for it takes the place of all before it.
    numbers = [(await connection.store(subject, pieces[0], headers=_ROLLUP)).sequence]
    window = asyncio.Semaphore(AT_ONCE)

    async def store(piece: bytes) -> int:
        async with window:
            return (await connection.store(subject, piece, timeout_s=timeout_s)).sequence

    async with Group() as group:
        stored = [group.create_task(store(piece)) for piece in pieces[1:]]
        digest = (await _hashed(payload)).digest()
    numbers += [task.result() for task in stored]
    said = {
        "name": name, "bucket": bucket.name, "nuid": nuid, "size": len(payload), "chunks": len(numbers),
        "digest": _DIGEST + base64.urlsafe_b64encode(digest).decode(), "mtime": datetime.now(UTC).isoformat(),
        "options": {"max_chunk_size": length},
        "metadata": {**metadata, PIECES: " ".join(map(str, numbers))},
    }  # fmt: skip
    data = json.dumps(said).encode()
    await connection.store(bucket.about(name), data, headers=_ROLLUP)
    about = read_about(data)
    assert about is not None
    return about


async def get(connection: NatsConnection, bucket: Bucket, about: About, *, max_bytes: int) -> bytes:
    """Return an object as it was told about, its hash checked.

    Raises Overwritten where it is not there any more; MessageError for one of more than `max_bytes`, of which
    nothing is read, and for one that is not what it says; Away where it got stuck.
    """
    if not 0 <= about.size_bytes <= max_bytes or not 0 < len(about.pieces) <= MAX_PIECES:
        raise MessageError(f"an object's size: {about.size_bytes} bytes in {len(about.pieces)} pieces")
    payload = bytearray()
    waiting = list(reversed(about.pieces))
    under_way: list[asyncio.Task[bytes]] = []
    async with Group() as group:
        while waiting or under_way:
            while waiting and len(under_way) < AT_ONCE:
                under_way.append(group.create_task(_piece(connection, bucket, about, waiting.pop())))
            payload += await under_way.pop(0)
            if len(payload) > about.size_bytes:
                break
    whole = bytes(payload)
    del payload
    if len(whole) != about.size_bytes or (await _hashed(whole)).hexdigest() != about.digest:
        now = await look(connection, bucket, about.name)
        if now is not None and now.place == about.place:
            raise MessageError(f"an object is not what it says: {about.name}")
        raise Overwritten(f"an object was overwritten: {about.name}")
    return whole


async def remove(connection: NatsConnection, bucket: Bucket, about: About) -> None:
    """Forget an object; only who may purge the stream can."""
    said = {"name": about.name, "bucket": bucket.name, "nuid": about.nuid, "size": 0, "chunks": 0, "deleted": True}
    await connection.store(bucket.about(about.name), json.dumps(said).encode(), headers=_ROLLUP)
    for subject in (bucket.pieces(about.nuid), bucket.about(about.name)):
        await connection.api(f"STREAM.PURGE.{bucket.stream}", {"filter": subject})


async def _piece(connection: NatsConnection, bucket: Bucket, about: About, number: int) -> bytes:
    timeout_s = patience_s(AT_ONCE * about.size_bytes // len(about.pieces))
    for _ in range(TRIES):
        kept = await connection.kept(bucket.stream, sequence=number, timeout_s=timeout_s)
        if kept is not None:
            return kept.data
        # Gone, or not yet on the replica that has answered: then what tells about the object is as it was.
        now = await look(connection, bucket, about.name)
        if now is None or now.place > about.place:
            break
        await asyncio.sleep(AGAIN_S)
    raise Overwritten(f"an object was overwritten: {about.name}")


async def _hashed(payload: bytes) -> "hashlib._Hash":
    if len(payload) < LARGE_BYTES:
        return hashlib.sha256(payload)
    return await asyncio.to_thread(hashlib.sha256, payload)
