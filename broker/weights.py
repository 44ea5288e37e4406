"""The last weights of each agent, kept for actors that come late. Bodies stay unopened."""

from common.messages import WeightsHeader


class LatestWeights:
    """Frames of the newest version of each agent's weights; a version that is not newer is not kept."""

    def __init__(self) -> None:
        self._kept: dict[str, tuple[int, list[bytes]]] = {}

    def keep(self, header: WeightsHeader, frames: list[bytes]) -> bool:
        """Keep envelope and body if they are newer than what there is; return whether they are."""
        if header.version <= self.version(header.agent):
            return False
        self._kept[header.agent] = (header.version, frames)
        return True

    def version(self, agent: str) -> int:
        """Return the version kept for an agent; -1 for none."""
        return self._kept[agent][0] if agent in self._kept else -1

    def newer_than(self, agent: str, version: int) -> list[bytes] | None:
        """Return envelope and body of an agent's weights, None unless they are newer than `version`."""
        return self._kept[agent][1] if self.version(agent) > version else None
