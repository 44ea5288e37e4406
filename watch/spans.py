"""The spans of the last minutes, for the timeline. Appended to by one thread and read by others."""

from collections import deque

import msgspec

from common.log_lines import LogLine

KEPT_S = 600.0
MAX_SPANS = 60_000


class SpanRing:
    """The spans that ended within the last KEPT_S before the newest, as JSON; MAX_SPANS at most."""

    def __init__(self, max_spans: int = MAX_SPANS, kept_s: float = KEPT_S) -> None:
        self._spans: deque[tuple[float, bytes]] = deque(maxlen=max_spans)
        """When each ended, seconds since 1970, and its text; in the order in which they were told."""
        self._kept_s = kept_s
        self._newest_s = 0.0

    def __len__(self) -> int:
        return len(self._spans)

    def take(self, line: LogLine) -> bytes | None:
        """Keep a span; return its text, or None for a line that is no whole span."""
        fields = line.fields
        begin_ns, seconds = fields.get("begin_ns"), fields.get("seconds")
        if not isinstance(begin_ns, int) or not isinstance(seconds, int | float) or "name" not in fields:
            return None
        end_s = begin_ns / 1e9 + seconds
        text = msgspec.json.encode({"service": line.service, "host": line.host, **fields})
        self._spans.append((end_s, text))
        self._newest_s = max(self._newest_s, end_s)
        while self._spans and self._spans[0][0] < self._newest_s - self._kept_s:
            self._spans.popleft()
        return text

    def since(self, moment_s: float) -> list[bytes]:
        """Return the spans that ended after a moment, seconds since 1970, each as a JSON object."""
        return [text for end_s, text in tuple(self._spans) if end_s >= moment_s]
