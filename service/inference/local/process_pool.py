"""Engine processes of the gateway's own: they compute, so that Python's one lock stays with the gateway.

In one process every operation of a forward pass has to win that lock back from the requests that are being decoded
meanwhile, and both suffer; two processes use two cores. A process that dies is started again, and what it was asked
is asked once more of another.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from subprocess import Popen, TimeoutExpired
from typing import Any
from weakref import WeakKeyDictionary

import structlog

from service.backbone_loader import engine_options
from service.error_codec import decode_error
from service.errors import EngineUnavailable
from service.inference.execution.array_codec import decode_array
from service.inference.interface import WorkerCrashed
from service.inference.local import ipc_codec
from service.process.child import FIRST_PAUSE_S, LONGEST_PAUSE_S, SECRETS, STEADY_AFTER_S, spawn
from service.process.heartbeat import HeartbeatMonitor
from service.settings import Settings
from skeleton_prompt.clips.normalise import PreparedPerson
from skeleton_prompt.model.decision import DecisionOptions, Prediction, decide
from skeleton_prompt.model.prompt_file import Array, Prompt
from skeleton_prompt.model.window_sums import Chunk, Result, WindowSums

log = structlog.get_logger(__name__)

START_S = 120.0  # on a machine that is busy or cold
CALL_TIMEOUT_S = 60.0  # a batch takes a fraction of a second: a process that is silent for this long hangs
ACQUIRE_TIMEOUT_S = 8.0  # for a process, while one is being started again
MAX_ATTEMPTS = 2
HUNG_AFTER_S = 8.0  # without a heartbeat
HEARTBEAT_CHECK_S = 1.0

Reader = Callable[[], bytes]


class EngineStartError(RuntimeError):
    """An engine process does not start; the message is what it said."""


class EngineWorker:
    """One running process. One thread at a time may ask it."""

    def __init__(self, start: Mapping[str, Any]) -> None:
        ours, its = socket.socketpair()
        # A file in memory, which the process touches: only the absence of that shows a process that was stopped.
        beats = os.memfd_create("heartbeat") if hasattr(os, "memfd_create") else -1
        self.heartbeat = HeartbeatMonitor(Path(f"/proc/self/fd/{beats}"), HUNG_AFTER_S)
        self._beats = beats
        command = [sys.executable, "-m", "service.inference.local.worker_main", str(its.fileno()), str(beats)]
        # `python -m` would otherwise look for `service` in the current folder first, and users have such folders.
        env = {name: value for name, value in os.environ.items() if name not in SECRETS} | {"PYTHONSAFEPATH": "1"}
        try:
            with its:
                given = [its.fileno(), *([beats] if beats >= 0 else [])]
                self.process: Popen[bytes] = spawn(command, env=env, output=None, descriptors=given)
        except OSError:
            ours.close()
            self.forget_heartbeat()
            raise
        self._connection = ours
        self._start = start
        self.models: set[str] = set()
        self.prompts: set[int] = set()
        self.unused: deque[str | int] = deque()  # models and prompts that nobody holds any more

    def handshake(self) -> str:
        """Tell it what to load and wait until it has; gives the backbone's SHA-256.

        Raises:
            EngineStartError: It ends or fails instead.
        """
        self._connection.settimeout(START_S)
        try:
            ipc_codec.send(self._connection, self._start)
            answer = ipc_codec.receive(self._connection)
        except (EOFError, OSError) as error:
            raise EngineStartError(f"The engine process ended or hung while it loaded the model: {error}.") from error
        if "error" in answer:
            raise EngineStartError(str(decode_error(answer["error"])))
        self._connection.settimeout(CALL_TIMEOUT_S)
        sha256 = str(answer["backbone_sha256"])
        self.models.add(sha256)
        return sha256

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask it something.

        Raises:
            Gone: It is, or hangs.
            Exception: What it failed with.
        """
        unused = [self.unused.popleft() for _ in range(len(self.unused))]
        self.models.difference_update(unused)
        self.prompts.difference_update(unused)
        try:
            ipc_codec.send(self._connection, request | {"unused": unused})
            answer = ipc_codec.receive(self._connection)
        except (EOFError, OSError) as error:
            raise WorkerCrashed(str(error)) from error
        if "error" in answer:
            raise decode_error(answer["error"])
        return answer

    def end(self) -> None:
        """Kill it: it holds nothing that another could not load again."""
        self.process.kill()

    def forget_heartbeat(self) -> None:
        """Close the heartbeat's file; for the thread that supervises the process, once it has ended."""
        if self._beats >= 0:
            os.close(self._beats)
            self._beats = -1

    def close(self) -> None:
        """Let go of its socket; for the thread that has the process, since others may be given the same descriptor."""
        self._connection.close()


