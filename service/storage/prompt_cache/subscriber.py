"""Subscriber for prompt events: loads new versions around their activation. Best effort, see ``redis_tier``."""

from __future__ import annotations

import threading
from collections.abc import Callable

import redis
import structlog

from service.redis_client import connect, describe_error
from service.storage.prompt_cache.redis_tier import CHANNEL, REDIS_PAUSE_S, PromptEvent

log = structlog.get_logger(__name__)

LISTEN_S = 0.5  # longest that stopping waits
TIMEOUT_S = 5.0  # not on the path of any request
HEALTH_CHECK_S = 30  # a connection that a firewall dropped is noticed by then


class PromptEventSubscriber:
    """Thread that listens for prompt events until stopped; survives Redis failures.

    Args:
        url: Where Redis is, as ``Settings.redis_address`` gives it; None disables it.
        hear: Told each message, in the thread.
    """

    def __init__(self, url: str | None, hear: Callable[[PromptEvent], object]) -> None:
        self._url = url
        self._hear = hear
        self._stopping = threading.Event()
        self._listening = threading.Event()
        self._thread = threading.Thread(target=self._run, name="prompt-news", daemon=True)

    @property
    def listening(self) -> bool:
        """Whether the subscription is active."""
        return self._listening.is_set()

    def start(self) -> None:
        """Start the thread."""
        if self._url is not None:
            self._thread.start()

    def stop(self) -> None:
        """Stop the thread."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join(TIMEOUT_S + LISTEN_S)

    def _run(self) -> None:
        told = False
        while not self._stopping.is_set():
            try:
                self._listen()
                told = False
            except redis.RedisError as error:
                if self._listening.is_set() or not told:
                    log.info("no news of prompts; each is loaded when it is asked for", error=describe_error(error))
                told = True
            except Exception:
                log.warning("listening for news of prompts failed; trying again", exc_info=True)
            self._listening.clear()
            self._stopping.wait(REDIS_PAUSE_S)

    def _listen(self) -> None:
        with connect(str(self._url), TIMEOUT_S, health_check_s=HEALTH_CHECK_S) as client, client.pubsub() as pubsub:
            pubsub.subscribe(CHANNEL)
            while not self._stopping.is_set():
                message = pubsub.get_message(timeout=LISTEN_S)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    self._listening.set()
                elif message["type"] == "message":
                    self._dispatch(message["data"])

    def _dispatch(self, data: bytes) -> None:
        try:
            self._hear(PromptEvent.decoded(data))
        except Exception as error:
            # The error of a version that cannot be loaded is raised to requests for it.
            log.info("news of a prompt came to nothing", error=f"{type(error).__name__}: {error}")
