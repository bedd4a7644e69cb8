import dataclasses

import numpy as np
import pytest
import torch

from skeleton_prompt.model.backbone import DESCRIPTORS, BackboneError, backbone_bytes, load_backbone
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.shared_projection import KINDS, SharedProjection
from tests.support.engine_rows import WIDTH, person, small_engine
from training.pretraining.shared_projection import lda_projection, variance_components
from training.tuning.plda import prior_of

FEATURES = 21 * WIDTH + 2 * DESCRIPTORS


def random_house(width: int = 16, features: int = FEATURES) -> SharedProjection:
    rng = torch.Generator().manual_seed(0)
    mean = {kind: torch.randn(features, generator=rng) for kind in KINDS}
    return SharedProjection(mean, {kind: torch.randn(features, width, generator=rng) / 100 for kind in KINDS})


def test_discriminants_keep_what_tells_motions_apart_and_drop_what_varies_within_one() -> None:
    rng = np.random.default_rng(0)
    signal, nuisance = rng.normal(size=(200, 1, 5)), 10 * rng.normal(size=(200, 4, 5))
    shots = np.concatenate([np.repeat(signal, 4, axis=1), nuisance], 2).astype(np.float32)
    _, projection = lda_projection(shots, 5)
    share = np.abs(projection[:5]).sum() / np.abs(projection).sum()
    assert share > 0.9


def test_house_weights_travel_in_the_backbone_file_and_add_a_block_of_unit_rows(tmp_path) -> None:
    backbone = small_engine().backbone
    backbone.house = random_house()
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(backbone_bytes(backbone))
    engine = Engine(load_backbone(path))
    people = [person(0), person(1, depth=True), person(2, windows=3)]
    block = engine.features(people)[:, engine.blocks["house"]]
    assert block.shape == (3, 16)
    assert np.allclose(np.linalg.norm(block, axis=1), 1, atol=1e-5)
    alone = np.concatenate([engine.features([one])[:, engine.blocks["house"]] for one in people])
    assert np.abs(block - alone).max() <= 1e-5


def test_house_weights_that_know_no_completed_pose_are_read_as_they_were_made(tmp_path) -> None:
    backbone = small_engine().backbone
    backbone.house = random_house(features=FEATURES - DESCRIPTORS)
    path = tmp_path / "old.safetensors"
    path.write_bytes(backbone_bytes(backbone))
    house = load_backbone(path).house
    assert house is not None
    assert house.blocks == ("frozen", "descriptors")
    engine = Engine(load_backbone(path))
    features = torch.from_numpy(engine.features([person(0)]))
    read = torch.cat([features[:, engine.blocks[name]] for name in house.blocks], 1)
    expected = torch.nn.functional.normalize((read - house.mean["flat"]) @ house.projection["flat"], dim=-1)
    assert torch.allclose(features[:, engine.blocks["house"]], expected, atol=1e-4)


def test_house_weights_say_how_much_they_vary_between_views_and_between_motions(tmp_path) -> None:
    rng = np.random.default_rng(0)
    motions, views = rng.normal(size=(400, 1, 8)) * [3, 3, 3, 3, 1, 1, 1, 1], rng.normal(size=(400, 4, 8))
    within, between = variance_components((motions + views).astype(np.float32), np.zeros(8), np.eye(8))
    assert (within > 0).all()
    assert between[:4].min() > 2 * between[4:].max()
    backbone = small_engine().backbone
    backbone.house = dataclasses.replace(random_house(), variances=torch.rand(2, 16) + 0.1)
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(backbone_bytes(backbone))
    prior = prior_of(Engine(load_backbone(path)))
    assert prior is not None
    assert np.allclose([prior.within, prior.between], backbone.house.variances)
    backbone.house = dataclasses.replace(backbone.house, variances=torch.zeros(2, 16))
    path.write_bytes(backbone_bytes(backbone))
    with pytest.raises(BackboneError, match="variances must be"):
        load_backbone(path)


def test_house_weights_for_another_backbone_are_refused(tmp_path) -> None:
    backbone = small_engine().backbone
    backbone.house = SharedProjection({k: torch.zeros(7) for k in KINDS}, {k: torch.zeros(7, 4) for k in KINDS})
    path = tmp_path / "odd.safetensors"
    path.write_bytes(backbone_bytes(backbone))
    with pytest.raises(BackboneError, match=r"house weights: flat has shape \(7, 4\)"):
        load_backbone(path)
