"""The scenarios, each of which gives figures; ``targets`` judges them afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from service.bench import load_generator, process_stats
from service.bench.measure import BenchCase, RawForward, median_of_trials, raw_forward, run_trial
from service.bench.profile import BenchmarkPlan, Profile
from service.bench.servers import Server, peer, service

MIXED = 64
FORMS = ("json", "f32", "msgpack")
Log = Callable[[str], object]


def closed(profile: Profile, seconds: float, clients: int | None = None) -> Callable[..., Any]:
    """A drive for ``run_trial``: clients that ask as fast as they are answered."""

    async def drive(session: Any, requests: Sequence[load_generator.Request]) -> load_generator.Run:
        return await load_generator.closed_loop(session, requests, clients=clients or profile.clients, seconds=seconds)

    return drive


def arriving(rate: float, seconds: float, *, evenly: bool = False) -> Callable[..., Any]:
    """A drive for ``run_trial``: so many requests a second, at random moments or at equal distances."""

    async def drive(session: Any, requests: Sequence[load_generator.Request]) -> load_generator.Run:
        arrivals = (load_generator.even_arrivals if evenly else load_generator.random_arrivals)(rate, seconds)
        return await load_generator.open_loop(session, requests, arrivals)

    return drive


def open_servers(stack: ExitStack, order: BenchmarkPlan, planted: Path, say: Log) -> list[Server]:
    """Start everything that is measured side by side."""
    servers = []
    for engine in order.engines:
        say(f"starting {engine}")
        settings = {"engine": engine, "backbone": order.backbone}
        servers.append(stack.enter_context(service(engine, planted / engine, order.data / f"{engine}.log", **settings)))
    for folder in order.peers:
        say(f"starting {folder.name}")
        servers.append(stack.enter_context(peer(folder, order.data / f"{folder.name}.log")))
    return servers


def rows_of(servers: Sequence[Server]) -> list[BenchCase]:
    """Every form that a server reads, and many tenants where it knows tenants."""
    rows = [BenchCase(server, form) for server in servers for form in server.forms]
    return rows + [BenchCase(server, form, MIXED) for server in servers if server.keys for form in ("json", "msgpack")]


def throughput(servers: Sequence[Server], order: BenchmarkPlan, say: Log) -> dict[str, Any]:
    """S1 to S4: rows take turns, and so does the raw forward pass."""
    profile = order.profile
    rows = rows_of(servers)
    turns: dict[str, list[dict[str, Any]]] = {row.name: [] for row in rows}
    with raw_forward(order.backbone) as raw:
        for row in rows:
            say(f"warming up {row.name}")
            asyncio.run(run_trial(row, closed(profile, profile.warm_up)))
        for number in range(profile.rounds):
            say(f"round {number + 1} of {profile.rounds}: raw forward pass")
            raw.round((1, MIXED), profile.seconds / 8)
            # Each round begins elsewhere, so that no row always follows the same one.
            shift = number * max(1, len(rows) // profile.rounds)
            for row in rows[shift:] + rows[:shift]:
                say(f"round {number + 1} of {profile.rounds}: {row.name}")
                turns[row.name].append(asyncio.run(run_trial(row, closed(profile, profile.seconds))))
        return {
            "raw": raw_table(raw),
            "rows": [figures(row, turns[row.name], raw, profile) for row in rows],
            "servers": [about(server) for server in servers],
        }


def raw_table(raw: RawForward) -> list[dict[str, Any]]:
    """Medians of the raw forward pass by batch and tenants."""
    found = []
    for batch, tenants in sorted(raw.found):
        values = {what: raw.at(batch, tenants, what) for what in ("per_second", "cpu_ms")}
        found.append({"batch": batch, "tenants": tenants} | values)
    return found


def figures(row: BenchCase, turns: Sequence[dict[str, Any]], raw: RawForward, profile: Profile) -> dict[str, Any]:
    """A row's medians beside the raw forward pass at its batch."""
    found = median_of_trials(turns)
    # Where a server does not tell its batches, the largest that so many clients can fill: the hardest to compare with.
    batch = found.get("batch", float(min(profile.clients, 16)))
    kept = min(row.tenants, MIXED)
    best = raw.at(batch, kept, "per_second")
    forward = raw.at(batch, kept, "cpu_ms")
    head = {"row": row.name, "server": row.server.name, "form": row.form, "tenants": row.tenants}
    beside = {"raw_batch": batch, "raw_per_second": best, "of_raw": found["per_second"] / best, "raw_cpu_ms": forward}
    own = {"own_cpu_ms": found["cpu_ms"] - forward} if "cpu_ms" in found else {}
    return head | found | beside | own


