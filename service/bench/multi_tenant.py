"""Many tenants, few of whose prompts fit into memory (S5); and how long a start takes (S6)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from service.bench import load_generator, process_stats
from service.bench.measure import BenchCase, run_trial
from service.bench.profile import BenchmarkPlan
from service.bench.servers import Server, service

Log = Callable[[str], object]
_PROMPT_MS = re.compile(r"prompt;dur=([0-9.]+)")
FEW = 64


def zipf(tenants: int, count: int, seed: int = 0, exponent: float = 1.0) -> list[int]:
    """Who asks: the n-th most frequent tenant asks ``1 / n ** exponent`` as often as the first; ``count`` draws.

    Ranks are dealt to tenants at random, so that those who ask most are not those who were made first.
    """
    rng = np.random.default_rng(seed)
    weights = 1.0 / np.arange(1, tenants + 1) ** exponent
    ranks = rng.choice(tenants, size=count, p=weights / weights.sum())
    return [int(tenant) for tenant in rng.permutation(tenants)[ranks]]


def by_cache(run: load_generator.Run) -> dict[str, dict[str, Any]]:
    """Waiting times, and those for the prompt alone, by where the prompt was found."""
    found: dict[str, dict[str, Any]] = {}
    for layer in ("memory", "redis", "store"):
        mine = [outcome for outcome in run.outcomes if outcome.ok and outcome.headers.get("X-Prompt-Cache") == layer]
        prompt = [float(said[1]) for one in mine if (said := _PROMPT_MS.search(one.headers.get("Server-Timing", "")))]
        times = load_generator.percentiles(prompt)
        found[layer] = {
            "requests": len(mine),
            **load_generator.percentiles([outcome.ms for outcome in mine]),
            **{f"prompt_{name}": value for name, value in times.items()},
        }
    return found


def many_tenants(order: BenchmarkPlan, planted: Path, say: Log) -> dict[str, Any]:
    """S5: Zipf traffic over very many tenants, twice the same, beside what few tenants cost on the same server."""
    profile = order.profile
    log = order.data / "tenants.log"
    settings = {"prompt_cache_entries": str(profile.cached), "backbone": order.backbone}
    found: dict[str, Any] = {"tenants": profile.tenants, "cached": profile.cached}
    with service("embedded", planted, log, **settings) as server:
        asked = zipf(len(server.keys), profile.traffic)
        few = replace(server, keys=server.keys[:FEW])
        say("a few of many tenants")
        found["few_of_many"] = asyncio.run(
            run_trial(BenchCase(few, "msgpack", FEW), _drive(profile.clients, profile.traffic // 2))
        )
        # The gateway alone: what Redis holds is bounded by its own limit.
        found["memory_before"] = process_stats.memory(server.pid)
        for name in ("first", "second"):
            say(f"{len(server.keys)} tenants, {name} pass")
            found[name] = asyncio.run(_pass(server, asked, profile.clients))
            found[f"memory_{name}"] = process_stats.memory(server.pid)
        found["peak"] = process_stats.resource_usage(server.pid).peak
    return found


def _drive(clients: int, most: int) -> Callable[..., Any]:
    async def drive(session: Any, requests: Sequence[load_generator.Request]) -> load_generator.Run:
        return await load_generator.closed_loop(session, requests, clients=clients, seconds=600, most=most)

    return drive


async def _pass(server: Server, asked: Sequence[int], clients: int) -> dict[str, Any]:
    """One request of each tenant in the list, in order."""
    bodies = server.requests("msgpack")
    requests = [
        load_generator.Request(one.url, {**one.headers, "Authorization": f"Bearer {server.keys[tenant]}"}, one.body)
        for tenant, one in zip(asked, (bodies[i % len(bodies)] for i in range(len(asked))), strict=True)
    ]
    cpu = process_stats.cpu_seconds(server.pid)
    async with load_generator.connect() as session:
        run = await load_generator.closed_loop(session, requests, clients=clients, seconds=600, most=len(requests))
    summary = run.summary()
    spent = 1000 * (process_stats.cpu_seconds(server.pid) - cpu) / max(1, summary["answered"])
    return summary | {"cpu_ms": spent, "by_cache": by_cache(run)}


def starts(order: BenchmarkPlan, planted: Path, say: Log) -> dict[str, list[float]]:
    """S6: seconds from the start of the program to a ready service, several times."""
    found: dict[str, list[float]] = {}
    for number in range(order.profile.starts):
        for engine in order.engines:
            say(f"start {number + 1} of {engine}")
            log = order.data / f"start-{engine}.log"
            with service(engine, planted / engine, log, engine=engine, backbone=order.backbone) as server:
                found.setdefault(engine, []).append(server.start_s)
    return found
