"""Engine process of the gateway: ``python -m service.inference.local.worker_main SOCKET HEARTBEAT``, descriptors both.

One thread, one request at a time, over the socket that it was born with. It knows no tenant, no database and no store:
models and prompts come through the socket, and go when the gateway says so. When the socket closes it ends.
"""

from __future__ import annotations

import contextlib
import gc
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from service.error_codec import encode_error
from service.inference.execution.array_codec import encode_array
from service.inference.execution.batch import warm_up
from service.inference.local import ipc_codec
from service.logs import configure_logging
from service.process.heartbeat import Heartbeat
from skeleton_prompt.model.backbone import parse_backbone
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.prompt_file import Prompt


class RequestHandler:
    """The models and prompts in this process, by the names that the gateway has for them.

    Args:
        engine: The current model.
        options: How other models compute; see ``Engine``.
    """

    def __init__(self, engine: Engine, options: Mapping[str, Any]) -> None:
        self._options = options
        self._engines = {engine.backbone_sha256: engine}
        self._prompts: dict[int, Prompt] = {}

    def handle(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a request: what its verb gives, or the error that it ended with."""
        verbs: dict[str, Callable[[Mapping[str, Any]], dict[str, Any]]]
        verbs = {"forward": self._forward, "features": self._features, "load": self._load}
        try:
            self._evict(request["unused"])
            for number, document in request.get("prompts", ()):
                self._prompts[number] = ipc_codec.decode_prompt(document)
            return verbs[request["verb"]](request)
        except Exception as error:
            return {"error": encode_error(error)}

    def _evict(self, unused: Sequence[str | int]) -> None:
        for name in unused:
            self._engines.pop(str(name), None)
            self._prompts.pop(name, None)  # type: ignore[arg-type]

    def _forward(self, request: Mapping[str, Any]) -> dict[str, Any]:
        chunks = [ipc_codec.decode_chunk(document, self._prompts) for document in request["chunks"]]
        outcomes = self._engines[request["model"]].forward_chunks(chunks)
        return {"outcomes": [ipc_codec.encode_outcome(outcome) for outcome in outcomes]}

    def _features(self, request: Mapping[str, Any]) -> dict[str, Any]:
        people = [ipc_codec.decode_person(person) for person in request["people"]]
        features = self._engines[request["model"]].features(people, request["batch_size"])
        return {"features": encode_array(features)}

    def _load(self, request: Mapping[str, Any]) -> dict[str, Any]:
        sha256 = request["model"]
        backbone = parse_backbone(bytes(request["data"]), f"backbone {sha256[:12]}")
        self._engines[sha256] = Engine(backbone, **self._options)
        gc.freeze()
        return {}


def main() -> None:
    """Load the model that the first message names, say so, then answer until the socket closes."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    if int(sys.argv[2]) >= 0:
        Heartbeat(Path(f"/proc/self/fd/{sys.argv[2]}")).start()
    start = ipc_codec.receive(connection)
    configure_logging(start["log_level"], as_json=start["log_json"])
    try:
        engine = Engine.load(start["backbone"], threads=1, **start["options"])
        warm_up(engine)
    except Exception as error:
        ipc_codec.send(connection, {"error": {"error": "", "detail": str(error) or repr(error)}})
        sys.exit(1)
    computer = RequestHandler(engine, start["options"])
    ipc_codec.send(connection, {"backbone_sha256": engine.backbone_sha256})
    with contextlib.suppress(EOFError, OSError):  # the gateway has closed the socket, or is gone
        while True:
            ipc_codec.send(connection, computer.handle(ipc_codec.receive(connection)))


if __name__ == "__main__":
    main()
