"""What is measured, and for how long."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

BATCHES = (1, 2, 4, 8, 16)
ENGINES = ("embedded", "torchserve")
SCENARIOS = ("throughput", "latency", "overload", "tenants", "start")


@dataclass(frozen=True)
class Profile:
    """How thorough a run is.

    Attributes:
        rounds: How often every row gets its turn.
        seconds: Of each turn.
        warm_up: Seconds of load before the first round.
        clients: Of the closed loop.
        latency_s: Seconds at half capacity.
        overload_s: Seconds at three times capacity.
        tenants: How many there are where there are many.
        cached: How many prompts the engine keeps then.
        traffic: Requests of many tenants, twice.
        starts: How often each server is started.
    """

    rounds: int
    seconds: float
    warm_up: float
    clients: int
    latency_s: float
    overload_s: float
    tenants: int
    cached: int
    traffic: int
    starts: int


QUICK = Profile(2, 2.0, 1.0, 16, 5.0, 3.0, 300, 32, 200, 1)
FULL = Profile(5, 5.0, 3.0, 16, 30.0, 10.0, 10_000, 256, 1500, 3)


@dataclass(frozen=True)
class BenchmarkPlan:
    """A whole run.

    Attributes:
        profile: How thorough.
        scenarios: Some of ``SCENARIOS``.
        engines: Some of ``embedded`` and ``torchserve``.
        peers: Folders of peers to measure beside them.
        data: Where planted data folders and logs go; kept for the next run.
        backbone: The frozen backbone.
    """

    profile: Profile
    scenarios: tuple[str, ...]
    engines: tuple[str, ...]
    peers: tuple[Path, ...]
    data: Path
    backbone: str = "edge"

    def steps(self) -> int:
        """About how many things will be said on the way, for a progress bar."""
        rows = 5 * len(self.engines) + 3 * len(self.peers)
        profile = self.profile
        servers = len(self.engines) + len(self.peers)
        steps = 2 * servers
        if {"throughput", "latency", "overload"} & set(self.scenarios):
            steps += rows + profile.rounds * (rows + 1) + servers
        if "overload" in self.scenarios:
            steps += len(self.engines)
        if "tenants" in self.scenarios:
            steps += profile.tenants // 100 + 4
        if "start" in self.scenarios:
            steps += profile.starts * len(self.engines)
        return steps
