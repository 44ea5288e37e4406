"""Runs a service's module in a process that doesn't outlive its supervisor.

Started by deploy/supervisor.py as `python -m deploy.tether SUPERVISOR MODULE [ARGUMENT]...`, with the process id
of the supervisor. Must not import anything slow: until the tether is tied, a supervisor that is killed would
leave the service behind.
"""

import ctypes
import os
import runpy
import signal
import sys

_PR_SET_PDEATHSIG = 1


def tie(supervisor: int) -> None:
    """Have the kernel send SIGTERM (drain and save) when `supervisor`, our parent, dies; exit if it has."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != supervisor:
        sys.exit("the supervisor is gone")


def main() -> None:
    """Run the module that the arguments name, as `python -m` would."""
    tie(int(sys.argv[1]))
    module = sys.argv[2]
    sys.argv = [module, *sys.argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
