"""Whether what is printed may have colours: on a terminal that knows them, but for NO_COLOR (no-color.org)."""

import os
from collections.abc import Mapping
from typing import TextIO


def coloured(stream: TextIO, environment: Mapping[str, str] = os.environ) -> bool:
    """Return whether to colour what goes to `stream`."""
    if environment.get("NO_COLOR") or environment.get("TERM") == "dumb":
        return False
    return stream.isatty()
