"""The forward pass alone: ``python -m service.bench.forward_only``, one JSON line asked, one answered.

Asked ``{"batch": 8, "tenants": 64, "seconds": 1}``; answered with clips a second and CPU milliseconds a clip of
``Engine.forward`` on rows that are prepared already, on one torch thread. This is what a server cannot be faster than.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

import orjson

from service.bench.clips import body, documents
from service.bench.seed_tenants import random_prompt
from service.inference.execution.batch import warm_up
from skeleton_prompt.clips.clip import parse_clip
from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.prompt_file import Prompt

MIXED = 64


def measure(
    engine: Engine, people: list[PreparedPerson], prompts: list[Prompt], batch: int, seconds: float
) -> dict[str, Any]:
    """Run batches, their rows taken in turn from people and prompts, for at least so long and at least twice."""
    turn = done = 0
    cpu, began = time.process_time(), time.perf_counter()
    while done < 2 * batch or time.perf_counter() - began < seconds:
        rows = [(people[i % len(people)], prompts[i % len(prompts)]) for i in range(turn, turn + batch)]
        bad = [outcome for outcome in engine.forward(rows) if isinstance(outcome, Exception)]
        if bad:
            raise bad[0]
        turn, done = turn + batch, done + batch
    took = time.perf_counter() - began
    return {"batch": batch, "per_second": done / took, "cpu_ms": 1000 * (time.process_time() - cpu) / done}


def main() -> None:
    """Answer until stdin ends."""
    engine = Engine.load(sys.argv[1] if len(sys.argv) > 1 else "edge", threads=1)
    people = [engine.prepare(parse_clip(orjson.loads(body(document, "json"))))[0][0] for document in documents()]
    prompts = [random_prompt(engine, f"bench-{number:05d}", 1, number) for number in range(MIXED)]
    warm_up(engine)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        some = prompts[: asked["tenants"]]
        print(json.dumps(measure(engine, people, some, asked["batch"], asked["seconds"])), flush=True)


if __name__ == "__main__":
    main()
