"""What a pre-training run writes down: ``log.jsonl``, and TensorBoard events where TensorBoard is installed."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

KINDS = ("train", "held_out")


class RunLog:
    """The figures of a run.

    Args:
        folder: The run's folder; events go to ``tensorboard`` in it.
        step: Where the run continues. Figures of later steps, of a part that was lost when it stopped, are dropped from
            the curves.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        self.path = folder / "log.jsonl"
        self.writer: Any = None
        if self.path.exists():
            kept = [line for line in self.path.read_text().splitlines() if _step(line) <= step]
            partial = self.path.with_suffix(".part")
            partial.write_text("".join(line + "\n" for line in kept))
            partial.replace(self.path)
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            log.warning("TensorBoard is not installed (extra 'pretrain'), so the figures go to %s alone", self.path)
        else:
            self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1 if step else None)

    def report(self, step: int, figures: dict[str, float], kind: str) -> None:
        """Append figures of one kind (``train`` or ``held_out``)."""
        line = {"kind": kind, "step": step, **{k: round(v, 4) for k, v in figures.items() if k != "step"}}
        with self.path.open("a") as file:
            file.write(json.dumps(line) + "\n")
        log.info("%s", line)
        if self.writer:
            for name, value in figures.items():
                if name not in ("step", "seconds"):
                    self.writer.add_scalar(f"{kind}/{name}", value, step)
            self.writer.flush()

    def close(self) -> None:
        """Close the event file."""
        if self.writer:
            self.writer.close()


def _step(line: str) -> int:
    try:
        return int(json.loads(line)["step"])
    except (ValueError, KeyError, TypeError):
        return 2**62  # a line that was cut off when the machine died
