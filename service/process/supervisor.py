"""Starts the children, watches them, starts them again when they die, and stops them in order."""

from __future__ import annotations

import threading
import time

import structlog

from service.process.child import Child

log = structlog.get_logger(__name__)

WATCH_EVERY_S = 0.1


class Supervisor:
    """One thread that spawns and watches every child.

    One thread for all spawning, because Linux sends the parent-death signal when the spawning thread ends: this one
    ends only in `stop`, after the children have.
    """

    def __init__(self) -> None:
        self._children: list[Child] = []
        self._lock = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="supervisor", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def add(self, child: Child, timeout_s: float = 5.0) -> None:
        """Start a child and keep it running; waits up to `timeout_s` seconds for its first start."""
        with self._lock:
            self._children.append(child)
            self._lock.notify_all()
            self._lock.wait_for(lambda: child.starts > 0, timeout_s)

    def retire(self, *children: Child) -> None:
        """Ask these children to stop, without waiting, and do not start them again."""
        with self._lock:
            for child in children:
                if child in self._children:
                    self._children.remove(child)
                child.terminate()

    def stop(self, *retired: Child, grace_s: float = 3.0) -> None:
        """Stop everything: the retired children first, the others in reverse order of their start."""
        with self._lock:
            others = [child for child in reversed(self._children) if child not in retired]
            self._children = []
        deadline = time.monotonic() + grace_s
        for child in retired:  # asked again: a stop during start-up comes here without `retire`
            child.terminate()
        for child in retired:
            child.finish(deadline)
        for child in others:
            child.terminate()
            child.finish(max(deadline, time.monotonic() + 1.0))
        with self._lock:
            self._stopping = True
            self._lock.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        with self._lock:
            while not self._stopping:
                for child in self._children:
                    _watch(child)
                self._lock.notify_all()
                self._lock.wait(WATCH_EVERY_S)


def _watch(child: Child) -> None:
    try:
        child.watch()
    except Exception:  # whatever went wrong with one child, the others stay watched
        log.exception("supervisor_trouble", child=child.name)
