"""The small median that warnings are made with."""

import numpy as np
import pytest

from skeleton_prompt.clips.pose_sample import median


@pytest.mark.parametrize("count", [1, 2, 3, 24, 25])
def test_the_median_is_that_of_numpy(count):
    values = np.random.default_rng(count).normal(size=count).astype(np.float32)
    assert median(values) == float(np.median(values))
