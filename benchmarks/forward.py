"""The forward pass on one CPU core: variants side by side in one process, and what int8 costs in accuracy.

    python benchmarks/forward.py                       # a table of times
    python benchmarks/forward.py --device cuda         # eager and CUDA graphs on a GPU
    python benchmarks/forward.py --accuracy utd_mhad penn_action   # needs SKELETON_PROMPT_DATASETS

Times are CPU seconds of this process, so that other work on the machine disturbs them less, or seconds of the clock on
a GPU; the variants take turns, and the last column is the ratio to plain eager PyTorch in the same run. Needs the
extras ``onnx`` and ``server``.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_dynamic, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from torch import Tensor, nn

from skeleton_prompt.clips.clip import parse_clip
from skeleton_prompt.clips.normalise import PreparedPerson, prepare
from skeleton_prompt.model.backbone import Backbone
from skeleton_prompt.model.engine import Engine
from skeleton_prompt.synthetic import make_clip
from skeleton_prompt.synthetic_actions import ACTIONS

BATCHES = (1, 4, 16)


class Rerouted(Backbone):
    """A backbone whose unprompted forward pass another runtime computes."""

    def __init__(self, original: Backbone, run) -> None:
        super().__init__(original.config)
        self.load_state_dict(original.state_dict())
        self.house, self.sha256, self.run = original.house, original.sha256, run
        self.given: tuple[Tensor, Tensor]

    def tokens(self, pose: Tensor, log_seconds: Tensor) -> tuple[Tensor, Tensor]:
        """Keep the input for ``top``."""
        self.given = pose, log_seconds
        return pose.new_zeros(len(pose), 1), pose.new_zeros(len(pose), 1)

    def trunk(self, x: Tensor, bias: Tensor, prompted: int = 0) -> Tensor:  # noqa: ARG002 - as the original
        """Nothing: ``top`` does it all."""
        return x

    def top(self, x: Tensor, bias: Tensor, prefixes=None, *, last: int) -> Tensor:  # noqa: ARG002 - likewise
        """The whole backbone."""
        return self.run(*self.given)


def session_of(path: Path):
    """An ONNX Runtime session on one thread, as a function of tensors."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda pose, seconds: torch.from_numpy(
        session.run(None, {"pose": pose.numpy(), "log_seconds": seconds.numpy()})[0]
    )


class Readings(CalibrationDataReader):
    """Clips to take the ranges of static quantisation from."""

    def __init__(self, people: list[PreparedPerson]) -> None:
        self.rest = iter([{"pose": binary(person), "log_seconds": person.log_seconds} for person in people])

    def get_next(self):
        """The next clip, or None."""
        return next(self.rest, None)


def binary(person: PreparedPerson) -> np.ndarray:
    """The pose with confidence as seen or not seen, as the engine passes it on."""
    pose = person.pose.copy()
    pose[..., 2] = pose[..., 2] > 0
    return pose


def onnx_variants(backbone: Backbone, people: list[PreparedPerson], folder: Path) -> dict[str, Path]:
    """Export and quantise."""
    plain, ready = folder / "fp32.onnx", folder / "ready.onnx"
    example = torch.from_numpy(binary(people[0])).repeat(3, 1, 1, 1), torch.zeros(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        axes = {name: {0: "B"} for name in ("pose", "log_seconds", "features")}
        torch.onnx.export(
            backbone, example, str(plain), input_names=["pose", "log_seconds"], output_names=["features"],
            dynamic_axes=axes, opset_version=17, dynamo=False,
        )  # fmt: skip
    quant_pre_process(str(plain), str(ready), skip_symbolic_shape=True)
    paths = {"ONNX Runtime fp32": plain}
    dynamic = {
        "int8 dynamic, unsigned weights": (QuantType.QUInt8, False),
        "int8 dynamic, signed, per channel": (QuantType.QInt8, True),
    }
    for name, (kind, per_channel) in dynamic.items():
        paths[name] = folder / f"dynamic-{kind}.onnx"
        quantize_dynamic(str(ready), str(paths[name]), weight_type=kind, per_channel=per_channel)
    paths["int8 static, linear layers"] = folder / "static.onnx"
    quantize_static(
        str(ready), str(paths["int8 static, linear layers"]), Readings(people), activation_type=QuantType.QUInt8,
        weight_type=QuantType.QUInt8, op_types_to_quantize=["MatMul", "Gemm"],
    )  # fmt: skip
    return paths


class Traced(nn.Module):
    """The backbone for ``torch.jit.trace``, whose graph must not hold a module with state of its own."""

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, pose: Tensor, log_seconds: Tensor) -> Tensor:
        """Frozen features."""
        return self.backbone(pose, log_seconds)


def engines(name: str, people: list[PreparedPerson], folder: Path, device: str) -> dict[str, Engine]:
    """One engine per variant; the first is plain eager. On a GPU only what PyTorch itself runs there."""
    plain = Engine.load(name, threads=1, device=device)
    found = {"eager": plain}
    if plain.device.type == "cuda":
        return found | {"CUDA graphs": Engine.load(name, threads=1, device=device, cuda_graphs=True)}
    with torch.inference_mode(False), torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(Traced(plain.backbone).eval(), (torch.zeros(2, 64, 17, 3), torch.zeros(2)))
        frozen = torch.jit.freeze(traced)
    found["OpenVINO fp32"] = Engine.load(name, threads=1, runtime="openvino")
    found["traced and frozen by TorchScript"] = Engine(Rerouted(plain.backbone, frozen))
    for variant, path in onnx_variants(plain.backbone, people, folder).items():
        found[variant] = Engine(Rerouted(plain.backbone, session_of(path)))
    return found


