import json

import pytest
import torch
from torch.nn import functional

from skeleton_prompt.model.backbone import (
    CONFIGS,
    Attention,
    Backbone,
    BackboneConfig,
    BackboneError,
    Gelu,
    backbone_bytes,
    load_backbone,
)
from skeleton_prompt.model.backbone_files import backbone_path
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.prompt_module import generate, initial, prefixes
from tests.support.engine_rows import small_engine


def test_the_configurations_have_the_sizes_that_the_documentation_states() -> None:
    assert Backbone(CONFIGS["edge"]).parameters_count() == pytest.approx(1.17e6, rel=0.01)
    assert Backbone(CONFIGS["base"]).parameters_count() == pytest.approx(2.18e6, rel=0.01)


def test_the_lift_of_a_joint_sees_the_other_joints_of_its_patch_at_once_and_no_other_patch() -> None:
    torch.manual_seed(0)
    backbone = Backbone(BackboneConfig("tiny", width=16, blocks=1, heads=2, skip=8)).eval()
    pose = torch.rand(1, 64, 17, 3)
    moved = pose.clone()
    moved[:, 4:8, 5, 0] += 0.5  # the second patch, one joint
    with torch.inference_mode():
        change = (backbone.skipped(moved) - backbone.skipped(pose)).abs().amax(-1)
    assert bool((change[0, 4:8] > 1e-5).all())
    assert float(change[0, 8:].max()) == 0.0


def test_a_backbone_whose_lift_head_sees_tokens_alone_is_read_as_it_was(tmp_path) -> None:
    backbone = Backbone(BackboneConfig("tiny", width=16, blocks=1, heads=2))
    data = backbone_bytes(backbone)
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    config = json.loads(header["__metadata__"]["config"])
    del config["skip"]
    header["__metadata__"]["config"] = json.dumps(config)
    text = json.dumps(header).encode()
    (tmp_path / "old.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data[8 + size :])
    assert load_backbone(tmp_path / "old.safetensors").lift_skip is None


def test_trunk_and_top_together_are_the_whole_network() -> None:
    backbone = small_engine().backbone
    pose, seconds = torch.rand(2, 64, 17, 3), torch.zeros(2)
    x, bias = backbone.tokens(pose, seconds)
    x = backbone.trunk(x, bias, prompted=3)
    assert torch.allclose(backbone.top(x, bias, last=3), backbone(pose, seconds), atol=1e-6)


def test_a_prompt_with_zero_values_leaves_the_frozen_network_as_it_was() -> None:
    backbone = small_engine().backbone
    x, bias = backbone.tokens(torch.rand(2, 64, 17, 3), torch.zeros(2))
    x = backbone.trunk(x, bias, prompted=3)
    p = {name: value[None] for name, value in initial(32, 3, 0).items()}
    prompted = backbone.top(x, bias, prefixes(p, generate(p, x), heads=4), last=3)
    assert torch.equal(prompted, backbone.top(x, bias, last=3))


def test_missing_joints_have_no_influence_whatever_their_coordinates_say() -> None:
    backbone = small_engine().backbone
    pose = torch.rand(1, 64, 17, 3)
    pose[:, :, 5, 2] = 0
    other = pose.clone()
    other[:, :, 5, :2] = 9
    assert torch.equal(backbone(pose, torch.zeros(1)), backbone(other, torch.zeros(1)))


def test_a_clip_without_any_visible_joint_gives_finite_features() -> None:
    assert bool(torch.isfinite(small_engine().backbone(torch.zeros(1, 64, 17, 3), torch.zeros(1))).all())


def test_a_backbone_file_round_trips_and_carries_its_hash(tmp_path) -> None:
    backbone = small_engine().backbone
    path = tmp_path / "tiny.safetensors"
    path.write_bytes(backbone_bytes(backbone))
    loaded = load_backbone(path)
    pose = torch.rand(1, 64, 17, 3)
    assert torch.equal(loaded(pose, torch.zeros(1)), backbone(pose, torch.zeros(1)))
    assert len(loaded.sha256) == 64
    assert not any(p.requires_grad for p in loaded.parameters())


def test_a_damaged_backbone_file_is_refused_by_name(tmp_path) -> None:
    data = backbone_bytes(small_engine().backbone)
    path = tmp_path / "cut.safetensors"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(BackboneError, match="cut"):
        load_backbone(path)


def test_a_backbone_with_a_number_that_is_not_finite_is_refused(tmp_path) -> None:
    backbone = small_engine().backbone
    backbone.missing.data[0] = float("nan")
    path = tmp_path / "nan.safetensors"
    path.write_bytes(backbone_bytes(backbone))
    with pytest.raises(BackboneError, match="missing"):
        load_backbone(path)


def test_the_shipped_backbone_loads_and_an_unknown_name_lists_what_there_is() -> None:
    assert Engine.load("edge").backbone.config.name == "edge"
    with pytest.raises(FileNotFoundError, match="edge"):
        backbone_path("huge")


def test_the_gelu_of_inference_is_that_of_training() -> None:
    x = torch.linspace(-12, 12, 10_001)
    with torch.inference_mode():
        assert torch.allclose(Gelu()(x), functional.gelu(x, approximate="tanh"), atol=1e-6)


def test_attention_over_time_is_attention_over_joints_of_the_swapped_clip() -> None:
    torch.manual_seed(0)
    attention = Attention(32, 4)
    x, bias = torch.rand(2, 16, 17, 32), torch.where(torch.rand(2, 16, 17) > 0.3, 0.0, -1e4)
    prefix = torch.rand(2, 4, 3, 8), torch.rand(2, 4, 3, 8)
    swapped = attention(x.transpose(1, 2), bias.transpose(1, 2), prefix).transpose(1, 2)
    assert torch.allclose(attention(x, bias, prefix, over_time=True), swapped, atol=1e-5)
