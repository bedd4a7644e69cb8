import dataclasses

import numpy as np
import pytest
import torch

from skeleton_prompt.model.backbone import BackboneError
from skeleton_prompt.model.prompt_module import Ablation, shared_names
from skeleton_prompt.model.shared_projection import KINDS, SharedProjection
from tests.support.engine_rows import WIDTH, person, small_engine
from training.pretraining.meta_train_module import EpisodeBank, MetaTrainConfig, train_module
from training.tuning.prompt_module_tuner import (
    ModuleConfig,
    embed,
    fit_module,
    observe_all,
    predict_module,
    starting_point,
)

pytestmark = pytest.mark.slow

MOTIONS = 24
CONFIG = MetaTrainConfig(steps=30, batch=16, held_out=4, joint_drop=0.0)


def views_of(seed: int, noise: float = 0.02):
    """Two views of every motion: the same random person twice, the second one with noise."""
    people = [person(seed + number) for number in range(MOTIONS)]
    rng = np.random.default_rng(seed)
    again = []
    for one in people:
        pose = one.pose.copy()
        pose[..., :2] += rng.normal(0, noise, pose[..., :2].shape).astype(np.float32) * pose[..., 2:]
        again.append(dataclasses.replace(one, pose=pose))
    return people, again


def episodes(engine) -> EpisodeBank:
    result = EpisodeBank()
    first, second = (observe_all(engine, people) for people in views_of(0))
    result.add([first, second], torch.full((MOTIONS,), -1), most=MOTIONS)
    return result


def test_meta_training_brings_views_of_one_motion_together_and_is_repeatable() -> None:
    engine = small_engine()
    told: list[float] = []
    material = [episodes(engine)]
    tensors = train_module(WIDTH, material, CONFIG, told.append)
    again = train_module(WIDTH, material, CONFIG, lambda share: None)
    untrained = train_module(WIDTH, material, dataclasses.replace(CONFIG, steps=1), lambda share: None)
    assert told[-1] == 1.0
    assert set(tensors) == set(shared_names(WIDTH))
    assert all(torch.equal(tensors[name], again[name]) for name in tensors)
    assert retrieval(engine, tensors) > retrieval(engine, untrained)


def retrieval(engine, tensors) -> float:
    """Mean cosine of two views of a motion, less that of views of different motions."""
    stacked = {name: value[None] for name, value in tensors.items()}
    sides = [embed(stacked, observe_all(engine, people), torch.arange(MOTIONS)) for people in views_of(0)]
    cosine = sides[0] @ sides[1].T
    own = float(cosine.diagonal().mean())
    return own - float((cosine.sum() - cosine.diagonal().sum()) / (MOTIONS * (MOTIONS - 1)))


def test_no_more_motions_are_kept_than_there_is_room_for() -> None:
    engine = small_engine()
    result = episodes(engine)
    result.add([observe_all(engine, views_of(1)[0])] * 2, torch.full((MOTIONS,), -1), most=MOTIONS)
    assert sum(map(len, result.groups)) == MOTIONS


def test_tuning_starts_from_the_house_module_with_its_centres_among_the_clips() -> None:
    engine = small_engine()
    tensors = train_module(WIDTH, [episodes(engine)], CONFIG, lambda share: None)
    observed, labels = observe_all(engine, views_of(0)[0]), np.arange(MOTIONS) % 3
    nothing = {kind: torch.zeros(1) for kind in KINDS}
    engine.backbone.house = SharedProjection(nothing, nothing, module=tensors)
    start = starting_point(engine, observed, labels, 3, ModuleConfig())
    assert all(torch.equal(start[name], tensors[name]) for name in tensors)
    rows = embed({name: value[None] for name, value in start.items()}, observed, torch.arange(MOTIONS))
    expected = rows[torch.from_numpy(labels == 1)].mean(0) - rows.mean(0)
    assert torch.allclose(start["head.centres"][1], expected, atol=1e-5)
    engine.backbone.house = SharedProjection(nothing, nothing, module={**tensors, "query.base": torch.zeros(1, 1)})
    with pytest.raises(BackboneError, match=r"query\.base"):
        starting_point(engine, observed, labels, 3, ModuleConfig())


@pytest.mark.parametrize(
    "controls",
    [
        Ablation(prompts="none"),
        Ablation(prompts="static"),
        Ablation(prompts="shuffled"),
        Ablation(queries=False),
        Ablation(streams=("joints", "frontal")),
    ],
    ids=str,
)
def test_every_part_of_the_module_can_be_switched_off_and_says_something(controls: Ablation) -> None:
    engine = small_engine()
    people = [person(seed) for seed in range(12)]
    observed, labels = observe_all(engine, people), np.arange(12) % 2
    config = ModuleConfig(epochs=2, batch=6, learning_rate=0.02)
    whole = fit_module(engine, observed, labels, 2, config)
    partly = predict_module(engine, observed, whole, range(12), controls)
    assert np.isfinite(partly).all()
    assert np.abs(partly - predict_module(engine, observed, whole, range(12))).max() > 1e-6


def test_an_unknown_control_is_refused() -> None:
    with pytest.raises(ValueError, match="'dynamic'"):
        Ablation(prompts="dynamic").generates_prompts(torch.zeros(1, 2))
