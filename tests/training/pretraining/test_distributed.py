import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import training
from training.pretraining.distributed import ProcessGroup, joined

pytestmark = pytest.mark.slow

PROGRAM = """
import dataclasses, hashlib, json, sys
from pathlib import Path
import torch
from skeleton_prompt.model.backbone import CONFIGS, BackboneConfig
from training.pretraining.distributed import joined
from training.pretraining.trainer import PretrainConfig, Trainer, contrast_loss, run

torch.set_num_threads(1)
CONFIGS["tiny"] = BackboneConfig("tiny", width=16, blocks=3, heads=2)
motion, out = Path(sys.argv[1]), Path(sys.argv[2])
saved = []
original = Trainer.save
Trainer.save = lambda self: saved.append(original(self))
trainers = []
build = Trainer.__init__
def remember(self, *arguments):
    build(self, *arguments)
    trainers.append(self)
Trainer.__init__ = remember

def digest(parameters):
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in parameters)).hexdigest()

with joined("cpu") as ranks:
    # The gradient of InfoNCE over all processes' rows is that of one process with all rows.
    a, b = (torch.randn(4 * ranks.world, 5, generator=torch.Generator().manual_seed(i)) for i in (1, 2))
    groups = torch.arange(len(a)) // 2
    mine = slice(4 * ranks.rank, 4 * ranks.rank + 4)
    weight, whole = (torch.eye(5, requires_grad=True) for _ in range(2))
    rows = (ranks.gather(x[mine] @ weight) for x in (a, b))
    loss = contrast_loss(*rows, ranks.gather(groups[mine]), 0.5)
    ranks.share(loss).backward()
    ranks.average_gradients([weight])
    contrast_loss(a @ whole, b @ whole, groups, 0.5).backward()
    for steps in (3, 4):
        config = PretrainConfig(motion=motion, out=out, backbone="tiny", steps=steps, lift_steps=1, batch=4,
                                evaluate_every=2, device="cpu")
        saved.clear()
        figures = list(run(config, ranks))
        (out.parent / f"{out.name}-{steps}-{ranks.rank}.json").write_text(json.dumps({
            "gradient": float((weight.grad - whole.grad).abs().max()), "size": float(whole.grad.abs().max()),
            "weights": digest(trainers[-1].weights), "average": digest(trainers[-1].average.parameters()),
            "saved": len(saved), "steps": [f["step"] for f in figures], "lift": [f["lift"] for f in figures],
            "held_out": sum("held_out_mpjpe" in f for f in figures),
        }))
"""


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """Two processes, joined as ``torchrun`` would, that take three steps and continue to the fourth."""
    folder = tmp_path_factory.mktemp("two")
    rng = np.random.default_rng(0)
    lengths = [40] * 24
    names = [f"ui_prmd/m0{1 + i % 2}_s{'10' if i % 2 else '01'}_e{i:02d}" for i in range(24)]
    np.savez(
        folder / "motion.npz", rel=rng.normal(0, 0.4, (sum(lengths), 17, 3)).astype(np.float16),
        root=np.zeros((sum(lengths), 3), dtype=np.float32), offsets=np.cumsum([0, *lengths]), names=np.array(names),
        source=np.array(["ui_prmd"] * 24), fps=np.array(30.0),
    )  # fmt: skip
    (folder / "program.py").write_text(PROGRAM)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    shared = {"PYTHONPATH": str(Path(training.__file__).parents[1]), "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2"}
    shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    command = [sys.executable, str(folder / "program.py"), str(folder / "motion.npz"), str(folder / "run")]
    started = [
        subprocess.Popen(command, env=os.environ | shared | {"RANK": rank, "LOCAL_RANK": rank}, stderr=subprocess.PIPE)
        for rank in ("0", "1")
    ]
    try:
        for process in started:
            _, stderr = process.communicate(timeout=240)
            assert process.returncode == 0, stderr.decode()
    finally:
        for process in started:
            process.kill()
    return folder


def told(folder, steps):
    return [json.loads((folder / f"run-{steps}-{rank}.json").read_text()) for rank in (0, 1)]


def test_processes_keep_the_same_weights_though_they_see_other_motions(two) -> None:
    first, second = told(two, 3)
    assert first["weights"] == second["weights"]
    assert first["average"] == second["average"]
    assert first["lift"] != second["lift"]


def test_the_contrast_is_over_the_rows_of_all_processes(two) -> None:
    for one in told(two, 3):
        assert one["size"] > 0.01
        assert one["gradient"] < 1e-6


def test_only_the_first_process_saves_and_evaluates(two) -> None:
    first, second = told(two, 3)
    assert (first["saved"], second["saved"]) == (2, 0)
    assert (first["held_out"], second["held_out"]) == (2, 0)
    lines = [json.loads(line) for line in (two / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if line["kind"] == "held_out"] == [0, 2, 3, 4]


def test_the_same_command_continues_in_all_processes(two) -> None:
    first, second = told(two, 4)
    assert first["steps"] == second["steps"] == [4]
    assert first["weights"] == second["weights"] != told(two, 3)[0]["weights"]


def test_a_process_alone_is_left_as_it_was(monkeypatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as ranks:
        rows = torch.rand(3, 2)
        assert ranks == ProcessGroup(0, 1, 0)
        assert ranks.first
        assert ranks.gather(rows) is rows
        assert ranks.share(rows) is rows
        assert ranks.device("cpu") == torch.device("cpu")


def test_each_process_has_its_own_gpu() -> None:
    assert ProcessGroup(5, 8, 1).device("cuda") == torch.device("cuda", 1)
    assert ProcessGroup(5, 8, 1).device("cuda:3") == torch.device("cuda", 3)
    assert ProcessGroup().device("cuda") == torch.device("cuda")
