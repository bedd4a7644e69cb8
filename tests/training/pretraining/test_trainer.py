import dataclasses
import json

import numpy as np
import pytest
import torch

from skeleton_prompt.clips.canonical_skeleton import CANONICAL_MIRROR
from skeleton_prompt.model.backbone import CONFIGS, Backbone, BackboneConfig, backbone_bytes, load_backbone
from training.pretraining import trainer
from training.pretraining.model_card import choose, ship
from training.pretraining.motion_sampler import (
    MotionSampler,
    body_scales,
    facing,
    from_bones,
    load_corpus,
    mirror,
    rotate_y,
    to_bones,
)
from training.pretraining.net2net import grow

pytestmark = pytest.mark.slow

STAND = np.array(
    [[0, 0, 0], [-0.1, 0, 0], [-0.1, -0.45, 0], [-0.1, -0.9, 0], [0.1, 0, 0], [0.1, -0.45, 0], [0.1, -0.9, 0],
     [0, 0.25, 0], [0, 0.5, 0], [0, 0.6, 0.1], [0, 0.75, 0], [0.2, 0.5, 0], [0.25, 0.2, 0], [0.25, -0.05, 0],
     [-0.2, 0.5, 0], [-0.25, 0.2, 0], [-0.25, -0.05, 0]]
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Twenty-four standing people whose joints sway, in the form of the motion corpus."""
    rng = np.random.default_rng(0)
    names = [f"ui_prmd/m0{1 + i % 2}_s{'10' if i % 3 == 0 else '01'}_e{i:02d}" for i in range(48)]
    clips = []
    for i in range(len(names)):
        t = np.linspace(0, 3, 40 + i)[:, None, None]
        clips.append(STAND + 0.1 * np.sin(2 * t * (1 + i % 2) + rng.uniform(0, 6, (1, 17, 3))))
    path = tmp_path_factory.mktemp("corpus") / "motion.npz"
    np.savez(
        path,
        rel=np.concatenate(clips).astype(np.float16),
        root=np.zeros((sum(map(len, clips)), 3), dtype=np.float32),
        offsets=np.cumsum([0, *map(len, clips)]),
        names=np.array(names),
        source=np.array(["ui_prmd"] * len(names)),
        fps=np.array(30.0),
    )
    return path


@pytest.fixture
def config(corpus, tmp_path, monkeypatch):
    monkeypatch.setitem(CONFIGS, "tiny", BackboneConfig("tiny", width=16, blocks=3, heads=2))
    return trainer.PretrainConfig(
        motion=corpus,
        out=tmp_path / "run",
        backbone="tiny",
        steps=4,
        lift_steps=1,
        batch=4,
        evaluate_every=2,
        device="cpu",
    )


def test_held_out_people_are_never_in_the_training_part(corpus) -> None:
    assert len(load_corpus(corpus, held_out=False).weights) == 32
    assert len(load_corpus(corpus, held_out=True).weights) == 16


def test_a_run_that_was_stopped_continues_as_if_it_had_not_been(config, tmp_path) -> None:
    straight = list(trainer.run(config))
    broken = dataclasses.replace(config, out=tmp_path / "broken")
    for figures in trainer.run(broken):
        if figures["step"] == 2:
            break
    assert [figures["step"] for figures in trainer.run(broken)] == [3, 4]
    a, b = (load_backbone(out / "tiny-000004.safetensors") for out in (config.out, broken.out))
    assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert {"lift", "contrast", "held_out_few_shot"} <= straight[-1].keys()
    assert "contrast" not in straight[0]


def test_the_checkpoint_with_the_best_held_out_accuracy_ships_with_its_card(config, tmp_path) -> None:
    list(trainer.run(config))
    log = config.out / "log.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    for line in lines:
        if line["kind"] == "held_out":
            line["few_shot"] = {0: 90.0, 2: 80.0, 4: 70.0}[line["step"]]
            line["few_shot_hidden"] = 50.0
    log.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    assert choose(config.out).step == 2
    shipped = ship(config.out, tmp_path / "store", house_motions=64, house_steps=4)
    card = shipped.with_suffix(".md").read_text()
    assert load_backbone(shipped).sha256 in card
    assert load_backbone(shipped).house is not None
    assert "| UI-PRMD (10 rehabilitation exercises) | 1 | 100 % | 1 minutes: subjects 10 | ODC PDDL 1.0." in card
    assert "CMU" not in card
    assert "random weights" in card
    assert "| lift error in millimetres, after one scale per clip | " in card


def test_the_card_names_the_terms_of_every_source_and_the_lineage_of_the_starting_weights(config, tmp_path) -> None:
    rng = np.random.default_rng(0)
    names = [f"cmu_fbx/{subject}_01" for subject in ("05", "06", "31")] + ["hdm05/HDM_bd_walk_001_120", "mine/a"] * 2
    motion = tmp_path / "motion.npz"
    np.savez(
        motion, rel=rng.normal(0, 0.4, (300 * 7, 17, 3)).astype(np.float16), root=np.zeros((300 * 7, 3)),
        offsets=np.arange(8) * 300, names=np.array(names), source=np.array([name.split("/")[0] for name in names]),
        fps=np.array(30.0), labels=np.array(["walk"] * 7),
    )  # fmt: skip
    start = tmp_path / "old.safetensors"
    start.write_bytes(backbone_bytes(Backbone(BackboneConfig("small", width=8, blocks=3, heads=1))))
    start.with_suffix(".md").write_text("# Old\n\n## Data\n\nIt saw the stars.\n\n## Figures\n\nNone.\n")
    config = dataclasses.replace(config, motion=motion, start=start, steps=2)
    list(trainer.run(config))
    card = ship(config.out, tmp_path / "store", house_motions=0).with_suffix(".md").read_text()
    assert "| CMU Graphics Lab Motion Capture Database | 0 | " in card
    assert "0 minutes: subjects 31 | Free for research" in card
    assert "NSF EIA-0196217" in card
    assert "CC BY-SA 3.0" in card
    assert "| mine | 0 | " in card
    assert f"Started from | `old` with SHA-256 `{load_backbone(start).sha256}`" in card
    assert "### Data of the weights that it started from" in card
    assert "It saw the stars." in card
    assert "None." not in card


def test_bodies_are_symmetric_and_vary_by_part_and_by_bone() -> None:
    scales = body_scales(2000, torch.Generator().manual_seed(0))
    assert torch.allclose(scales, scales[:, list(CANONICAL_MIRROR)])
    assert 0.65 < float(scales.min()) < 0.8
    assert 1.25 < float(scales.max()) < 1.5
    upper_leg, lower_leg, forearm = scales[:, 2], scales[:, 3], scales[:, 13]
    assert float(torch.corrcoef(torch.stack((upper_leg, lower_leg)))[0, 1]) > 0.5
    assert abs(float(torch.corrcoef(torch.stack((upper_leg, forearm)))[0, 1])) < 0.1


def test_only_short_recordings_of_one_kind_are_each_others_positives(tmp_path) -> None:
    lengths = [60] * 5 + [600] * 5 + [60] * 2
    kinds = ["kick"] * 5 + ["story of a bear"] * 5 + ["cartwheel"] * 2
    np.savez(
        tmp_path / "motion.npz", rel=np.zeros((sum(lengths), 17, 3), np.float16), root=np.zeros((sum(lengths), 3)),
        offsets=np.cumsum([0, *lengths]), names=np.array([f"cmu_fbx/05_{i:02d}" for i in range(12)]),
        source=np.array(["cmu_fbx"] * 12), fps=np.array(30.0), labels=np.array(kinds),
    )  # fmt: skip
    corpus = load_corpus(tmp_path / "motion.npz", held_out=False)
    sampler = MotionSampler(corpus)
    paired = {kinds[clip]: sampler.paired[int(group)] for clip, group in enumerate(corpus.groups)}
    assert paired == {"kick": True, "story of a bear": False, "cartwheel": False}


def test_recordings_of_one_kind_share_a_group_however_they_are_mirrored_or_reversed(tmp_path) -> None:
    np.savez(
        tmp_path / "motion.npz", rel=np.zeros((240, 17, 3), np.float16), root=np.zeros((240, 3)),
        offsets=np.arange(5) * 60, names=np.array([f"cmu_fbx/05_{i:02d}" for i in range(4)]),
        source=np.array(["cmu_fbx"] * 4), fps=np.array(30.0), labels=np.array(["Kick", "kick (again)", "unknown", ""]),
    )  # fmt: skip
    sampler = MotionSampler(load_corpus(tmp_path / "motion.npz", held_out=False))
    groups = sampler.motions(256, 0)[4]
    assert sorted(groups.unique().tolist()) == [-1, 0, 1, 2]


def test_bones_and_positions_are_two_forms_of_one_pose() -> None:
    pose = torch.rand(2, 5, 17, 3)
    assert torch.allclose(from_bones(to_bones(pose)), pose, atol=1e-6)


def test_a_person_turned_by_the_measured_angle_faces_the_camera_with_the_left_hip_at_plus_x() -> None:
    pose = rotate_y(torch.from_numpy(STAND).float().expand(3, 4, 17, 3), torch.tensor([0.4, 2.0, -3.0])[:, None, None])
    front = rotate_y(pose, -facing(pose)[:, None, None])
    across = front[:, :, 4] - front[:, :, 1]
    assert torch.allclose(across[..., 0], torch.full_like(across[..., 0], 0.2), atol=1e-5)
    assert torch.allclose(front[:, :, 9, 2], torch.full((3, 4), 0.1), atol=1e-5)


def test_the_mirror_swaps_sides_and_twice_is_nothing() -> None:
    pose = torch.rand(1, 2, 17, 3)
    assert torch.equal(mirror(mirror(pose)), pose)
    assert torch.equal(mirror(pose)[..., 13, 1], pose[..., 16, 1])
    assert sorted(CANONICAL_MIRROR) == list(range(17))


def test_a_view_is_normalised_masks_what_it_hides_and_repeats_for_a_seed(corpus) -> None:
    sampler = MotionSampler(load_corpus(corpus, held_out=False))
    motion, _, seconds, _, groups = sampler.motions(16, 5)
    pose, log_seconds, target = sampler.view(motion, seconds, 9)
    hidden = pose[..., 2] == 0
    assert hidden.any()
    assert bool((pose[hidden] == 0).all())
    assert 0.5 < float(pose[..., :2].abs().amax()) < 6
    assert bool((target[:, :, 0] == 0).all())
    assert bool(torch.isfinite(log_seconds).all())
    assert torch.equal(sampler.view(motion, seconds, 9)[0], pose)
    assert groups.shape == (16,)


def test_rows_of_one_action_are_not_held_against_each_other() -> None:
    a = torch.eye(4)
    groups = torch.tensor([7, 7, -1, -1])
    confused = a.clone()
    confused[1] = a[0]
    with_groups = trainer.contrast_loss(a, confused, groups, 0.1)
    without = trainer.contrast_loss(a, confused, torch.full((4,), -1), 0.1)
    assert float(with_groups) < float(without)


def test_a_grown_backbone_starts_as_the_smaller_one() -> None:
    torch.manual_seed(0)
    small = Backbone(BackboneConfig("small", width=16, blocks=3, heads=2)).eval()
    large = grow(small, BackboneConfig("large", width=24, blocks=4, heads=3)).eval()
    pose = torch.randn(2, 64, 17, 3)
    pose[..., 2] = 1
    with torch.inference_mode():
        before, after = (model.lift(model(pose, torch.zeros(2)), pose) for model in (small, large))
        unlike = Backbone(large.config).eval()
        strange = unlike.lift(unlike(pose, torch.zeros(2)), pose)
    assert (before - after).abs().mean() < 0.1 * (before - strange).abs().mean()


def test_a_backbone_is_not_grown_into_heads_of_another_size() -> None:
    with pytest.raises(ValueError, match="heads of one size"):
        grow(Backbone(BackboneConfig("small", width=16, blocks=3, heads=2)), BackboneConfig("large", 32, 3, 2))


def test_a_run_can_start_from_a_smaller_backbone(config, tmp_path) -> None:
    start = tmp_path / "start.safetensors"
    start.write_bytes(backbone_bytes(Backbone(BackboneConfig("small", width=8, blocks=3, heads=1))))
    trained = trainer.Trainer(dataclasses.replace(config, start=start))
    small = load_backbone(start)
    assert torch.equal(trained.model.embed.weight[:8], small.embed.weight)
    assert trained.advance()["total"] > 0
    assert not torch.equal(trained.model.embed.weight[:8], small.embed.weight)
