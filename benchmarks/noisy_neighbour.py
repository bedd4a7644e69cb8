"""What a tenant at its worst legal behaviour costs another: a light tenant's predictions alone and beside a heavy one.

    python benchmarks/noisy_neighbour.py                   # the local engine in one engine process

The heavy tenant is two clients, each of which sends 15 people of a clip of 2,040 frames (7 windows each) again and
again. Both phases run in the same process, one after the other; the last line is JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time

import numpy as np

from service.backbone_loader import engine_options
from service.bench.load_generator import percentiles
from service.bench.seed_tenants import random_prompt
from service.errors import ServiceError
from service.inference.interface import PredictionInput
from service.inference.local.engine import LocalEngine
from service.inference.local.process_pool import EngineProcessPool
from service.settings import Settings
from skeleton_prompt.clips.clip import parse_clip
from skeleton_prompt.clips.normalise import prepare
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.prompt_file import PromptRef
from skeleton_prompt.synthetic import make_clip

FRAMES, PEOPLE, CLIENTS = 2040, 15, 2


class Prompts:
    """One prompt for each tenant, always in memory."""

    def __init__(self, prompts) -> None:
        self._prompts = prompts

    def peek(self, ref):
        """The prompt of a tenant."""
        return self._prompts[ref.tenant]

    def get(self, ref):
        """The same, from memory."""
        return self._prompts[ref.tenant], "memory"


def person_of(frames: int):
    """A person of a synthetic clip of so many frames at 30 a second."""
    clip = make_clip("wave", np.random.default_rng(0))
    keypoints = np.asarray(clip["keypoints"])
    index = np.arange(frames) % len(keypoints)
    return prepare(parse_clip(clip | {"keypoints": keypoints[index].tolist(), "fps": 30}))[0][0]


async def predict(engine, person, tenant: str, seconds: float = 10.0) -> bool:
    """One prediction; whether it was answered."""
    row = PredictionInput(person, PromptRef(tenant, 1, "0" * 64), 5, None, time.monotonic() + seconds)
    try:
        await engine.predict(row)
    except ServiceError:
        await asyncio.sleep(0.05)  # a refused client comes back
        return False
    return True


async def times_of(engine, person, seconds: float) -> list[float]:
    """Milliseconds of a light tenant's predictions, one after the other."""
    found, end = [], time.perf_counter() + seconds
    while time.perf_counter() < end:
        began = time.perf_counter()
        assert await predict(engine, person, "light"), "the light tenant is never refused"
        found.append(1000 * (time.perf_counter() - began))
    return found


async def measure(seconds: float) -> dict:
    """Both phases."""
    settings = Settings()
    local = Engine.load(settings.backbone)
    prompts = {tenant: random_prompt(local, tenant, 1, number) for number, tenant in enumerate(("light", "heavy"))}
    pool = EngineProcessPool(settings.backbone, engine_options(settings))
    engine = LocalEngine(pool.current, Prompts(prompts), queue_seconds=0.5, on_stop=pool.close)
    await engine.start()
    short, long = person_of(96), person_of(FRAMES)

    async def heavy() -> None:
        while True:
            await asyncio.gather(*(predict(engine, long, "heavy") for _ in range(PEOPLE)))

    try:
        await times_of(engine, short, 1.0)
        alone = await times_of(engine, short, seconds)
        clients = [asyncio.create_task(heavy()) for _ in range(CLIENTS)]
        await asyncio.sleep(1.0)
        beside = await times_of(engine, short, seconds)
        for client in clients:
            client.cancel()
        chunk_ms = 4000 * engine._window_s
    finally:
        await engine.stop()
    return {"windows": len(long.pose), "alone": percentiles(alone), "beside": percentiles(beside), "chunk_ms": chunk_ms}


def main() -> None:
    """Print a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15.0)
    found = asyncio.run(measure(parser.parse_args().seconds))
    print("| light tenant | p50 ms | p95 ms | p99 ms |\n|---|---|---|---|")
    for phase in ("alone", "beside"):
        print(f"| {phase} | " + " | ".join(f"{found[phase][f'{p}_ms']:.1f}" for p in ("p50", "p95", "p99")) + " |")
    print(f"one chunk of four windows: {found['chunk_ms']:.1f} ms")
    print(json.dumps(found))


if __name__ == "__main__":
    main()
