import numpy as np
import pytest

from tests.support.engine_rows import person, small_engine
from training.tuning.prompt_module_tuner import ModuleConfig, TuningStopped, fit_module, observe_all, predict_module

ENGINE = small_engine()
LABELS = np.arange(12) % 2


def people():
    made = []
    for seed, label in enumerate(LABELS):
        one = person(seed)
        one.pose[..., 1] += label * one.pose[..., 2]
        made.append(one)
    return made


@pytest.mark.slow
def test_a_module_learns_to_tell_two_classes_apart_and_does_so_twice_alike() -> None:
    observed = observe_all(ENGINE, people())
    config = ModuleConfig(epochs=15, batch=6, learning_rate=5e-3)
    tensors = fit_module(ENGINE, observed, LABELS, 2, config)
    logits = predict_module(ENGINE, observed, tensors, range(12))
    assert (logits.argmax(1) == LABELS).all()
    again = fit_module(ENGINE, observed, LABELS, 2, config)
    assert all(np.array_equal(tensors[name], again[name]) for name in tensors)
    assert np.abs(tensors["module.generator.values"]).max() > 0


def test_tuning_stops_between_two_steps_when_asked() -> None:
    with pytest.raises(TuningStopped):
        fit_module(ENGINE, observe_all(ENGINE, people()), LABELS, 2, stop=lambda: True)
