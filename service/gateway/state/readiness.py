"""Readiness of the engine, checked at most once in a while, so that probes from anyone cost no forward passes."""

from __future__ import annotations

import asyncio
import time

from service.inference import InferenceEngine

FRESH_S = 1.0


class Readiness:
    """The result of the last check, which concurrent probes share.

    Args:
        engine: What is checked.
        fresh_seconds: Age up to which a result is given again.
    """

    def __init__(self, engine: InferenceEngine, fresh_seconds: float = FRESH_S) -> None:
        self._engine = engine
        self._fresh_seconds = fresh_seconds
        self._lock = asyncio.Lock()
        self._checked = -fresh_seconds
        self._ready = False

    async def check(self) -> bool:
        """Whether a forward pass succeeded, now or up to ``fresh_seconds`` ago."""
        async with self._lock:
            if time.monotonic() - self._checked >= self._fresh_seconds:
                self._ready = await self._engine.is_ready()
                self._checked = time.monotonic()
            return self._ready

    def expire(self) -> None:
        """Forget the last result."""
        self._checked = -self._fresh_seconds
