"""A shell at a terminal, at whose prompt a line is typed and completed by the TAB key."""

import os
import pty
import re
import select
import shutil
import subprocess
import time
from pathlib import Path
from types import TracebackType

PATIENCE_S = 60.0
COMMANDS = {
    "bash": ["bash", "--noprofile", "--norc", "-i"],
    "zsh": ["zsh", "-f", "-i"],
    "fish": ["fish", "--no-config", "-i"],
}
READY = {
    "bash": "bind 'set enable-bracketed-paste off'",
    "zsh": "autoload -Uz compinit; compinit -u -D; bindkey -e; unset zle_bracketed_paste",
    "fish": "function fish_prompt; echo '> '; end",
}
_CONTROLS = re.compile(rb"\x1b(\[[0-9;?>=]*[a-zA-Z]|\][^\x07]*\x07|[=>()][0B]?)")


class Terminal:
    """An interactive shell, for whose answers one waits by what they say."""

    def __init__(self, shell: str, script: str, directory: Path, path: str) -> None:
        self.shell = shell
        file = directory / f"completion.{shell}"
        file.write_text(script)
        master, slave = pty.openpty()
        self._terminal = master
        environment = {"PATH": path, "HOME": str(directory), "TERM": "xterm", "COLUMNS": "200", "LANG": "C.UTF-8"}
        self._process = subprocess.Popen(
            COMMANDS[shell], cwd=directory, env=environment, pass_fds=[slave],
            preexec_fn=lambda: os.login_tty(slave),
        )  # fmt: skip
        os.close(slave)
        self._type(f"{READY[shell]}\nsource {file}\necho rea''dy\n")
        self._read(rb"ready")

    def completed(self, line: str) -> str:
        """Return what becomes of `line` when TAB is hit after it."""
        self._type(f"{line}\t\x01echo '<\x05>'\n")  # Ctrl-A and Ctrl-E: to the line's begin and end
        return self._read(rb"\n\r?<([^<>\n]*)>").strip()

    def _type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def _read(self, pattern: bytes) -> str:
        """Return what `pattern` matches of what comes; without its group the whole."""
        seen, end_s = b"", time.monotonic() + PATIENCE_S
        while time.monotonic() < end_s:
            if select.select([self._terminal], [], [], 0.5)[0]:
                seen += os.read(self._terminal, 65536)
            found = re.search(pattern, _CONTROLS.sub(b"", seen))
            if found:
                return (found[1] if found.re.groups else found[0]).decode()
        raise TimeoutError(f"{self.shell} said only {seen!r}")

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)


def is_there(shell: str) -> bool:
    return shutil.which(shell) is not None
