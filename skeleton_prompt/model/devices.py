"""Where an engine computes, and how the frozen part of the network is run there.

A GPU spends most of a small batch waiting for the host to launch kernels, and its libraries plan anew for every size
they have not seen. So windows are padded to one of a few sizes there, and for each of these the whole pass can be
recorded once as a CUDA graph, which one launch replays. A CPU gains from neither: there the pass runs as it comes.

Letters: W windows, T frames, S patches, J joints, D width.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Outputs = tuple[Tensor, ...]
Run = Callable[[Tensor, Tensor], Outputs]
"""A pass of poses ``(W, T, J, 3)`` and log durations ``(W,)`` to tensors with W rows each."""

Capture = Callable[[Run, Tensor, Tensor], tuple[Callable[[], None], Outputs]]
"""Records a pass on given tensors; gives what replays it, and the tensors that each replay writes to."""

BUCKETS = (1, 2, 4, 8, 16, 32)
WARM_RUNS = 3  # libraries choose their kernels and take their workspaces in the first runs, which no graph may hold


class DeviceUnavailable(ValueError):
    """A device that does not exist here, or no device at all."""


def resolve(wanted: str) -> torch.device:
    """The device that a setting means.

    Args:
        wanted: ``cpu``, ``cuda`` (the first GPU), ``cuda:N``, or ``auto``: the first GPU if there is one, else the CPU.

    Raises:
        DeviceUnavailable: If it is none of these, or asks for a GPU that is not there.
    """
    if not re.fullmatch(r"auto|cpu|cuda(:\d+)?", wanted):
        raise DeviceUnavailable(f"device is auto, cpu, cuda or cuda:N, not {wanted!r}")
    there = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "cpu" or (wanted == "auto" and not there):
        return torch.device("cpu")
    if not there:
        built = torch.version.cuda
        why = "this torch is built without CUDA" if built is None else f"torch, built for CUDA {built}, finds no GPU"
        raise DeviceUnavailable(f"device {wanted} is asked for, but {why}; use cpu or auto, or see docs/production.md")
    index = int(wanted.partition(":")[2] or 0)
    if index >= there:
        raise DeviceUnavailable(f"device {wanted} is asked for, but the GPUs here are cuda:0 to cuda:{there - 1}")
    return torch.device("cuda", index)


def assigned_device(wanted: str, gpu_id: int | None) -> str:
    """What a setting means for one of several workers that a server gives GPUs to, in the terms of ``resolve``.

    Args:
        wanted: The setting. A device that it names stays; ``auto`` and ``cuda`` take the GPU that was given.
        gpu_id: The GPU that the server gave to this worker; None or negative if it gave none.
    """
    if gpu_id is not None and gpu_id >= 0 and wanted in ("auto", "cuda"):
        return f"cuda:{gpu_id}"
    # Without a GPU of its own a worker would crowd onto the first one, together with all its neighbours.
    return "cpu" if wanted == "auto" else wanted


def describe(device: torch.device) -> str:
    """A device in words."""
    if device.type == "cpu":
        return f"cpu, {os.cpu_count()} cores"
    memory = torch.cuda.get_device_properties(device).total_memory
    return f"{device}, {torch.cuda.get_device_name(device)}, {memory / 2**30:.0f} GiB"


def to_device(values: np.ndarray, device: torch.device | str) -> Tensor:
    """An array as a tensor on a device; on a CPU it shares the array's memory.

    To a GPU it goes by way of page-locked memory, from which the copy runs on while the host prepares the next one.
    """
    tensor, device = torch.from_numpy(values), torch.device(device)
    if device.type != "cuda":
        return tensor.to(device)
    return tensor.pin_memory().to(device, non_blocking=True)


def padded_size(windows: int) -> int:
    """How many windows a pass of so many is padded to: the next of ``BUCKETS``, beyond the last a multiple of it."""
    for size in BUCKETS:
        if windows <= size:
            return size
    return -(-windows // BUCKETS[-1]) * BUCKETS[-1]


class CapturedForward:
    """The frozen part of the network, run on as many windows as there are.

    Args:
        run: The pass. Its rows do not depend on each other.
        padded: Whether windows are padded to ``padded_size`` sizes; the rows that are added are cut off again.
        capture: What records a pass of each of ``BUCKETS``; None runs every pass anew.
    """

    def __init__(self, run: Run, *, padded: bool, capture: Capture | None = None) -> None:
        self._run, self._padded, self._capture = run, padded, capture
        self._recorded: dict[int, tuple[Callable[[], None], tuple[Tensor, Tensor], Outputs]] = {}
        self._lock = threading.Lock()  # a recording has one set of tensors, whoever asks

    @torch.inference_mode()
    def record(self, pose: Tensor, log_seconds: Tensor) -> None:
        """Record every bucket, largest first, so that the smaller ones fit into its memory.

        Args:
            pose: ``(1, T, J, 3)`` on the device, any sound window.
            log_seconds: ``(1,)``.
        """
        if self._capture is None:
            return
        for size in reversed(BUCKETS):
            given = pose.repeat(size, 1, 1, 1), log_seconds.repeat(size)
            replay, outputs = self._capture(self._run, *given)
            self._recorded[size] = replay, given, outputs

    def __call__(self, pose: Tensor, log_seconds: Tensor) -> Outputs:
        """The pass on ``(W, T, J, 3)`` and ``(W,)``: tensors with W rows each, which are the caller's own."""
        if not self._padded:
            return self._run(pose, log_seconds)
        W = len(pose)
        size = padded_size(W)
        recorded = self._recorded.get(size)
        if recorded is None:
            if size > W:
                pose = functional.pad(pose, (0, 0) * (pose.ndim - 1) + (0, size - W))
                log_seconds = functional.pad(log_seconds, (0, size - W))
            return tuple(output[:W] for output in self._run(pose, log_seconds))
        replay, given, outputs = recorded
        with self._lock:
            for own, value in zip(given, (pose, log_seconds), strict=True):
                own[:W].copy_(value)  # rows beyond hold earlier windows, and nobody reads what becomes of them
            replay()
            return tuple(output[:W].clone() for output in outputs)


def cuda_capture(device: torch.device) -> Capture:
    """A ``Capture`` that records CUDA graphs, all of them in one pool of memory."""
    pool = torch.cuda.graph_pool_handle()

    def capture(run: Run, pose: Tensor, log_seconds: Tensor) -> tuple[Callable[[], None], Outputs]:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.device(device):
            aside = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
            aside.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(aside):
                for _ in range(WARM_RUNS):
                    run(pose, log_seconds)
            torch.cuda.current_stream(device).wait_stream(aside)
            # Other threads may use the GPU meanwhile: an older backbone is loaded while the current one answers.
            with torch.cuda.graph(graph, pool=pool, capture_error_mode="thread_local"):
                outputs = run(pose, log_seconds)
        return graph.replay, outputs

    return capture
