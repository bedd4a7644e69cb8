"""House weights: the projection all tenants share, learned from the motion corpus in episodes.

Each motion of the corpus is a class, and its views (cameras, speeds, bodies, missing joints) are its shots. What varies
between shots of one motion is nuisance; what varies between motions is what actions are made of. The projection whitens
the first and keeps the directions in which the second is largest: linear discriminant analysis over thousands of
classes, as speaker recognition uses it to learn new voices from seconds (within-class covariance normalisation, Hatch
et al. 2006). A tenant then needs only a small head on R numbers per clip. 2-D and 3-D input differ in their nuisances
and have a projection each.

Beside it stands the prompt module that a tenant's own tuning starts from, trained in the same episodes by gradient.

Letters: B rows, F features of the blocks that are read, R numbers per clip.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

BLOCKS = ("frozen", "descriptors", "completed")
READ = (
    BLOCKS,
    ("frozen", "descriptors"),
)  # what house weights may read; a backbone of before the completed pose reads two
KINDS = ("flat", "deep")  # 2-D and 3-D input
MODULE = "house.module."
VARIANCES = "house.variances"


@dataclass(frozen=True, eq=False)
class SharedProjection:
    """The projections, as they stand in a backbone's file.

    Attributes:
        mean: Per kind of input ``(F,)``.
        projection: Per kind ``(F, R)``, standardisation, whitening and weighting in one.
        blocks: The feature blocks that are read, in order.
        module: The prompt module without its head (see ``prompts.shared_names``), empty where none was trained.
        variances: ``(2, R)``: how much the projection varies between views of a motion, and between motions. None for
            a backbone of before it was measured.
    """

    mean: Mapping[str, Tensor]
    projection: Mapping[str, Tensor]
    blocks: tuple[str, ...] = BLOCKS
    module: Mapping[str, Tensor] = field(default_factory=dict)
    variances: Tensor | None = None

    @property
    def width(self) -> int:
        """R."""
        return int(self.projection["flat"].shape[1])

    def to(self, device: torch.device) -> SharedProjection:
        """The same weights with what ``apply`` reads on a device; what only training reads stays where it is."""
        mean, projection = (
            {kind: values[kind].to(device) for kind in KINDS} for values in (self.mean, self.projection)
        )
        return replace(self, mean=mean, projection=projection)

    def apply(self, features: Tensor, has_depth: Tensor) -> Tensor:
        """Project clips.

        Args:
            features: ``(B, F)``, the feature blocks of ``blocks`` side by side.
            has_depth: ``(B,)`` bool, which rows are 3-D input.

        Returns:
            ``(B, R)`` of unit length.
        """
        if features.device.type != "cpu":
            return self.apply_both(features, has_depth)
        result = features.new_zeros(len(features), self.width)
        for kind, rows in zip(KINDS, (~has_depth, has_depth), strict=True):
            if bool(rows.any()):
                result[rows] = (features[rows] - self.mean[kind]) @ self.projection[kind]
        return functional.normalize(result, dim=-1)

    def apply_both(self, features: Tensor, has_depth: Tensor) -> Tensor:
        """``apply`` without asking which rows there are, for which a GPU would have to be waited for."""
        flat, deep = ((features - self.mean[kind]) @ self.projection[kind] for kind in KINDS)
        return functional.normalize(torch.where(has_depth[:, None], deep, flat), dim=-1)

    def tensors(self) -> dict[str, Tensor]:
        """The tensors of the backbone's file, in float16 but for the variances, which are too small for it."""
        projections = {
            f"house.{kind}.{name}": values[kind].half().contiguous()
            for name, values in (("mean", self.mean), ("projection", self.projection))
            for kind in KINDS
        }
        if self.variances is not None:
            projections[VARIANCES] = self.variances.float().contiguous()
        return projections | {f"{MODULE}{name}": value.half().contiguous() for name, value in self.module.items()}

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], sizes: Mapping[str, int]) -> SharedProjection:
        """Read the ``house.`` tensors of a backbone's file.

        Args:
            tensors: By their full names.
            sizes: How many features each block of the backbone has; which blocks are read follows from F.

        Raises:
            ValueError: If one is missing or has another shape.
        """
        try:
            mean = {kind: tensors[f"house.{kind}.mean"].float() for kind in KINDS}
            projection = {kind: tensors[f"house.{kind}.projection"].float() for kind in KINDS}
        except KeyError as error:
            raise ValueError(f"house weights: tensor {error} is missing") from error
        width = projection["flat"].shape[-1]
        wanted = {sum(sizes[name] for name in blocks): blocks for blocks in READ}
        features = len(mean["flat"]) if len(mean["flat"]) in wanted else next(iter(wanted))
        for kind in KINDS:
            if mean[kind].shape != (features,) or projection[kind].shape != (features, width):
                got = tuple(projection[kind].shape)
                raise ValueError(f"house weights: {kind} has shape {got}, {(features, width)} is wanted")
        module = {name.removeprefix(MODULE): tensors[name].float() for name in tensors if name.startswith(MODULE)}
        variances = tensors.get(VARIANCES)
        if variances is not None and (variances.shape != (2, width) or not bool((variances > 0).all())):
            raise ValueError(f"house weights: {VARIANCES} must be {(2, width)} positive numbers")
        return cls(mean, projection, wanted[features], module, variances)
