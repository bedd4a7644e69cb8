"""Pre-training in several processes, started by ``torchrun``: each has its own motions, all take the same step.

The gradients of all processes are averaged in one call a step. ``DistributedDataParallel`` would overlap that with the
backward pass, but it must own a single forward call per step, and a step here makes two (two views of one motion); for
a few megabytes of gradients there is nothing to win.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor

PATIENCE = timedelta(hours=2)  # how long others wait while the first process evaluates or ships


@dataclass(frozen=True)
class ProcessGroup:
    """This process among those of the run; one process alone is rank 0 of 1.

    Attributes:
        rank: Its number.
        world: How many there are.
        local: Its number on this machine, which is its GPU.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def first(self) -> bool:
        """Whether this process is the one that writes files, evaluates and talks."""
        return self.rank == 0

    def device(self, wanted: str | None) -> torch.device:
        """The device of this process: ``wanted``, or CUDA where there is one, each process its own GPU."""
        device = torch.device(wanted or ("cuda" if torch.cuda.is_available() else "cpu"))
        if device.type == "cuda" and device.index is None and self.world > 1:
            device = torch.device("cuda", self.local)
        return device

    def wait(self) -> None:
        """Until all processes are here."""
        if self.world > 1:
            dist.barrier()

    def same(self, tensors: Sequence[Tensor]) -> None:
        """Give every process the first one's values."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor.data, 0)

    def average_gradients(self, weights: Sequence[Tensor]) -> None:
        """Replace every gradient by the mean over the processes; weights without one are left out by all alike."""
        if self.world == 1:
            return
        gradients = [weight.grad for weight in weights if weight.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        flat /= self.world
        for gradient, mean in zip(gradients, torch.split(flat, [g.numel() for g in gradients]), strict=True):
            gradient.copy_(mean.view_as(gradient))

    def gather(self, rows: Tensor) -> Tensor:
        """The rows ``(B, ...)`` of all processes, ``(world * B, ...)``; only this process' own carry gradients."""
        if self.world == 1:
            return rows
        parts = [torch.empty_like(rows) for _ in range(self.world)]
        dist.all_gather(parts, rows.detach().contiguous())
        parts[self.rank] = rows
        return torch.cat(parts)

    def share(self, loss: Tensor) -> Tensor:
        """A loss over gathered rows, with the gradient that the mean over the processes turns into the whole one.

        Every process computes the same loss but differentiates it by its own rows only, so their sum is the gradient;
        averaging divides by their number, which is undone here.
        """
        return loss if self.world == 1 else loss + (self.world - 1) * (loss - loss.detach())


@contextmanager
def joined(device: str | None = None) -> Iterator[ProcessGroup]:
    """Join the run that ``torchrun`` started, or be alone where there is none.

    Args:
        device: ``cpu`` or ``cuda`` if the user chose; NCCL connects GPUs, Gloo all else.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield ProcessGroup()
        return
    ranks = ProcessGroup(int(os.environ["RANK"]), world, int(os.environ.get("LOCAL_RANK", "0")))
    on_gpu = ranks.device(device).type == "cuda"
    if on_gpu:
        torch.cuda.set_device(ranks.device(device))
    dist.init_process_group("nccl" if on_gpu else "gloo", timeout=PATIENCE)
    try:
        yield ranks
    finally:
        dist.destroy_process_group()
