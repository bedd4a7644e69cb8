"""Who called lately: whose row a request will be, before its body has been decoded."""

from __future__ import annotations

import hashlib
from collections import OrderedDict

MAX_KEYS = 10_000


class KeyTenantCache:
    """Tenants by their keys, to turn requests away early when too much is asked; nobody is let in by it.

    For the event loop's own use, without a lock. Keys are held as hashes.
    """

    def __init__(self) -> None:
        self._tenants: OrderedDict[bytes, str] = OrderedDict()

    def remember(self, secret: str, tenant: str) -> None:
        """Note that this key was good for a tenant just now; the oldest notes go."""
        name = _name(secret)
        self._tenants[name] = tenant
        self._tenants.move_to_end(name)
        if len(self._tenants) > MAX_KEYS:
            self._tenants.popitem(last=False)

    def tenant_of(self, secret: str) -> str | None:
        """The tenant that a key was good for when it was used last, if that is remembered."""
        return self._tenants.get(_name(secret))


def _name(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()
