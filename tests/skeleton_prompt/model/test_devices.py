"""Devices by their names, passes padded to buckets and replayed, and that no step of them mixes two devices."""

import numpy as np
import pytest
import torch

from skeleton_prompt.model import devices, engine
from skeleton_prompt.model.backbone import Backbone, BackboneConfig, read_sizes
from skeleton_prompt.model.devices import (
    BUCKETS,
    CapturedForward,
    DeviceUnavailable,
    assigned_device,
    padded_size,
    resolve,
    to_device,
)
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.features import Windows
from skeleton_prompt.model.shared_projection import BLOCKS, KINDS, SharedProjection
from skeleton_prompt.model.temporal_net import frontal, signals, windows_at
from tests.support.engine_rows import WIDTH, person, random_prompt, small_engine


def gpus(monkeypatch, count, built="13.0"):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.version, "cuda", built)


@pytest.mark.parametrize(
    ("wanted", "count", "found"),
    [("auto", 0, "cpu"), ("auto", 2, "cuda:0"), ("cpu", 2, "cpu"), ("cuda", 1, "cuda:0"), ("cuda:1", 2, "cuda:1")],
)
def test_a_setting_means_the_device_that_it_names(monkeypatch, wanted, count, found):
    gpus(monkeypatch, count)
    assert resolve(wanted) == torch.device(found)


@pytest.mark.parametrize(
    ("wanted", "count", "built", "words"),
    [
        ("cuda", 0, None, "built without CUDA"),
        ("cuda:1", 0, "13.0", "built for CUDA 13.0, finds no GPU"),
        ("cuda:2", 2, "13.0", "device cuda:2 .* cuda:0 to cuda:1"),
        ("tpu", 2, "13.0", "not 'tpu'"),
        ("cuda:-1", 2, "13.0", "not 'cuda:-1'"),
    ],
)
def test_a_device_that_is_not_there_is_refused_with_the_reason(monkeypatch, wanted, count, built, words):
    gpus(monkeypatch, count, built)
    with pytest.raises(DeviceUnavailable, match=words):
        resolve(wanted)


@pytest.mark.parametrize(
    ("wanted", "gpu_id", "meant"),
    [
        ("auto", 3, "cuda:3"), ("cuda", 0, "cuda:0"), ("cuda:1", 3, "cuda:1"), ("cpu", 3, "cpu"),
        ("auto", None, "cpu"), ("auto", -1, "cpu"), ("cuda", None, "cuda"),
    ],
)  # fmt: skip
def test_a_worker_takes_the_gpu_that_it_was_given_unless_the_setting_names_one(wanted, gpu_id, meant):
    assert assigned_device(wanted, gpu_id) == meant


def test_windows_are_padded_to_the_next_bucket():
    assert [padded_size(n) for n in (1, 2, 3, 5, 16, 17, 32, 33, 65)] == [1, 2, 4, 8, 16, 32, 32, 64, 96]


def test_an_array_stays_where_it_is_on_a_cpu():
    values = np.zeros(3, np.float32)
    to_device(values, "cpu")[0] = 1
    assert values[0] == 1


def recorded_on_cpu(run, pose, log_seconds):
    """A capture that keeps to the contract of a CUDA graph: fixed tensors in, fixed tensors out."""
    outputs = tuple(output.clone() for output in run(pose, log_seconds))

    def replay():
        for output, fresh in zip(outputs, run(pose, log_seconds), strict=True):
            output.copy_(fresh)

    return replay, outputs


def passes(own: Engine):
    """The passes of a GPU, on a CPU: padded only, and padded and replayed."""
    replayed = CapturedForward(own._frozen, padded=True, capture=recorded_on_cpu)
    replayed.record(torch.ones(1, 64, 17, 3), torch.zeros(1))
    return {"padded": CapturedForward(own._frozen, padded=True), "replayed": replayed}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["padded", "replayed"])
def test_a_padded_or_replayed_engine_answers_as_a_plain_one(kind):
    plain, other = small_engine(), small_engine()
    other._frozen_pass = passes(other)[kind]
    prompts = [
        random_prompt(plain, seed, classes=2 + seed % 3, blend=0.5 * (seed % 2), temporal=0.4) for seed in range(3)
    ]
    for size in (1, 3, 8, 20, 2):
        rows = [(person(seed, windows=1 + seed % 3), prompts[seed % 3]) for seed in range(size)]
        for mine, expected in zip(other.forward(rows), plain.forward(rows), strict=True):
            assert np.abs(mine - expected).max() <= 1e-5


