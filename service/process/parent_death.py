"""Runs in a new child before it becomes the program it should be: ties its life to its parent's.

Run as a file, not imported: `python -I -S parent_death.py PARENT_PID PROGRAM ARGUMENT...`. A wrapper rather than a
`preexec_fn`, because Python code between fork and exec can deadlock on any lock another thread held at that moment,
and the parent has threads (torch, the event loop). Standard library only, so that it starts in milliseconds.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Ask for SIGKILL when the parent dies, then become the program."""
    parent, *command = sys.argv[1:]
    if sys.platform.startswith("linux"):
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # The parent may have died before the line above took effect; then nobody would ever send the signal.
    if os.getppid() != int(parent):
        sys.exit(1)
    os.execv(command[0], command)  # noqa: S606  # the caller gives an absolute path; there is no shell to quote for


if __name__ == "__main__":
    main()
