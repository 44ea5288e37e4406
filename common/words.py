"""The distinct types for the words of the design (which agent, unit, version), and what names and reasons are."""

import re
from typing import NewType

AgentName = NewType("AgentName", str)
"""Name of an agent: lower-case letters, digits, `_` and `-`; also its directory's name."""

Unit = NewType("Unit", int)
"""Number of a unit: a run of consecutive games, counted from 0 over the sources in order."""

Version = NewType("Version", int)
"""Number of a published set of weights of one agent: 0 is untrained, then rising by one."""

NAME = re.compile(r"[A-Za-z0-9@_-][A-Za-z0-9@._-]{0,99}")
"""Name of a process or a key: it goes by the wire and into the names of files."""
NAME_RULE = "up to 100 letters, digits and @ . _ -, not beginning with a dot"

MAX_REASON_CHARACTERS = 4096
"""What a message takes of a reason; a longer one is cut by whoever sends it."""
