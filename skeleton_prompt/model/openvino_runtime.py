"""The frozen forward pass on OpenVINO, which takes about three quarters of eager PyTorch's CPU time.

OpenVINO is optional (extra ``server``). The backbone is traced and converted once, which takes seconds; the converted
model is kept in a cache folder, from which a later start compiles it in less than one. Training stays on PyTorch.

Letters: W windows, T frames, S patches, J joints, D width.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import sys
import threading
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from skeleton_prompt.clips.canonical_skeleton import FRAMES, JOINTS
from skeleton_prompt.model.devices import Run

log = logging.getLogger(__name__)

TOLERANCE = 1e-4  # of the largest difference to PyTorch on sample windows, beyond which OpenVINO is not used
CHECK_WINDOWS = 3
OPTIONS = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}


class RuntimeUnavailable(RuntimeError):
    """OpenVINO was asked for and cannot be used; the message says why."""


class _Traced(nn.Module):
    """A pass as a module, for tracing."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    def forward(self, pose: Tensor, log_seconds: Tensor) -> tuple[Tensor, ...]:
        """The pass."""
        return self._run(pose, log_seconds)


def is_installed() -> bool:
    """Whether the package ``openvino`` can be imported."""
    return importlib.util.find_spec("openvino") is not None


def load_openvino() -> Any:
    """The package ``openvino``, without the one by which its converter reports its use over the network."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # an import of it then fails, as foreseen
    import openvino

    return openvino


def cached(folder: Path | None, sha256: str) -> Path | None:
    """Where the converted model of a backbone is kept, by the versions of both runtimes; None without a folder."""
    if folder is None:
        return None
    openvino = load_openvino()
    release = openvino.__version__.partition("-")[0]
    return folder / f"{sha256[:16]}-openvino-{release}-torch-{torch.__version__}.xml"


def sample_windows() -> tuple[Tensor, Tensor]:
    """Random poses ``(W, T, J, 3)``, a tenth of the joints missing, and their log durations ``(W,)``."""
    generator = torch.Generator().manual_seed(0)
    pose = 2 * torch.rand(CHECK_WINDOWS, FRAMES, JOINTS, 3, generator=generator) - 1
    pose[..., 2] = (pose[..., 2] > -0.8).float()
    return pose, torch.zeros(CHECK_WINDOWS)


def openvino_pass(run: Run, path: Path | None) -> Run:
    """A pass of poses ``(W, T, J, 3)`` and log durations ``(W,)`` on OpenVINO, on one thread.

    Args:
        run: The same pass on PyTorch, on a CPU.
        path: Where the converted model is kept; None keeps it nowhere.

    Raises:
        RuntimeUnavailable: It cannot be converted, or its results differ.
    """
    try:
        openvino = load_openvino()
        core = openvino.Core()
        if path is not None and path.is_file():
            compiled = core.compile_model(str(path), "CPU", OPTIONS)
        else:
            model = _convert(run, sample_windows())
            if path is not None:
                _keep(model, path)
            compiled = core.compile_model(model, "CPU", OPTIONS)
        found = _as_pass(compiled)
        difference = _difference(run, found, sample_windows())
    except Exception as error:
        if path is not None:
            path.unlink(missing_ok=True)  # a damaged file, if there is one: the next start converts anew
        raise RuntimeUnavailable(f"OpenVINO cannot run this backbone: {error}") from error
    if not difference <= TOLERANCE:
        raise RuntimeUnavailable(f"OpenVINO's results differ from PyTorch's by {difference:.1e}, more than {TOLERANCE}")
    return found


def _convert(run: Run, example: tuple[Tensor, Tensor]) -> Any:
    openvino = load_openvino()
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the tracer, about shapes that are constants
        model = openvino.convert_model(_Traced(run).eval(), example_input=tuple(tensor.clone() for tensor in example))
    shapes = [[-1, *tensor.shape[1:]] for tensor in example]
    model.reshape({index: openvino.PartialShape(shape) for index, shape in enumerate(shapes)})
    return model


def _keep(model: Any, path: Path) -> None:
    """Write a converted model, whole or not at all; a folder that cannot be written costs the next start its time."""
    openvino = load_openvino()
    partial = path.with_name(f".{os.getpid()}-{path.name}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        openvino.save_model(model, str(partial), compress_to_fp16=False)
        # The weights first: a description without them would be found and fail.
        partial.with_suffix(".bin").replace(path.with_suffix(".bin"))
        partial.replace(path)
    except (OSError, RuntimeError) as error:
        log.warning("the converted backbone cannot be kept in %s: %s", path.parent, error)


def _as_pass(compiled: Any) -> Run:
    request, lock = compiled.create_infer_request(), threading.Lock()
    outputs: Sequence[int] = range(len(compiled.outputs))

    def run(pose: Tensor, log_seconds: Tensor) -> tuple[Tensor, ...]:
        with lock:
            found = request.infer([pose.contiguous().numpy(), log_seconds.contiguous().numpy()], share_inputs=True)
            return tuple(torch.from_numpy(found[index]) for index in outputs)

    return run


def _difference(run: Run, other: Run, given: tuple[Tensor, Tensor]) -> float:
    """The largest difference between two passes."""
    with torch.inference_mode():
        pairs = zip(run(*given), other(*given), strict=True)
        return max(float((one - another).abs().max()) for one, another in pairs)