@pytest.mark.parametrize("kind", ["padded", "replayed"])
def test_what_a_pass_gave_outlives_the_next_one_and_no_row_sees_what_was_there_before(kind):
    own = small_engine()
    run = passes(own)[kind]
    windows = [Windows.of([person(seed, windows=3)]) for seed in range(2)]
    with torch.inference_mode():
        first = run(windows[0].pose, windows[0].log_seconds)
        kept = [output.clone() for output in first]
        run(torch.full((4, 64, 17, 3), torch.nan), torch.zeros(4))
        second = run(windows[1].pose, windows[1].log_seconds)
        assert all(torch.equal(a, b) for a, b in zip(first, kept, strict=True))
        for mine, expected in zip(second, own._frozen(windows[1].pose, windows[1].log_seconds), strict=True):
            assert mine.shape == expected.shape
            assert (mine - expected).abs().max() <= 1e-5


def test_only_buckets_are_replayed_and_larger_batches_run_as_they_come():
    sizes = []

    def run(pose, log_seconds):
        sizes.append(len(pose))
        return (pose + log_seconds[:, None, None, None],)

    replayed = CapturedForward(run, padded=True, capture=recorded_on_cpu)
    replayed.record(torch.ones(1, 2, 1, 1), torch.zeros(1))
    assert sizes == list(reversed(BUCKETS))
    with torch.inference_mode():
        (result,) = replayed(torch.ones(33, 2, 1, 1), torch.arange(33.0))
    assert (sizes[-1], result[:, 0, 0, 0].tolist()) == (64, list(range(1, 34)))


def test_house_weights_that_are_applied_move_with_the_backbone_and_the_rest_stays():
    both = {"flat": torch.zeros(4), "deep": torch.zeros(4)}
    projections = {kind: torch.zeros(4, 2) for kind in both}
    moved = SharedProjection(both, projections, BLOCKS, {"fusion.out": torch.zeros(1)}, torch.ones(2, 2)).to(
        torch.device("meta")
    )
    applied = {*moved.mean.values(), *moved.projection.values()}
    assert {value.device.type for value in applied} == {"meta"}
    assert {moved.module["fusion.out"].device.type, moved.variances.device.type} == {"cpu"}


@pytest.mark.slow
def test_no_step_of_the_frozen_part_on_a_device_reads_a_tensor_of_the_host(monkeypatch):
    """Tensors on ``meta`` have no numbers, but refuse to mix with those of the host, as a GPU's do."""
    monkeypatch.setattr(engine, "resolve", torch.device)
    backbone = Backbone(BackboneConfig("tiny", width=WIDTH, blocks=4, heads=4, skip=8))
    read = sum(read_sizes(WIDTH)[name] for name in BLOCKS)
    both, projections = {k: torch.zeros(read) for k in KINDS}, {k: torch.zeros(read, 4) for k in KINDS}
    backbone.house = SharedProjection(both, projections, BLOCKS)
    own = Engine(backbone, device="meta")
    windows = Windows.of([person(0, windows=2), person(1, depth=True)], "meta")
    with torch.inference_mode():
        observed = own.encode(windows)
        seen = signals(windows_at(frontal(windows, observed.lifted))[0])
        found = (observed.embedded, observed.x, observed.top, observed.features, observed.masks, *seen)
        assert {value.device.type for value in found} == {"meta"}
        with pytest.raises(RuntimeError, match="device"):
            observed.features + torch.zeros(observed.features.shape)


@pytest.mark.gpu
@pytest.mark.parametrize("cuda_graphs", [False, True])
def test_a_gpu_answers_as_a_cpu(cuda_graphs):
    host = small_engine()
    card = Engine(small_engine().backbone, device="cuda", cuda_graphs=cuda_graphs)
    prompts = [random_prompt(host, seed, blend=0.5 * (seed % 2), temporal=0.4 * (seed > 1)) for seed in range(4)]
    for size in (1, 3, 20):
        rows = [(person(seed, windows=1 + seed % 3, depth=seed % 2 == 0), prompts[seed % 4]) for seed in range(size)]
        for mine, expected in zip(card.forward(rows), host.forward(rows), strict=True):
            assert np.abs(mine - expected).max() <= 1e-3


@pytest.mark.gpu
def test_a_gpu_is_described_by_its_name():
    assert torch.cuda.get_device_name(0) in devices.describe(resolve("cuda"))
