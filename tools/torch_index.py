"""Prints the package index that torch should come from, or nothing for the configured one.

    python tools/torch_index.py

On Linux the plain package index carries torch with CUDA: gigabytes that a machine without an NVIDIA GPU does not use.
There, PyTorch's index of CPU builds is named if it answers within three seconds. A firewall or a missing network means
the configured index. Needs only the standard library: it runs before anything is installed.
"""

from __future__ import annotations

import sys
import threading
import urllib.request
from pathlib import Path

CPU_INDEX = "https://download.pytorch.org/whl/cpu"
TIMEOUT_S = 3.0
NVIDIA_DRIVER = Path("/proc/driver/nvidia/version")


def reachable(url: str, timeout: float = TIMEOUT_S) -> bool:
    """Whether a URL answers with success in time; any failure, a proxy's or TLS's included, means no."""
    found: list[bool] = []

    def ask() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=timeout) as reply:  # noqa: S310
                found.append(reply.status == 200)
        except (OSError, ValueError):
            found.append(False)

    # In a thread, because looking up a name has no timeout of its own.
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(timeout)
    return any(found)


def torch_index(platform: str = sys.platform, driver: Path = NVIDIA_DRIVER, index: str = CPU_INDEX) -> str:
    """The extra index for torch on this machine; empty for none."""
    if not platform.startswith("linux") or driver.exists():
        return ""
    return index if reachable(f"{index}/torch/") else ""


if __name__ == "__main__":
    print(torch_index())