def timed(found: dict[str, Engine], people: list[PreparedPerson], rounds: int) -> list[dict]:
    """Milliseconds per clip of every variant and batch."""
    rows = []
    for batch in BATCHES:
        some = (people * batch)[:batch]
        reference = found["eager"].features(some, batch)
        spent: dict[str, list[float]] = {name: [] for name in found}
        for _ in range(max(3, rounds // batch)):
            for name, engine in found.items():
                # On a GPU the process's own time leaves out what it waits for; features come back when they are there.
                clock = time.process_time if engine.device.type == "cpu" else time.perf_counter
                began = clock()
                values = engine.features(some, batch)
                spent[name].append((clock() - began) / batch * 1e3)
        base = float(np.median(spent["eager"]))
        for name, engine in found.items():
            values = engine.features(some, batch)
            ms = float(np.median(spent[name]))
            frozen = values[:, : 17 * engine.backbone.config.width] - reference[:, : 17 * engine.backbone.config.width]
            row = {"variant": name, "batch": batch, "ms_per_clip": round(ms, 2), "ratio": round(ms / base, 2)}
            rows.append(row | {"largest_difference": float(np.abs(frozen).max())})
    return rows


def accuracy(found: dict[str, Engine], sets: list[str], shots: int, seeds: int) -> list[dict]:
    """Few-shot accuracy of LDA on house features and ridge on frozen ones, by the runtime they come from."""
    from training.datasets import draw_shots, read_set
    from training.feature_cache import main_person

    wanted = {name: engine for name, engine in found.items() if name == "eager" or name.startswith("int8")}
    rows = []
    for set_name in sets:
        labelled = read_set(set_name, Path(os.environ["SKELETON_PROMPT_DATASETS"]))
        people = [main_person(labelled, index) for index in range(len(labelled))]
        visible = np.array([person is not None for person in people])
        there = [person for person in people if person is not None]
        place = np.cumsum(visible) - 1
        values = {name: engine.features(there, 8) for name, engine in wanted.items()}
        test = labelled.test_indices[visible[labelled.test_indices]]
        train = labelled.train_indices[visible[labelled.train_indices]]
        for head in ("house, LDA", "frozen, ridge"):
            scores: dict[tuple[str, str], list[float]] = {}
            for seed in range(seeds):
                drawn = draw_shots(labelled.labels, train, shots, seed)
                fitted = {
                    name: fit(head, wanted[name], v[place[drawn]], labelled.labels[drawn]) for name, v in values.items()
                }
                for name, v in values.items():
                    for taught in {name, "eager"}:
                        told = fitted[taught](v[place[test]])
                        scores.setdefault((taught, name), []).append(float((told == labelled.labels[test]).mean()))
            rows += [
                {"set": set_name, "head": head, "taught": a, "asked": b, "accuracy": round(100 * float(np.mean(s)), 2)}
                for (a, b), s in scores.items()
            ]
    return rows


def fit(head: str, engine: Engine, values: np.ndarray, labels: np.ndarray):
    """A predictor on one feature block."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.linear_model import RidgeClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    block = engine.blocks[head.split(",")[0]]
    lda = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.5)
    model = make_pipeline(StandardScaler(), lda if head.endswith("LDA") else RidgeClassifier(300.0))
    model.fit(values[:, block], labels)
    return lambda asked: model.predict(asked[:, block])


def main() -> None:
    """Print the tables, and a JSON line for machines."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--backbone", default="edge")
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:N or auto")
    parser.add_argument("--rounds", type=int, default=48)
    parser.add_argument("--accuracy", nargs="*", default=[], metavar="SET")
    parser.add_argument("--only", nargs="*", default=[], metavar="WORD", help="variants whose name has one of these")
    parser.add_argument("--shots", type=int, default=5)
    parser.add_argument("--seeds", type=int, default=5)
    given = parser.parse_args()
    rng = np.random.default_rng(0)
    clips = [make_clip(action, rng) for action in [*ACTIONS] * 3][:32]
    people = [prepare(parse_clip(clip | {"keypoints": clip["keypoints"].tolist()}))[0][0] for clip in clips]
    with tempfile.TemporaryDirectory() as folder:
        found = engines(given.backbone, people, Path(folder), given.device)
        found = {n: e for n, e in found.items() if n == "eager" or not given.only or any(w in n for w in given.only)}
        times = timed(found, people, given.rounds)
        scores = accuracy(found, given.accuracy, given.shots, given.seeds) if given.accuracy else []
    for rows in (times, scores):
        if rows:
            print("\n| " + " | ".join(rows[0]) + " |\n|" + "---|" * len(rows[0]))
            print(
                "\n".join(
                    "| " + " | ".join(f"{v:.2g}" if k.startswith("largest") else str(v) for k, v in row.items()) + " |"
                    for row in rows
                )
            )
    print(json.dumps({"times": times, "accuracy": scores}))


if __name__ == "__main__":
    main()
