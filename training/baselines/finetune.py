"""Full fine-tuning: the pre-trained backbone unfrozen, with a linear head on its pooled features.

The head starts from the linear probe and the layers learn the more slowly the earlier they are: both keep a few clips
from tearing up what pre-training built (Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features"; layer-wise
rates as in ELECTRA and BEiT).

Letters: W windows, F pooled features, N classes.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from skeleton_prompt.model.backbone import Backbone
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.features import Windows, frozen_features
from training.baselines.kernels import probe_head
from training.baselines.neural import Net, Schedule
from training.tuning.cross_validation import plan_folds

SLOWER = 0.8  # from one layer to the one below
HEAD = 5.0  # the head's learning rate, relative to the last layer's


class FineTuned(nn.Module):
    """A copy of the backbone and a linear head.

    Args:
        backbone: Is copied.
        mean: ``(F,)`` of the pooled features as pre-trained.
        scale: ``(F,)``.
        weight: ``(N, F)`` to start from.
        bias: ``(N,)``.
    """

    def __init__(self, backbone: Backbone, mean: Tensor, scale: Tensor, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.backbone = copy.deepcopy(backbone).requires_grad_(True)
        self.backbone.lift_head.requires_grad_(False)  # nothing here reads the lifted pose
        self.mean, self.scale = nn.Buffer(mean), nn.Buffer(scale)
        self.head = nn.Linear(weight.shape[1], weight.shape[0])
        with torch.no_grad():
            self.head.weight.copy_(weight)
            self.head.bias.copy_(bias)

    def forward(self, windows: Windows) -> Tensor:
        """Logits ``(W, N)`` of windows."""
        pooled = frozen_features(self.backbone(windows.pose, windows.log_seconds))
        return self.head((pooled - self.mean) * self.scale)  # type: ignore[no-any-return]


def builder(engine: Engine) -> Callable[[Windows, np.ndarray, int], FineTuned]:
    """Builds nets that start from an engine's backbone and the linear probe on it."""

    def build(windows: Windows, labels: np.ndarray, classes: int) -> FineTuned:
        with torch.inference_mode():
            parts = [
                engine.encode(windows.select(range(start, min(start + 16, len(labels))))).features
                for start in range(0, len(labels), 16)
            ]
        features = torch.cat(parts)[:, engine.blocks["frozen"]].numpy()
        plan = plan_folds(labels, [None] * len(labels), 0)
        head = probe_head({"frozen": features}, labels, classes, plan, lambda *_: None)
        tensors = (
            torch.from_numpy(np.asarray(getattr(head, n), np.float32)) for n in ("mean", "scale", "weight", "bias")
        )
        return FineTuned(engine.backbone, *tensors)

    return build


def groups(net: nn.Module) -> list[tuple[float, list[nn.Parameter]]]:
    """Head, last block, ..., first block, embedding, each slower than the one before."""
    assert isinstance(net, FineTuned)  # noqa: S101 - the builder above makes nothing else
    backbone = net.backbone
    result = [(HEAD, list(net.head.parameters())), (1.0, list(backbone.norm.parameters()))]
    taken = {id(p) for _, values in result for p in values}
    for depth, block in enumerate(reversed(list(backbone.blocks))):
        result.append((SLOWER**depth, list(block.parameters())))
        taken |= {id(p) for p in block.parameters()}
    rest = [p for p in backbone.parameters() if id(p) not in taken and p.requires_grad]
    return [*result, (SLOWER ** len(backbone.blocks), rest)]


# Not searched: what about a minute of one core should allow for 135 clips (0.8 s for 16 clips).
SCHEDULE = Schedule(steps=60, passes=8, batch=16, rate=2e-4, decay=0.05)


def fine_tuning(name: str, engine: Engine) -> Net:
    """The baseline."""
    return Net(name, builder(engine), SCHEDULE, groups=groups)
