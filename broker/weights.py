"""The last weights of each agent, kept for actors that come late. Bodies stay unopened."""

from common.messages import WeightsHeader


class LatestWeights:
    """Frames of the newest weights of each agent: of its last learner's session, those of the highest version."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[WeightsHeader, list[bytes]]] = {}

    def keep(self, header: WeightsHeader, frames: list[bytes]) -> bool:
        """Keep envelope and body from the agent's learner if they are newer; return whether they are."""
        if header.version <= self.version(header.agent, header.session):
            return False
        self._kept[header.agent] = (header, frames)
        return True

    def version(self, agent: str, session: str) -> int:
        """Return the version kept of those that a session has published; -1 for none."""
        kept, _ = self._kept.get(agent, (None, []))
        return kept.version if kept is not None and kept.session == session else -1

    def newer_than(self, agent: str, session: str | None, version: int) -> list[bytes] | None:
        """Return envelope and body of an agent's weights, None where they are no newer than what is at hand."""
        kept, frames = self._kept.get(agent, (None, []))
        return frames if kept is not None and kept.newer_than(session, version) else None
