"""Secrets of keys made lately, so that a repeated request can be answered as the first one was."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict

SECRET_S = 24 * 3600.0
MAX_SECRETS = 10_000


class IdempotentSecretCache:
    """Secrets of keys made lately, for a replay. In memory only: at rest a key is nothing but a keyed hash."""

    def __init__(self) -> None:
        self._secrets: OrderedDict[str, tuple[float, str]] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, key_id: str, secret: str) -> None:
        """Remember a secret for a day at most."""
        with self._lock:
            self._secrets[key_id] = (time.monotonic() + SECRET_S, secret)
            while len(self._secrets) > MAX_SECRETS:
                self._secrets.popitem(last=False)

    def get(self, key_id: str) -> str | None:
        """The secret of a key, if it is still remembered."""
        with self._lock:
            until, secret = self._secrets.get(key_id, (0.0, ""))
            return secret if time.monotonic() < until else None

    def forget(self, key_id: str) -> None:
        """Drop the secret of a key that was revoked."""
        with self._lock:
            self._secrets.pop(key_id, None)
