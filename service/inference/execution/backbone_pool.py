"""The current model and, where prompts need them, a few of older backbones.

A prompt is served on the backbone that it was made on, whichever the service runs on now. Older ones are loaded when
the first row asks for them; the least recently used one makes room, but never while a row is on its way to it. All of
this happens on the event loop, so there is nothing to lock; only the loading itself is done by a thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import structlog

from service.errors import EngineUnavailable
from service.inference.interface import PromptedModel

log = structlog.get_logger(__name__)

RETRY_AFTER_S = 30.0  # a file that is gone or damaged is not read again for every request


@dataclass(eq=False)
class LoadedBackbone:
    """An old model in memory, and how many rows are on their way to it."""

    model: PromptedModel
    rows: int = 0


class BackbonePool:
    """Gives each row the model of its prompt's backbone.

    Args:
        current: The model that the service runs on.
        load: Gives the model of another backbone by its SHA-256; called in a thread. None serves no other.
        most: How many others may be in memory at once.
    """

    def __init__(
        self, current: PromptedModel, load: Callable[[str], PromptedModel] | None = None, most: int = 2
    ) -> None:
        self.current = current
        self._load = load
        self._most = most
        self._places: OrderedDict[str, LoadedBackbone] = OrderedDict()
        self._loading: dict[str, asyncio.Task[LoadedBackbone]] = {}
        self._failed: dict[str, tuple[float, str]] = {}
        self._changed = asyncio.Event()
        # One thread of its own: whoever waits for a backbone keeps nobody's prompt waiting.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="backbones")

    @property
    def loaded(self) -> int:
        """How many old models are in memory."""
        return len(self._places)

    def runs_on_current(self, sha256: str) -> bool:
        """Whether the current model answers for this backbone; no other one can, where others are not loaded."""
        return sha256 == self.current.backbone_sha256 or self._load is None

    @contextlib.asynccontextmanager
    async def acquire(self, sha256: str) -> AsyncIterator[PromptedModel]:
        """The model of a backbone, which stays in memory at least until the end of the block.

        Raises:
            EngineUnavailable: The backbone cannot be loaded.
        """
        if self.runs_on_current(sha256):
            yield self.current
            return
        place = await self._place(sha256)
        place.rows += 1
        try:
            yield place.model
        finally:
            place.rows -= 1
            self._notify()

    def close(self) -> None:
        """Load nothing more."""
        for task in self._loading.values():
            task.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)

    async def _place(self, sha256: str) -> LoadedBackbone:
        while True:
            place = self._places.get(sha256)
            if place is not None:
                self._places.move_to_end(sha256)
                return place
            self._refuse_failed(sha256)
            loading = self._loading.get(sha256)
            if loading is None and self._has_room():
                # A task of its own: it goes on for the others who wait when the first client leaves.
                loading = self._loading[sha256] = asyncio.create_task(self._load_backbone(sha256))
                loading.add_done_callback(_consume_exception)
            if loading is not None:
                return await asyncio.shield(loading)
            await self._changed.wait()

    def _has_room(self) -> bool:
        """Whether another model may come into memory; the least recently used idle one goes, if need be."""
        if len(self._places) + len(self._loading) < self._most:
            return True
        idle = next((sha256 for sha256, place in self._places.items() if not place.rows), None)
        if idle is None:
            return False
        del self._places[idle]
        log.info("an old backbone makes room for another", backbone=idle[:12])
        return True

    async def _load_backbone(self, sha256: str) -> LoadedBackbone:
        assert self._load is not None  # noqa: S101  # else nobody asks
        try:
            model = await asyncio.get_running_loop().run_in_executor(self._thread, self._load, sha256)
        except Exception as error:
            known = sha256 in self._failed
            self._failed[sha256] = (time.monotonic() + RETRY_AFTER_S, str(error) or type(error).__name__)
            if not known:
                log.error("an old backbone cannot be loaded; its prompts answer 503", backbone=sha256, error=str(error))
            raise self._unavailable(sha256) from error
        else:
            self._failed.pop(sha256, None)
            place = self._places[sha256] = LoadedBackbone(model)
            log.info("an old backbone is loaded for prompts made on it", backbone=sha256[:12])
            return place
        finally:
            del self._loading[sha256]
            self._notify()

    def _refuse_failed(self, sha256: str) -> None:
        until, _ = self._failed.get(sha256, (0.0, ""))
        if time.monotonic() < until:
            raise self._unavailable(sha256)

    def _unavailable(self, sha256: str) -> EngineUnavailable:
        until, why = self._failed[sha256]
        detail = f"This version was made on backbone {sha256[:12]}, which cannot be loaded: {why}."
        return EngineUnavailable(detail, retry_after=max(1.0, until - time.monotonic()))

    def _notify(self) -> None:
        """Wake those who wait for room."""
        self._changed.set()
        self._changed = asyncio.Event()


def _consume_exception(task: asyncio.Task[LoadedBackbone]) -> None:
    """Take note of how a task ended: asyncio complains where nobody is left to be told."""
    if not task.cancelled():
        task.exception()
