import numpy as np
import pytest

from skeleton_prompt.model.tensor_shapes import shapes
from tests.support.engine_rows import WIDTH, person
from tests.support.recordings import ENGINE
from training.module_tuner import PromptModuleTuner


@pytest.mark.slow
def test_a_module_is_taught_on_some_of_the_people_and_asked_about_others() -> None:
    people = [person(seed) for seed in range(8)]
    module = PromptModuleTuner(ENGINE, people, 0, lambda: None)
    rows, others = np.array([0, 2, 3, 5, 6]), np.array([1, 4])
    told: list[float] = []
    labels = np.array([0, 1, 1, 0, 1, 0, 1, 1])
    tensors, same = module.fit([rows, rows], labels, 2, 0.0, told.append)
    assert all(np.array_equal(tensors[name], same[name]) for name in tensors)
    assert told == [0, 0.5]
    assert set(tensors) == {f"module.{name}" for name in shapes(WIDTH, 2)}
    logits = module.logits(tensors, others)
    assert logits.shape == (2, 2)
    assert np.isfinite(logits).all()


def test_the_fitting_stops_where_the_work_should_stop() -> None:
    def stop() -> None:
        raise InterruptedError

    module = PromptModuleTuner(ENGINE, [person(seed) for seed in range(4)], 0, stop)
    with pytest.raises(InterruptedError):
        module.fit([np.arange(4)], np.array([0, 1, 0, 1]), 2, 1.0, lambda _: None)
