"""Bare TorchServe: a handler of the usual kind, without gateway.

Bodies arrive as bytes, because JSON of TorchServe's own reading costs it more.
"""

import orjson
from common import Model, decode, person_of


class Handler:
    """What TorchServe calls."""

    def initialize(self, context):  # noqa: ARG002  # as TorchServe calls it
        """Load, in the worker."""
        self.model = Model()

    def handle(self, data, context):
        """One forward pass of what has come together."""
        people = []
        for index, row in enumerate(data):
            kind = context.get_request_header(index, "Content-Type") or ""
            people.append(person_of(decode(bytes(row["body"]), kind)))
        return [orjson.dumps(answer) for answer in self.model.answers(people)]
