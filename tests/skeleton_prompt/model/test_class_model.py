import numpy as np
import pytest
from scipy.stats import multivariate_normal

from skeleton_prompt.model.class_model import MAX_MISSING, ClassModel, missing_joints
from skeleton_prompt.model.decision import softmax
from skeleton_prompt.model.prompt_file import BadPrompt, Calibration, load_prompt, save_prompt
from tests.support.engine_rows import class_model_prompt, person, projected_engine, random_prompt, without_joints
from training.tuning.linear_head import linear_logits

ENGINE = projected_engine()
PROMPTS = [
    class_model_prompt(ENGINE, 1),
    class_model_prompt(ENGINE, 2, classes=5, temporal=0.4),
    class_model_prompt(ENGINE, 3, classes=4, plda=False),
    random_prompt(ENGINE, 4, curve=2),
]
WHOLE = [without_joints(person(seed), []) for seed in (1, 2)]
for someone in WHOLE:
    someone.pose[..., 2] = 1
ROWS = [(without_joints(one, gone), prompt) for one in WHOLE for gone in ([], [3], [1, 2, 13]) for prompt in PROMPTS]


def model_of(rng: np.random.Generator, counts: list[int]) -> ClassModel:
    R, N = 6, len(counts)
    return ClassModel(
        mean=rng.normal(size=R),
        scale=rng.uniform(1, 2, R),
        centres=rng.normal(size=(N, R)) * 2,
        counts=np.array(counts, float),
        within=rng.uniform(0.3, 0.6, R),
        directions=rng.normal(size=(2, R)) / 2,
        between=rng.uniform(1, 4, R),
        widening=np.array([0.6, 0.3]),
        unit=np.array([10.0]),
        shown=np.ones(17),
    )


@pytest.mark.parametrize("missing", [0, 4])
def test_scores_are_log_likelihood_ratios_with_the_variance_widened_for_missing_joints(missing: int) -> None:
    rng = np.random.default_rng(0)
    model = model_of(rng, [4, 4, 4])
    head = model.head(missing)
    W = np.diag(model.within + 0.6 + 0.3 * missing) + model.directions.T @ model.directions
    B = np.diag(model.between)
    gain = B @ np.linalg.inv(B + W / 4)
    taught, unseen = W + B - gain @ B, multivariate_normal(np.zeros(6), W + B)
    z = rng.normal(size=(20, 6)) * 2
    direct = np.stack([multivariate_normal(gain @ c, taught).logpdf(z) - unseen.logpdf(z) for c in model.centres], 1)
    curved = (z**2 @ head.square + (z @ head.curve.T) ** 2 @ head.bend) / 2
    assert np.allclose(z @ head.weight.T + head.bias - curved[:, None], direct)
    drawn = rng.multivariate_normal(np.zeros(6), taught, 20_000)
    scores = [
        multivariate_normal(gain @ c, taught).logpdf(drawn + gain @ c) - unseen.logpdf(drawn + gain @ c)
        for c in model.centres
    ]
    assert head.expected == pytest.approx(np.mean(scores), rel=0.02)


def test_a_class_without_clips_is_never_the_most_probable() -> None:
    rng = np.random.default_rng(1)
    head = model_of(rng, [4, 0, 2]).head(1)
    z = rng.normal(size=(500, 6)) * 3
    assert 1 not in (z @ head.weight.T + head.bias).argmax(1)


def test_only_joints_that_the_taught_clips_show_count_as_missing() -> None:
    usual = np.ones(17)
    usual[:3] = 0
    shown = np.ones((3, 17))
    shown[0, :3] = 0
    shown[1, 10:12] = 0
    shown[2] = 0
    assert missing_joints(usual, shown).tolist() == [0, 2, MAX_MISSING]


def test_rows_of_a_mixed_batch_answer_as_each_does_alone() -> None:
    alone = [ENGINE.forward([row])[0] for row in ROWS]
    for mixed, single in zip(ENGINE.forward(ROWS), alone, strict=True):
        assert np.abs(mixed - single).max() <= 1e-5
    assert all(np.isfinite(one).all() for one in alone)


def test_the_engine_and_the_tuning_agree_on_logits_of_clips_that_lack_joints() -> None:
    for someone, prompt in ROWS:
        if prompt.has_temporal or not prompt.has_class_model:
            continue
        features = ENGINE.features([someone])
        missing = missing_joints(prompt.tensors["class_model.shown"], (someone.pose[..., 2] > 0).any((0, 1)))
        own = linear_logits(
            prompt.tensors,
            features[:, ENGINE.columns(prompt.blocks)],
            features[:, ENGINE.blocks["house"]],
            np.atleast_1d(missing),
        )[0]
        assert np.abs(own - ENGINE.forward([(someone, prompt)])[0]).max() <= 1e-4 * max(1, np.abs(own).max())


def test_missing_joints_make_a_head_less_sure_and_leave_the_temporal_part_in_place() -> None:
    plain = PROMPTS[0]
    whole, lacking = (ENGINE.forward([(without_joints(WHOLE[0], gone), plain)])[0] for gone in ([], [1, 2, 13]))
    assert softmax(lacking / 0.3).max() < softmax(whole / 0.3).max() + 0.2
    model = ClassModel.of(plain.tensors)
    assert model is not None
    assert np.ptp(model.head(6).weight) < np.ptp(model.head(0).weight)


def test_heads_off_the_host_are_stacked_and_say_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from skeleton_prompt.model.multi_tenant import PromptTensorCache, linear_rows

    features = torch.from_numpy(ENGINE.features([someone for someone, _ in ROWS]))
    prompts = [prompt for _, prompt in ROWS]
    missing = [
        int(
            missing_joints(
                prompt.tensors.get("class_model.shown", np.zeros(17)), (someone.pose[..., 2] > 0).any((0, 1))
            )
        )
        for someone, prompt in ROWS
    ]
    shelf = PromptTensorCache(torch.device("cpu"))
    found = linear_rows(shelf, prompts, features, lambda names: torch.from_numpy(ENGINE.columns(names)), missing)
    for row, prompt in enumerate(prompts):
        alone = ENGINE.linear_logits(prompt, features[row, None], missing[row])[0]
        assert torch.allclose(found[row], alone, atol=1e-4)


def test_a_prompt_file_keeps_its_class_model_and_limits() -> None:
    again = load_prompt(save_prompt(PROMPTS[1]))
    assert again.calibration == PROMPTS[1].calibration
    assert again.has_class_model
    assert "linear.centres" not in again.tensors


@pytest.mark.parametrize(
    ("name", "value"),
    [("class_model.within", 0.0), ("class_model.unit", -1.0), ("class_model.shown", None), ("class_model.mean", None)],
)
def test_a_senseless_class_model_is_refused(name: str, value: float | None) -> None:
    from dataclasses import replace

    tensors = dict(PROMPTS[0].tensors)
    if value is None:
        del tensors[name]
    else:
        tensors[name] = np.full_like(tensors[name], value)
    with pytest.raises(BadPrompt):
        load_prompt(save_prompt(replace(PROMPTS[0], tensors=tensors)))


@pytest.mark.parametrize(
    "pairs",
    [((0.2, 0.1), (0.1, 0.2)), ((0.1, float("nan")),), ((2.0, 0.1),), ()],
    ids=["order", "nan", "share", "none"],
)
def test_senseless_limits_are_refused(pairs) -> None:
    from dataclasses import replace

    changed = replace(PROMPTS[0], calibration=Calibration(0.3, familiarity=pairs))
    with pytest.raises((BadPrompt, ValueError)):
        load_prompt(save_prompt(changed))
