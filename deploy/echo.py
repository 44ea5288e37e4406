"""What `rookery up --verbose` shows beside its progress: every log record of every service, as it is collected.

Records of `up` itself come directly. Spans are not shown.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from common.log_lines import LOG_FILE, line_or_none
from common.log_text import text_of, without_controls
from common.logs import TRACE, LineFormatter
from common.verbosity import Verbosity
from watch.tail import Tail


class Echo(logging.Handler):
    """Prints records; a context manager. `turn` shows what the log collector has written since the last one."""

    def __init__(self, console: Console, logs: Path) -> None:
        """`logs` is the collector's directory."""
        super().__init__(logging.DEBUG)
        self.setFormatter(LineFormatter("up"))
        self._console = console
        self._tail = Tail(logs / LOG_FILE, history_bytes=0)
        self._level_before = logging.WARNING

    def __enter__(self) -> "Echo":
        root = logging.getLogger()
        self._level_before = root.level
        root.addHandler(self)
        root.setLevel(logging.DEBUG)
        logging.getLogger(TRACE).setLevel(logging.CRITICAL)
        return self

    def __exit__(self, *exception: object) -> None:
        self.turn()
        self._tail.close()
        logging.getLogger().removeHandler(self)
        logging.getLogger().setLevel(self._level_before)
        logging.getLogger(TRACE).setLevel(logging.NOTSET)

    def emit(self, record: logging.LogRecord) -> None:
        """Print a record of this process."""
        self._print("\n".join(map(without_controls, self.format(record).splitlines())))

    def turn(self) -> None:
        """Print what has come of the services."""
        while texts := self._tail.read():
            for text in texts:
                if (line := line_or_none(text)) is not None:
                    self._print(text_of(line))

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def echoed(console: Console, logs: Path, verbosity: Verbosity) -> Iterator[Callable[[], None]]:
    """Show records where that is asked for; give what to call now and then."""
    if verbosity is Verbosity.VERBOSE:
        with Echo(console, logs) as echo:
            yield echo.turn
    else:
        yield lambda: None
