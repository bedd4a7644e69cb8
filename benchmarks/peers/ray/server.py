"""Ray Serve: one replica on one CPU, dynamic batches, raw bodies in every form."""

import os
import signal
import sys

import ray
from common import BATCH, Model, decode, person_of
from ray import serve
from starlette.requests import Request


@serve.deployment(num_replicas=1, max_ongoing_requests=256, ray_actor_options={"num_cpus": 1})
class Clips:
    """One replica that reads, batches and computes."""

    def __init__(self) -> None:
        self.model = Model()

    @serve.batch(max_batch_size=BATCH, batch_wait_timeout_s=0.002)
    async def answers(self, documents):
        """One forward pass of what has come together."""
        return self.model.answers([person_of(document) for document in documents])

    async def __call__(self, request: Request):
        """Read a clip, wait for its row of the batch."""
        return await self.answers(decode(await request.body(), request.headers.get("content-type", "")))


if __name__ == "__main__":
    ray.init(
        include_dashboard=False, log_to_driver=False, runtime_env={"env_vars": {"PYTHONPATH": os.environ["PYTHONPATH"]}}
    )
    serve.start(http_options={"host": "127.0.0.1", "port": int(sys.argv[1])})
    serve.run(Clips.bind(), route_prefix="/predict")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    serve.shutdown()
    ray.shutdown()
