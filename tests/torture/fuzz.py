"""Coverage-guided fuzzing of the decoders with atheris (libFuzzer), where it is installed.

    python -m tests.torture.fuzz [TARGET...] [--seconds N]     each target in a process of its own; prints a table
    python -m tests.torture.fuzz --one TARGET --seconds N      this very process; libFuzzer's own output

Not a part of the torture: it has no end and no seed. A finding is an exception that is no MessageError, more than
1 GiB of memory, or 10 seconds over one input; the input that does it is kept below build/fuzz.
"""

import argparse
import json
import logging
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
GOLDEN = ROOT / "tests" / "common" / "golden" / "protocol-3.jsonl"
_DONE = re.compile(r"Done (\d+) runs in (\d+) second")


def targets() -> dict[str, tuple[Callable[[bytes], object], list[bytes]]]:
    """Return what is fuzzed, by name, each with inputs to begin from."""
    import msgspec
    import zstandard

    from actor.games import read_games
    from broker.splitter import LineBlock, split
    from common import batch, wire
    from common.leased_games import pack_games, unpack_games
    from common.messages import Credit, FromBroker, LogRecord, RawGame, ToBroker
    from learner.checkpoints import Manifest
    from tests.common.batches import noise, played
    from tests.torture.hostile_games import PIECES

    anything = ToBroker | FromBroker | Credit | LogRecord
    envelopes = [bytes.fromhex(json.loads(line)["hex"]) for line in GOLDEN.read_text().splitlines()]
    batches = [batch.encode(noise(1, [2, 0, 3])), batch.encode(played(2, games=2, plies=20))]
    contents = [zstandard.ZstdDecompressor().decompress(body) for body in batches]
    games = [RawGame(number=1, source="a.pgn", line=1, text=b"1. e4 *")]
    leases = [zstandard.ZstdDecompressor().decompress(pack_games(games))]
    texts = ["".join(PIECES).encode(), b'[Event "x"]\n\n1. e4 {[%eval 0.3]} e5 (1... c5) 2. Nf3 $1 1-0\n']

    def read(text: bytes) -> object:
        return read_games([RawGame(number=0, source="a.pgn", line=1, text=text)], comments=True)

    def manifest(content: bytes) -> object:
        try:
            return msgspec.json.decode(content, type=Manifest)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None

    return {
        "envelopes": (lambda data: wire.decode(data, anything), envelopes),
        "batch-envelopes": (wire.decode_batch_header, envelopes),
        "batches": (batch.decode, batches),
        "batch-contents": (lambda data: batch.decode(zstandard.compress(data)), contents),
        "leases": (lambda data: unpack_games(zstandard.compress(data)), leases),
        "games": (read, texts),
        "splitter": (lambda data: list(split(iter([LineBlock(data.split(b"\n"))]))), texts),
        "manifests": (manifest, [b'{"format": 1, "agent": "white", "files": {}}']),
    }


def fuzz(name: str, seconds: int) -> None:
    """Fuzz one target in this process; never returns."""
    import atheris

    logging.disable(logging.CRITICAL)
    with atheris.instrument_imports(include=["common", "broker", "actor", "learner", "chess"]):
        function, seeds = targets()[name]
    from common.errors import MessageError

    def once(data: bytes) -> None:
        try:
            function(data)
        except MessageError:
            pass

    findings = ROOT / "build" / "fuzz"
    findings.mkdir(parents=True, exist_ok=True)
    corpus = Path(tempfile.mkdtemp(prefix="fuzz-"))
    for number, seed in enumerate(seeds):
        (corpus / str(number)).write_bytes(seed)
    limits = (f"-max_total_time={seconds}", "-rss_limit_mb=1024", "-timeout=10", "-max_len=16384")
    atheris.Setup([sys.argv[0], *limits, f"-artifact_prefix={findings}/{name}-", str(corpus)], once)
    atheris.Fuzz()


def run(name: str, seconds: int) -> tuple[int, int]:
    """Fuzz one target in a process of its own; return (executions, 1 for a finding or else 0)."""
    command = [sys.executable, "-m", "tests.torture.fuzz", "--one", name, "--seconds", str(seconds)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
    done = _DONE.search(ended.stderr)
    if ended.returncode != 0:
        sys.stdout.write(ended.stderr[-2000:] + "\n")
    return int(done[1]) if done else 0, int(ended.returncode != 0)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Fuzz the decoders.")
    parser.add_argument("targets", nargs="*")
    parser.add_argument("--one", help="fuzz this one in this process")
    parser.add_argument("--seconds", type=int, default=60, help="for each target [60]")
    options = parser.parse_args()
    if find_spec("atheris") is None:
        sys.exit("atheris is not installed: pip install atheris")
    if options.one:
        fuzz(options.one, options.seconds)
    found = 0
    for name in options.targets or targets():
        executions, finding = run(name, options.seconds)
        found += finding
        outcome = "FOUND SOMETHING" if finding else "nothing found"
        sys.stdout.write(f"{name:16} {executions:>10} executions  {outcome}\n")
        sys.stdout.flush()
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
