"""A whole run: data folders planted, scenarios in their order, the result judged."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from service.bench import multi_tenant, report, scenarios, targets
from service.bench.measure import BenchCase, median_of_trials, run_trial
from service.bench.profile import BenchmarkPlan, Profile
from service.bench.seed_tenants import read_keys
from service.bench.servers import BenchmarkError, Server, environment

Log = Callable[[str], object]


def run(order: BenchmarkPlan, say: Log) -> dict[str, Any]:
    """Everything that was ordered, as one document.

    Raises:
        BenchmarkError: A server does not start.
    """
    order.data.mkdir(parents=True, exist_ok=True)
    result: dict[str, Any] = {"machine": report.machine(), "scenarios": list(order.scenarios)}
    planted = order.data / "planted"
    for engine in order.engines:
        plant(planted / engine, scenarios.MIXED, say)
    if {"throughput", "latency", "overload"} & set(order.scenarios):
        result |= side_by_side(order, planted, say)
    if "tenants" in order.scenarios:
        folder = order.data / f"tenants-{order.profile.tenants}"
        plant(folder, order.profile.tenants, say)
        result["tenants"] = multi_tenant.many_tenants(order, folder, say)
    if "start" in order.scenarios:
        result["starts"] = multi_tenant.starts(order, planted, say)
    result["gates"] = targets.judge(result)
    return result


def side_by_side(order: BenchmarkPlan, planted: Path, say: Log) -> dict[str, Any]:
    """The scenarios for which all servers run at once."""
    found: dict[str, Any] = {}
    with ExitStack() as stack:
        servers = scenarios.open_servers(stack, order, planted, say)
        found["throughput"] = scenarios.throughput(servers, order, say)
        capacity = {row["row"]: row["per_second"] for row in found["throughput"]["rows"]}
        if "latency" in order.scenarios:
            found["latency"] = scenarios.latency(servers, order, capacity, say)
        if "overload" in order.scenarios:
            usual = {row["row"]: row["p95_ms"] for row in found.get("latency", [])}
            found["overload"] = [
                scenarios.overload(
                    server, order, capacity[f"{server.name} · json"], usual.get(f"{server.name} · json"), say
                )
                for server in servers
                if server.keys
            ]
    return found


def elsewhere(server: Server, profile: Profile, say: Log) -> dict[str, Any]:
    """A service that somebody else runs: its throughput in each form, and waiting times at half of it.

    Raises:
        BenchmarkError: It answers nothing as it should.
    """
    rows = [BenchCase(server, form) for form in server.forms]
    turns: dict[str, list[dict[str, Any]]] = {row.name: [] for row in rows}
    for number in range(profile.rounds):
        for row in rows:
            say(f"round {number + 1} of {profile.rounds}: {row.name}")
            turns[row.name].append(asyncio.run(run_trial(row, scenarios.closed(profile, profile.seconds))))
            if not turns[row.name][-1]["answered"]:
                raise BenchmarkError(f"{server.url} answers no request: {turns[row.name][-1]['errors']}")
    found = [{"row": name, "turns": one} | median_of_trials(one) for name, one in turns.items()]
    rate = found[0]["per_second"] / 2
    say(f"half capacity: {rate:.0f} a second")
    calm = asyncio.run(run_trial(rows[0], scenarios.arriving(rate, profile.latency_s)))
    ratio = calm["p99_ms"] / calm["p50_ms"] if calm["p50_ms"] else None
    latency = [{"row": rows[0].name, "rate": rate, "p99_over_p50": ratio} | calm]
    return {"machine": report.machine(), "elsewhere": found, "latency": latency}


def plant(folder: Path, tenants: int, say: Log) -> None:
    """Fill a data folder with what an earlier run has not made yet.

    Raises:
        BenchmarkError: It cannot be filled.
    """
    if len(read_keys(folder)) >= tenants:
        return
    say(f"making {tenants} tenants in {folder}")
    command = [sys.executable, "-m", "service.bench.seed_tenants", str(folder), str(tenants)]
    # A process of its own, because this one sends the load and should hold nothing that it need not.
    with subprocess.Popen(command, env=environment({}), stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        for line in process.stdout or ():
            say(f"making {tenants} tenants: {line.strip()}")
    if process.returncode:
        raise BenchmarkError(f"the tenants could not be made (exit code {process.returncode})")
