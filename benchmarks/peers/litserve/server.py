"""LitServe: one worker, dynamic batches, its faster queue. It reads JSON alone; the binary form is base64 in it."""

import sys

import litserve
from common import BATCH, Model, person_of


class Clips(litserve.LitAPI):
    """The three verbs as LitServe names them."""

    def setup(self, device):  # noqa: ARG002  # it is always the CPU
        """Load, in the worker."""
        self.model = Model()

    def decode_request(self, request):
        """A clip's document to a person."""
        return person_of(request)

    def predict(self, people):
        """One forward pass."""
        return self.model.answers(people)

    def encode_response(self, output):
        """As it is."""
        return output


if __name__ == "__main__":
    api = Clips(max_batch_size=BATCH, batch_timeout=0.002)
    server = litserve.LitServer(api, accelerator="cpu", devices=1, workers_per_device=1, fast_queue=True)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), generate_client_file=False, log_level="warning")
