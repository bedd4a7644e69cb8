"""BentoML: one worker with adaptive batches. It reads JSON alone; the binary form is base64 in it."""

from typing import Any

import bentoml
from common import BATCH, Model, person_of


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 256}, logging={"access": {"enabled": False}})
class Clips:
    """One worker that reads, batches and computes."""

    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=10_000)
    def predict(self, clips: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One forward pass of what has come together."""
        return self.model.answers([person_of(clip) for clip in clips])