class EngineProcessPool:
    """So many processes with the same model, each kept alive by a thread of its own.

    Args:
        backbone: The model, as ``Engine.load`` names it.
        options: How it computes; see ``Engine``.
        count: How many processes.
        log_level: Of the processes.
        log_json: Likewise.
        on_start: Told of each process that became ready.

    Attributes:
        failure: Why none of them could be started, if so.
    """

    def __init__(
        self,
        backbone: str,
        options: Mapping[str, Any],
        count: int = 1,
        *,
        log_level: str = "info",
        log_json: bool = False,
        on_start: Callable[[], None] = lambda: None,
    ) -> None:
        self.count = count
        self.on_start = on_start
        self._start = {"backbone": backbone, "options": options, "log_level": log_level, "log_json": log_json}
        self._alive: list[EngineWorker] = []
        self._ready = 0  # how many of them have the model
        self._idle: list[EngineWorker] = []
        self._backbone_sha256: str | None = None
        self.failure: EngineStartError | None = None
        self._closing = False
        self._changed = threading.Condition()
        self._numbers: WeakKeyDictionary[Prompt, int] = WeakKeyDictionary()
        self._counter = itertools.count()
        self._keepers = [
            threading.Thread(target=self._supervise, name=f"engine-{number + 1}", daemon=True)
            for number in range(count)
        ]

    @classmethod
    def of(cls, settings: Settings) -> EngineProcessPool:
        """Those that the settings ask for."""
        options = engine_options(settings)
        return cls(
            settings.backbone, options, settings.engine_processes,
            log_level=settings.log_level, log_json=settings.log_json,
        )  # fmt: skip

    @property
    def pids(self) -> list[int]:
        """The ids of the processes."""
        with self._changed:
            return [process.process.pid for process in self._alive]

    def start(self) -> None:
        """Start them, without waiting for them; a second call does nothing."""
        for keeper in self._keepers:
            if keeper.ident is None:
                keeper.start()

    def current(self) -> EngineProxy:
        """The current model, once all processes have it; blocks.

        Raises:
            EngineStartError: One of them does not start.
        """
        self.start()
        with self._changed:
            self._changed.wait_for(lambda: self.failure or self._closing or self._ready == self.count)
            if self.failure is not None:
                raise self.failure
            if self._backbone_sha256 is None:
                raise EngineStartError("The service is stopping.")
            return EngineProxy(self, self._backbone_sha256)

    def older(self, sha256: str, read: Reader) -> EngineProxy:
        """The model of another backbone, loaded by one process now and by the others when they need it; blocks.

        Args:
            sha256: Which one.
            read: Gives its file.

        Raises:
            EngineUnavailable: No process can be asked.
            Exception: Of ``read``, or what the process says about the file.
        """
        model = EngineProxy(self, sha256, read)
        model.load()
        weakref.finalize(model, self._forget_prompt, sha256).atexit = False
        return model

    def close(self) -> None:
        """End them, and wait until they have ended."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            for process in self._alive:
                process.end()
        for keeper in self._keepers:
            if keeper.ident is not None:
                keeper.join()

    @contextlib.contextmanager
    def acquire(self) -> Iterator[EngineWorker]:
        """A process for the length of the block; one that fails the block by its socket is ended.

        Raises:
            EngineUnavailable: None became free in time.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._idle or self._closing, ACQUIRE_TIMEOUT_S) or self._closing:
                raise EngineUnavailable("The engine process is being started again.", retry_after=2.0)
            process = self._idle.pop()
        try:
            yield process
        except WorkerCrashed:
            process.end()
            process.close()
            raise
        except BaseException:
            self._release(process)
            raise
        self._release(process)

    def prompt_id(self, prompt: Prompt) -> int:
        """What the processes know a prompt by; it is forgotten when nobody holds the prompt any more."""
        with self._changed:
            number = self._numbers.get(prompt)
            if number is None:
                number = self._numbers[prompt] = next(self._counter)
                weakref.finalize(prompt, self._forget_prompt, number).atexit = False
        return number

    def _release(self, process: EngineWorker) -> None:
        with self._changed:
            if process not in self._alive:  # it has ended meanwhile
                process.close()
                return
            self._idle.append(process)
            self._changed.notify_all()

    def _forget_prompt(self, name: str | int) -> None:
        # Called wherever the last reference goes, so it may wait for nothing.
        for process in tuple(self._alive):
            process.unused.append(name)

    def _supervise(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            lived = self._run_once()
            if lived is None:
                return
            pause = FIRST_PAUSE_S if lived >= STEADY_AFTER_S else pause
            with self._changed:
                if self._changed.wait_for(lambda: self._closing, pause):
                    return
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _run_once(self) -> float | None:
        """Start a process and wait for its end; gives the seconds it lived, None where there shall be no other."""
        began = time.monotonic()
        try:
            process = self._start_process()
        except OSError as error:  # no memory, no file descriptors
            return self._not_started(EngineStartError(f"An engine process cannot be started: {error}."))
        try:
            sha256 = process.handshake()
        except EngineStartError as error:
            process.end()
            self._wait_for_end(process)
            process.close()
            return self._not_started(error)
        with self._changed:
            self._backbone_sha256 = sha256
            self._ready += 1
            self._idle.append(process)
            self._changed.notify_all()
        self.on_start()
        code = self._wait_for_end(process)
        with self._changed:
            self._ready -= 1
            if self._closing:
                return None
        log.error("an engine process ended; it is started again", pid=process.process.pid, returncode=code)
        return time.monotonic() - began

    def _start_process(self) -> EngineWorker:
        process = EngineWorker(self._start)
        with self._changed:
            self._alive.append(process)
            if self._closing:
                process.end()
        return process

    def _wait_for_end(self, process: EngineWorker) -> int:
        while True:
            try:
                code = process.process.wait(HEARTBEAT_CHECK_S)
                break
            except TimeoutExpired:
                if process.heartbeat.is_hung():
                    log.error("an engine process hangs; it is killed", pid=process.process.pid)
                    process.end()
        process.forget_heartbeat()
        with self._changed:
            self._alive.remove(process)
            if process in self._idle:
                self._idle.remove(process)
                process.close()
        return code

    def _not_started(self, error: EngineStartError) -> float | None:
        with self._changed:
            if self._closing:
                return None
            if self._backbone_sha256 is None:  # none has ever worked: this is the failure of the service's own start
                self.failure = error
                self._changed.notify_all()
                return None
        log.error("an engine process did not start", error=str(error))
        return 0.0


class EngineProxy:
    """A model in engine processes, with the verbs of ``Engine`` that predicting needs.

    Args:
        processes: Where it is.
        sha256: Of its backbone.
        read: Gives the backbone's file to a process that does not have it; None for the current one, which all have.
    """

    def __init__(self, processes: EngineProcessPool, sha256: str, read: Reader | None = None) -> None:
        self._processes = processes
        self.backbone_sha256 = sha256
        self._read = read

    def load(self) -> None:
        """Have one process load it.

        Raises:
            EngineUnavailable: The processes are gone or hang.
            Exception: What the process says about the file, or ``read``.
        """
        self.call({"verb": "features", "people": [], "batch_size": 1})

    def features(self, people: Sequence[PreparedPerson], batch_size: int = 16) -> Array:
        """See ``Engine.features``."""
        request = {"verb": "features", "people": [ipc_codec.encode_person(p) for p in people], "batch_size": batch_size}
        return decode_array(self.call(request)["features"])

    def forward_chunks(self, chunks: Sequence[Chunk]) -> list[Result]:
        """See ``PromptedModel.forward_chunks``; asks one process, once.

        Raises:
            WorkerCrashed: The process has ended or hangs.
            EngineUnavailable: No process became free in time.
        """
        numbers = {chunk.prompt: self._processes.prompt_id(chunk.prompt) for chunk in chunks}
        encoded = [ipc_codec.encode_chunk(chunk, numbers[chunk.prompt]) for chunk in chunks]
        with self._processes.acquire() as process:
            answer = self._ask(process, {"verb": "forward", "chunks": encoded}, numbers)
        return [ipc_codec.decode_outcome(part) for part in answer["outcomes"]]

    def forward(self, rows: Sequence[tuple[PreparedPerson, Prompt]]) -> list[Array | Exception]:
        """See ``Engine.forward``; asks a second process if the first ends or hangs.

        Raises:
            EngineUnavailable: No process answers.
        """
        chunks = [Chunk(person, prompt) for person, prompt in rows]
        for _ in range(MAX_ATTEMPTS):
            with contextlib.suppress(WorkerCrashed):
                results = self.forward_chunks(chunks)
                return [r if not isinstance(r, WindowSums) else RuntimeError("not the last chunk") for r in results]
        raise EngineUnavailable("The engine process ended while it computed.", retry_after=2.0)

    def finish(
        self,
        person: PreparedPerson,
        prompt: Prompt,
        logits: Array,
        *,
        top_k: int = 5,
        threshold: float | None = None,
        refusal: float | None = None,
        coverage: float | None = None,
    ) -> Prediction:
        """See ``Engine.finish``; done here, because it costs less than asking."""
        return decide(person, prompt, logits, DecisionOptions(top_k, threshold, refusal, coverage))

    def call(self, request: dict[str, Any]) -> dict[str, Any]:
        """Ask a free process, and another one if it ends or hangs.

        Raises:
            EngineUnavailable: No process answers.
            Exception: What the process failed with.
        """
        for _ in range(MAX_ATTEMPTS):
            with contextlib.suppress(WorkerCrashed), self._processes.acquire() as process:
                return self._ask(process, request, {})
        raise EngineUnavailable("The engine process ended while it computed.", retry_after=2.0)

    def _ask(self, process: EngineWorker, request: dict[str, Any], prompts: Mapping[Prompt, int]) -> dict[str, Any]:
        if self.backbone_sha256 not in process.models and self._read is not None:
            process.call({"verb": "load", "model": self.backbone_sha256, "data": self._read()})
            process.models.add(self.backbone_sha256)
        fresh = {number: prompt for prompt, number in prompts.items() if number not in process.prompts}
        sent = [(number, ipc_codec.encode_prompt(prompt)) for number, prompt in fresh.items()]
        answer = process.call(request | {"model": self.backbone_sha256, "prompts": sent})
        process.prompts.update(fresh)
        return answer
