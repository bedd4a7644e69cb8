import builtins
import json
import logging

import pytest

from training.pretraining.run_log import RunLog


def curves(folder):
    """Every point of the event files as TensorBoard shows them."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {tag: [(e.step, round(e.value, 4)) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_run_that_continues_continues_its_curves_and_drops_what_was_lost(tmp_path) -> None:
    first = RunLog(tmp_path)
    for step in (20, 40, 60):
        first.report(step, {"total": step / 10, "step": step, "seconds": 1.0}, "train")
    first.report(50, {"mpjpe": 0.5}, "held_out")
    first.close()
    second = RunLog(tmp_path, 50)  # it died after step 60 and was saved at 50
    second.report(60, {"total": 7.5}, "train")
    second.close()
    assert curves(tmp_path) == {"train/total": [(20, 2.0), (40, 4.0), (60, 7.5)], "held_out/mpjpe": [(50, 0.5)]}
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [(line["kind"], line["step"]) for line in lines] == [
        ("train", 20), ("train", 40), ("held_out", 50), ("train", 60),
    ]  # fmt: skip


def test_a_line_that_was_cut_off_is_dropped(tmp_path) -> None:
    (tmp_path / "log.jsonl").write_text('{"kind": "train", "step": 20, "total": 1}\n{"kind": "trai')
    RunLog(tmp_path, 40).close()
    assert (tmp_path / "log.jsonl").read_text() == '{"kind": "train", "step": 20, "total": 1}\n'


def test_without_tensorboard_it_says_so_once_and_goes_on(tmp_path, monkeypatch, caplog) -> None:
    original = builtins.__import__

    def absent(name, *arguments, **keywords):
        if name.startswith("torch.utils.tensorboard"):
            raise ImportError(name)
        return original(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", absent)
    with caplog.at_level(logging.WARNING):
        log = RunLog(tmp_path)
        for step in (1, 2, 3):
            log.report(step, {"total": 1.0}, "train")
        log.close()
    assert len(caplog.records) == 1
    assert len((tmp_path / "log.jsonl").read_text().splitlines()) == 3
    assert not (tmp_path / "tensorboard").exists()
