"""A tenant's model with its preprocessing as one ONNX file, for ONNX Runtime in any language.

The file takes raw keypoints of one layout and frame rate and gives logits and calibrated probabilities; everything a
user needs besides stands in its metadata (``runtime.ModelMetadata``). docs/export.md shows how to run it with ONNX
Runtime and numpy alone.

Run as ``python -m skeleton_prompt.onnx.export`` this is the process of its own in which a service exports: tracing sets
process-wide state, takes a second of one core, and must not do either to the requests of others.
"""

from __future__ import annotations

import argparse
import io
import sys
import warnings
from pathlib import Path
from typing import Any

from skeleton_prompt import __version__
from skeleton_prompt.clips.layouts import Layout, custom_layout, get_layout
from skeleton_prompt.model.decision import limit_at
from skeleton_prompt.model.prompt_file import Calibration, digest, load_prompt
from skeleton_prompt.onnx.runtime import DIMENSIONS, FORMAT, INPUTS, OUTPUTS, ModelMetadata

OPSET = 17  # the newest that the tracing exporter of torch writes


class ExportUnavailable(RuntimeError):
    """The extra that exports is not installed."""


def require_onnx() -> None:
    """Check that exporting is possible.

    Raises:
        ExportUnavailable: The message says what to install.
    """
    from importlib.util import find_spec

    if find_spec("onnx") is None:
        raise ExportUnavailable("exporting needs the package onnx: install skeleton-prompt[onnx]")


def layout_of(text: str) -> Layout:
    """A built-in layout by name, or a custom one from its joint names with commas between them.

    Raises:
        UnknownLayout, BadLayout: As ``layouts`` has them.
    """
    return custom_layout(text.split(",")) if "," in text else get_layout(text)


def export_onnx(prompt_file: bytes, backbone: Path, layout: Layout, coords: str = "xyc") -> bytes:
    """Trace a prompt on its backbone into an ONNX file.

    Args:
        prompt_file: A safetensors prompt.
        backbone: The backbone file that it was made on.
        layout: Of the keypoints that the graph will take.
        coords: ``xyc`` for 2-D or ``xyzc`` for 3-D keypoints.

    Returns:
        The bytes of the file.

    Raises:
        ExportUnavailable: Without the extra ``onnx``.
        BackboneMismatch: If the prompt was made on another backbone.
        BadPrompt, BackboneError: If a file is damaged.
    """
    require_onnx()
    import onnx
    import torch

    from skeleton_prompt.model.backbone import load_backbone
    from skeleton_prompt.model.engine import Engine
    from skeleton_prompt.onnx.graph import PromptGraph

    engine = Engine(load_backbone(backbone))
    prompt = load_prompt(prompt_file, backbone_sha256=engine.backbone_sha256)
    graph = PromptGraph(engine, prompt, layout, DIMENSIONS[coords])
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter that torch calls deprecated, and its warnings that sizes become constants, which tests refute:
        # its successor takes 20 seconds and another package. The pin of torch keeps it from vanishing unnoticed.
        warnings.simplefilter("ignore")
        for name, symbolic in (("diff", _diff), ("hypot", _hypot)):
            torch.onnx.register_custom_op_symbolic(f"aten::{name}", symbolic, OPSET)  # type: ignore[attr-defined]
        torch.onnx.export(
            graph,
            _example(len(layout.joints), DIMENSIONS[coords]),
            file,  # type: ignore[arg-type]  # the tracing exporter writes to files in memory too
            input_names=list(INPUTS),
            output_names=list(OUTPUTS),
            dynamic_axes={"keypoints": {0: "frames"}},
            opset_version=OPSET,
            dynamo=False,
        )
    model = onnx.load_from_string(file.getvalue())
    card = ModelMetadata(
        format=FORMAT,
        version_of_package=__version__,
        tenant=prompt.tenant,
        version=prompt.version,
        labels=prompt.labels,
        background=prompt.background,
        kind=prompt.kind,
        created=prompt.created,
        temperature=prompt.calibration.temperature,
        threshold=prompt.calibration.threshold,
        distance=distance_limit(prompt.calibration),
        familiarity=prompt.calibration.familiarity,
        refusal=prompt.calibration.refusal,
        coverage=prompt.calibration.coverage,
        layout=layout.name,
        joints=layout.joints,
        coords=coords,
        prompt_sha256=digest(prompt_file),
        backbone_sha256=prompt.backbone_sha256,
    )
    onnx.helper.set_model_props(model, card.properties())
    model.producer_name, model.producer_version = "skeleton-prompt", __version__
    onnx.checker.check_model(model)
    data: bytes = model.SerializeToString()
    return data


def distance_limit(calibration: Calibration) -> float:
    """The greatest ``distance`` output that counts as known; see ``PromptGraph.forward``."""
    if calibration.familiarity:
        return -limit_at(calibration.familiarity, calibration.refusal)
    return calibration.distance


def _diff(g: Any, x: Any, n: Any, dim: Any, prepend: Any, append: Any) -> Any:
    """``aten::diff`` of the first order, which the exporter does not know: later minus earlier."""
    from torch.onnx.symbolic_helper import _maybe_get_const, _slice_helper

    if _maybe_get_const(n, "i") != 1 or not (prepend.node().mustBeNone() and append.node().mustBeNone()):
        raise NotImplementedError("only plain first differences are exported")
    axis = [_maybe_get_const(dim, "i")]
    later = _slice_helper(g, x, axes=axis, starts=[1], ends=[2**62])
    earlier = _slice_helper(g, x, axes=axis, starts=[0], ends=[-1])
    return g.op("Sub", later, earlier)


def _hypot(g: Any, x: Any, y: Any) -> Any:
    """``aten::hypot``, likewise."""
    return g.op("Sqrt", g.op("Add", g.op("Mul", x, x), g.op("Mul", y, y)))


def _example(joints: int, dimensions: int) -> tuple[object, object]:
    """A clip of three windows, so that no size of one window is taken for a constant."""
    import torch

    rng = torch.Generator().manual_seed(0)
    keypoints = torch.rand(250, joints, dimensions + 1, generator=rng) + 0.1
    return keypoints, torch.tensor(10.0, dtype=torch.float64)


def main(arguments: list[str] | None = None) -> int:
    """Export from files to a file; prints one line on failure and exits with 2."""
    parser = argparse.ArgumentParser(prog="skeleton_prompt.onnx.export")
    parser.add_argument("prompt", type=Path)
    parser.add_argument("backbone", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--layout", default="coco17")
    parser.add_argument("--coords", choices=sorted(DIMENSIONS), default="xyc")
    given = parser.parse_args(arguments)
    try:
        data = export_onnx(given.prompt.read_bytes(), given.backbone, layout_of(given.layout), given.coords)
    except (ExportUnavailable, ValueError, LookupError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    given.out.write_bytes(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
