"""An engine whose backbone has learnt nothing: what the form of the network gives by itself."""

from __future__ import annotations

import torch

from skeleton_prompt.model.backbone import Backbone
from skeleton_prompt.model.engine import Engine


def random_engine(engine: Engine, seed: int = 0) -> Engine:
    """An engine of the same form whose backbone has learnt nothing."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        backbone = Backbone(engine.backbone.config)
    backbone.sha256 = f"random weights, seed {seed}, {engine.backbone.config}"
    return Engine(backbone)
