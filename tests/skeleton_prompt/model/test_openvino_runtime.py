"""The backbone on OpenVINO: the results of PyTorch, kept converted, and PyTorch wherever it cannot be used."""

import sys

import numpy as np
import pytest

from skeleton_prompt.model import openvino_runtime
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.model.openvino_runtime import RuntimeUnavailable
from tests.support.engine_rows import person, random_prompt

KINDS = ({}, {"curve": 3, "likeness": 5}, {"temporal": 0.4}, {"blend": 0.3, "background": True})
needs_openvino = pytest.mark.skipif(not openvino_runtime.is_installed(), reason="openvino is not installed")


@pytest.fixture(scope="module")
def engines(tmp_path_factory):
    """The shipped backbone on PyTorch and on OpenVINO, and the folder of the converted model."""
    cache = tmp_path_factory.mktemp("cache")
    return Engine.load("edge"), Engine.load("edge", runtime="openvino", cache=cache), cache


@needs_openvino
def test_logits_are_those_of_pytorch(engines):
    torch_engine, engine, _ = engines
    assert (torch_engine.runtime, engine.runtime) == ("torch", "openvino")
    prompts = [random_prompt(engine, seed, **kind) for seed, kind in enumerate(KINDS)]
    for count in (1, 4, 7):
        rows = [(person(n, windows=1 + n % 2, depth=n % 3 == 0), prompts[n % 4]) for n in range(count)]
        for one, other in zip(engine.forward(rows), torch_engine.forward(rows), strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5, rtol=1e-5)


@needs_openvino
def test_a_converted_backbone_is_found_again_by_auto(engines):
    *_, cache = engines
    assert [path.suffix for path in sorted(cache.iterdir())] == [".bin", ".xml"]
    assert Engine.load("edge", runtime="auto", cache=cache).runtime == "openvino"


@needs_openvino
def test_a_damaged_conversion_leaves_the_backbone_to_pytorch(engines, tmp_path):
    *_, cache = engines
    for path in cache.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes()[:100])
    engine = Engine.load("edge", runtime="auto", cache=tmp_path)
    assert engine.runtime == "torch"
    assert np.isfinite(engine.features([person(0)])).all()
    assert not list(tmp_path.glob("*.xml")), "the next start converts anew"


@needs_openvino
def test_results_that_differ_are_not_used(monkeypatch):
    monkeypatch.setattr(openvino_runtime, "_difference", lambda *_: 0.5)
    with pytest.raises(RuntimeUnavailable, match=r"differ from PyTorch's by 5\.0e-01"):
        Engine.load("edge", runtime="openvino")


def test_without_the_package_auto_is_pytorch_and_a_wish_is_refused(monkeypatch):
    monkeypatch.setattr(openvino_runtime, "is_installed", lambda: False)
    assert Engine.load("edge", runtime="auto").runtime == "torch"
    with pytest.raises(RuntimeUnavailable, match="pip install"):
        Engine.load("edge", runtime="openvino")


@needs_openvino
def test_nothing_reports_its_use_over_the_network(engines):
    assert engines[1].runtime == "openvino"
    assert sys.modules["openvino_telemetry"] is None
