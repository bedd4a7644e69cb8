import numpy as np
import pytest
import torch

from skeleton_prompt.model.backbone import Backbone, BackboneConfig
from training.pretraining.motion_sampler import MotionSampler
from training.pretraining.validation import HeldOut, aligned_error


def test_the_aligned_error_is_in_metres_and_blind_to_scale_and_place() -> None:
    target = torch.randn(3, 8, 17, 3, generator=torch.Generator().manual_seed(0))
    target -= target[:, :, :1]
    metres = torch.tensor([0.5, 1.0, 2.0])
    assert aligned_error(3 * target + 7, target, metres) == pytest.approx(torch.zeros(3), abs=1e-6)
    wrong = target.clone()
    wrong[:, :, 5] += torch.tensor([0.0, 0.0, 0.17])
    assert aligned_error(wrong, target, metres) == pytest.approx(0.01 * metres, rel=0.1)


def test_a_measured_view_knows_how_large_the_person_is() -> None:
    pose = torch.randn(4, 96, 17, 3, generator=torch.Generator().manual_seed(0))
    placed, _, target, metres = MotionSampler.measured_view(pose, torch.full((4,), 2.0), 3)
    assert torch.equal(placed, MotionSampler.view(pose, torch.full((4,), 2.0), 3)[0])
    bigger = MotionSampler.measured_view(2 * pose, torch.full((4,), 2.0), 3)
    size = (target.flatten(1).norm(dim=1) * metres).numpy()
    assert (bigger[2].flatten(1).norm(dim=1) * bigger[3]).numpy() == pytest.approx(2 * size, rel=1e-4)


def test_a_corpus_without_names_of_actions_is_judged_by_its_recordings(tmp_path) -> None:
    rng = np.random.default_rng(0)
    lengths = [60] * 6
    np.savez(
        tmp_path / "motion.npz", rel=rng.normal(0, 0.4, (360, 17, 3)).astype(np.float16), root=np.zeros((360, 3)),
        offsets=np.cumsum([0, *lengths]), names=np.array([f"own/{i}" for i in range(6)]), source=np.array(["own"] * 6),
        held_out=np.array([True] * 5 + [False]), fps=np.array(30.0),
    )  # fmt: skip
    held_out = HeldOut(tmp_path / "motion.npz")
    assert sorted(np.unique(held_out.labels, return_counts=True)[1]) == [8] * 5
    figures = held_out.figures(Backbone(BackboneConfig("tiny", width=16, blocks=1, heads=2)))
    assert set(figures) == {"mpjpe", "mpjpe_mm", "flat_mm", "depth", "few_shot", "few_shot_hidden"}
    assert 50 < figures["mpjpe_mm"] < 5000
