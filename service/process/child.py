"""A child process in its own process group that cannot outlive its parent and is started again when it dies."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from service.process.heartbeat import HeartbeatMonitor

log = structlog.get_logger(__name__)

PARENT_DEATH_SCRIPT = Path(__file__).with_name("parent_death.py")
# What no engine is given: it authenticates nobody and asks no database.
SECRETS = tuple(f"SKELETON_PROMPT_{name}" for name in ("ADMIN_KEY", "SECRET", "METRICS_KEY", "DATABASE_URL"))
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
STEADY_AFTER_S = 20.0  # a child that lived this long has recovered: its next death starts the back-off anew


def spawn(
    command: Sequence[str], *, env: Mapping[str, str] | None, output: int | None, descriptors: Sequence[int] = ()
) -> subprocess.Popen[bytes]:
    """Start `command` (absolute path first) tied to this process; it inherits these file descriptors beside stderr.

    The parent-death signal fires when the *thread* that spawned the child ends, not only the process: call this from a
    thread that lives as long as the child should.
    """
    tethered = [sys.executable, "-I", "-S", str(PARENT_DEATH_SCRIPT), str(os.getpid()), *command]
    return subprocess.Popen(  # noqa: S603  # our own command line, no shell
        tethered,
        env=dict(env) if env is not None else None,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        # A Ctrl-C in the terminal then reaches the parent only, which stops its children in order.
        start_new_session=True,
        pass_fds=descriptors,
    )


@dataclass
class Child:
    """One supervised process.

    Attributes:
        name: For the log.
        command: Absolute path and arguments.
        env: The whole environment; None inherits.
        output: A descriptor for stdout and stderr; None inherits.
        last_words: What to log about a death, such as the end of a log file.
        heartbeat: Judges from outside whether the process hangs; a hung one is killed and started again.
        process: The running process, or the dead one until `watch` has noticed.
        starts: How often it was started.
    """

    name: str
    command: Sequence[str]
    env: Mapping[str, str] | None = None
    output: int | None = None
    log_tail: Callable[[], str] = lambda: ""
    heartbeat: HeartbeatMonitor | None = None
    process: subprocess.Popen[bytes] | None = None
    starts: int = 0
    _pause: float = FIRST_PAUSE_S
    _started: float = 0.0
    _not_before: float = field(default=0.0)

    @property
    def pid(self) -> int | None:
        """The process id while the child runs."""
        return self.process.pid if self.process and self.process.poll() is None else None

    def start(self) -> None:
        """Start the process now."""
        self._started = time.monotonic()
        if self.heartbeat is not None:
            self.heartbeat.reset()
        self.process = spawn(self.command, env=self.env, output=self.output)
        self.starts += 1
        log.info("child_started", child=self.name, pid=self.process.pid, starts=self.starts)

    def watch(self) -> None:
        """Notice a death and, after a pause that doubles with each early death, start again."""
        if self.pid is not None and self.heartbeat is not None and self.heartbeat.is_hung():
            log.warning("child_hung", child=self.name, pid=self.pid)
            self._signal(signal.SIGKILL)  # a stopped process reacts to nothing else
        now = time.monotonic()
        if self.process is not None and self.process.poll() is not None:
            if now - self._started >= STEADY_AFTER_S:
                self._pause = FIRST_PAUSE_S
            self._not_before = now + self._pause
            # The pause also bounds the log: at worst one pair of lines in LONGEST_PAUSE_S.
            log.warning(
                "child_died",
                child=self.name,
                pid=self.process.pid,
                returncode=self.process.returncode,
                restart_in_s=self._pause,
                last_words=self.log_tail(),
            )
            self._pause = min(self._pause * 2, LONGEST_PAUSE_S)
            self.process = None
        if self.process is None and now >= self._not_before:
            try:
                self.start()
            except OSError as error:  # no memory, no file descriptors: the supervisor must survive it
                self._not_before = now + self._pause
                log.error("child_not_started", child=self.name, error=str(error))

    def terminate(self) -> None:
        """Ask the child and its group to stop."""
        self._signal(signal.SIGTERM)

    def finish(self, deadline: float) -> None:
        """Wait until `deadline` (monotonic seconds) for the child to stop, then kill its group."""
        if self.process is None:
            return
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("child_killed", child=self.name, pid=self.process.pid)
            self._signal(signal.SIGKILL)
            self.process.wait()
        log.info("child_stopped", child=self.name, returncode=self.process.returncode)
        self.process = None

    def _signal(self, number: int) -> None:
        # Only while the leader is not yet reaped: afterwards the kernel may have given its number to a stranger.
        if self.process is not None and self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
