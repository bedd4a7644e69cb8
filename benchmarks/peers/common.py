"""What every peer serves: the frozen backbone of this project with one prompt, by the project's own three verbs.

A peer has no tenants, keys, versions or limits: it does less than the service does. Decoding, preparation, the forward
pass and the answer are the very same code, so that what differs is the server.
"""

from __future__ import annotations

from typing import Any

import msgpack
import orjson

from service.bench.seed_tenants import random_prompt
from service.inference.execution.batch import warm_up
from skeleton_prompt.clips.clip import parse_clip
from skeleton_prompt.clips.normalise import PreparedPerson, prepare
from skeleton_prompt.model.engine import Engine

BATCH = 16  # as the service has it
MSGPACK = "application/msgpack"


def decode(body: bytes, content_type: str = "application/json") -> dict[str, Any]:
    """The clip's document of a request body."""
    return msgpack.unpackb(body) if content_type == MSGPACK else orjson.loads(body)


def person_of(document: dict[str, Any]) -> PreparedPerson:
    """The one person of a clip, checked and prepared as the service does it."""
    return prepare(parse_clip(document))[0][0]


class Model:
    """The backbone on one torch thread, and a prompt."""

    def __init__(self) -> None:
        self.engine = Engine.load("edge", threads=1)
        self.prompt = random_prompt(self.engine, "bench-00000", 1, 0)
        warm_up(self.engine)

    def answers(self, people: list[PreparedPerson]) -> list[dict[str, Any]]:
        """What the service says of each, in one forward pass."""
        found = []
        for person, logits in zip(people, self.engine.forward([(one, self.prompt) for one in people]), strict=True):
            if isinstance(logits, Exception):
                raise logits
            found.append(self.engine.finish(person, self.prompt, logits).to_dict())
        return found