def about(server: Server) -> dict[str, Any]:
    """What is to be known of a server after it was loaded."""
    memory = asdict(process_stats.resource_usage(server.pid)) if server.pid else {}
    return {"server": server.name, "start_s": server.start_s, "about": dict(server.about)} | memory


def latency(
    servers: Sequence[Server], order: BenchmarkPlan, capacity: dict[str, float], say: Log
) -> list[dict[str, Any]]:
    """S4 and L1: waiting times at half of what the closed loop found, and what grew meanwhile."""
    found = []
    for server in servers:
        row = BenchCase(server, "json")
        rate = capacity[row.name] / 2
        say(f"half capacity: {row.name}, {rate:.0f} a second")
        before = process_stats.resource_usage(server.pid) if server.pid else None
        one = asyncio.run(run_trial(row, arriving(rate, order.profile.latency_s)))
        # Random arrivals queue up by themselves; even ones show what the server adds.
        even = asyncio.run(run_trial(row, arriving(rate, order.profile.latency_s / 2, evenly=True)))
        grown: dict[str, Any] = {}
        if before is not None:
            after = process_stats.resource_usage(server.pid)
            grown = {"memory_grown": after.memory / before.memory - 1, "files_grown": after.files - before.files}
        ratios = {"p99_over_p50": _spread(one), "even_p99_over_p50": _spread(even)}
        found.append({"row": row.name, "rate": rate} | ratios | one | grown)
    return found


def _spread(run: dict[str, Any]) -> float | None:
    return run["p99_ms"] / run["p50_ms"] if run["p50_ms"] else None


def overload(server: Server, order: BenchmarkPlan, capacity: float, usual: float | None, say: Log) -> dict[str, Any]:
    """L2: three times as many requests as it can answer, and how soon it is its old self again.

    Args:
        server: One of our own.
        order: The run.
        capacity: Answers a second.
        usual: p95 in ms at half capacity.
        say: Told what happens.
    """
    say(f"three times capacity: {server.name}")
    requests = server.requests("json", MIXED)

    async def flood() -> tuple[load_generator.Run, float | None]:
        async with load_generator.connect() as session:
            arrivals = load_generator.even_arrivals(3 * capacity, order.profile.overload_s)
            flooded = await load_generator.open_loop(session, requests, arrivals)
            last = max(outcome.due for outcome in flooded.outcomes)
            calm = await load_generator.closed_loop(session, requests, clients=1, seconds=10)
        limit = 2 * (usual or 100.0)
        good = [outcome.due for outcome in calm.outcomes if outcome.ok and outcome.ms <= limit]
        # Counted from the last request of the flood; what it left in the queue is answered meanwhile.
        return flooded, min(good) + flooded.seconds - last if good else None

    flooded, recovered = asyncio.run(flood())
    refused = [outcome for outcome in flooded.outcomes if outcome.status in (429, 503)]
    times = load_generator.percentiles([outcome.ms for outcome in refused])
    return {
        "server": server.name,
        "rate": 3 * capacity,
        "summary": flooded.summary(),
        "refused": len(refused),
        "refused_ms": times,
        "with_retry_after": sum("Retry-After" in outcome.headers for outcome in refused),
        "usual_p95_ms": usual,
        "recovered_s": recovered,
    }
