"""What a server and all of its children spend, read from ``/proc``; Linux only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")
PROC = Path("/proc")


@dataclass(frozen=True)
class ResourceUsage:
    """What a process tree has used.

    Attributes:
        cpu_s: Seconds of user and system time, those of children that have ended included.
        memory: Bytes in memory now; what processes share counts once (PSS).
        peak: Sum of the most bytes that each process ever had in memory (VmHWM); what they share counts in each.
        processes: How many there are.
        threads: Of all processes.
        files: Open descriptors of all processes.
    """

    cpu_s: float
    memory: int
    peak: int
    processes: int
    threads: int
    files: int


def tree(root: int) -> list[int]:
    """The process, its descendants, and what else runs in the sessions that they opened."""
    parents, sessions = {}, {}
    for pid, fields in _stats():
        parents[pid], sessions[pid] = int(fields[1]), int(fields[3])
    found = {root}
    while True:
        # A daemon has no parent left, but it is still in the session of the one that made it.
        more = {pid for pid in parents if parents[pid] in found or sessions[pid] in found} - found
        if not more:
            return sorted(found & parents.keys())
        found |= more


def cpu_seconds(root: int) -> float:
    """CPU seconds of a process tree so far."""
    mine = set(tree(root))
    return sum(_cpu(fields) for pid, fields in _stats() if pid in mine)


def memory(pid: int) -> int:
    """Bytes that one process has in memory, what it shares with others in part (PSS)."""
    return _fields(PROC / str(pid) / "smaps_rollup").get("Pss", 0) * 1024


def resource_usage(root: int) -> ResourceUsage:
    """Everything about a process tree.

    Raises:
        ProcessLookupError: It is gone.
    """
    pids = tree(root)
    if not pids:
        raise ProcessLookupError(root)
    used = peak = threads = files = 0
    for pid in pids:
        status = _fields(PROC / str(pid) / "status")
        used += memory(pid)
        peak += status.get("VmHWM", 0) * 1024
        threads += status.get("Threads", 0)
        files += _count(PROC / str(pid) / "fd")
    return ResourceUsage(cpu_seconds(root), used, peak, len(pids), threads, files)


def _stats() -> Iterator[tuple[int, list[str]]]:
    """Every process's id and the fields of its ``stat`` from the state on (``proc(5)`` counts it as the third)."""
    for folder in PROC.iterdir():
        if folder.name.isdigit():
            try:
                text = (folder / "stat").read_text()
            except OSError:  # it has just ended
                continue
            # The name stands in parentheses and may hold anything.
            yield int(folder.name), text[text.rindex(")") + 2 :].split()


def _cpu(fields: list[str]) -> float:
    return sum(map(int, fields[11:15])) / TICKS


def _fields(path: Path) -> dict[str, int]:
    """The lines ``Name: number`` of a file."""
    found: dict[str, int] = {}
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        name, _, rest = line.partition(":")
        number = rest.split()
        if number and number[0].isdigit():
            found[name] = int(number[0])
    return found


def _count(folder: Path) -> int:
    try:
        return sum(1 for _ in folder.iterdir())
    except OSError:
        return 0
