from pathlib import Path

import pytest

from training.evaluation.config import METHODS, OURS, PROFILES, PROTOCOLS, SCRATCH, configure, parse_shots
from training.evaluation.experiments import EpisodeKey, Experiment, plan
from training.evaluation.results_store import ResultsStore


def test_shots_are_a_number_or_all() -> None:
    assert (parse_shots("5"), parse_shots(" all")) == (5, None)
    for word in ("0", "-1", "few", ""):
        with pytest.raises(ValueError, match="from 1, or all"):
            parse_shots(word)


@pytest.mark.parametrize(
    ("option", "value", "listed"),
    [
        ("protocols", "few-shots", "few-shot"), ("sets", "ntu", "utd_mhad"), ("methods", "Skeleton", OURS),
        ("seeds", "x", "whole numbers"),
    ],
)  # fmt: skip
def test_a_name_that_is_unknown_is_told_with_those_that_are_known(option: str, value: str, listed: str) -> None:
    with pytest.raises(ValueError, match=listed) as told:
        configure(**{option: value})
    assert repr(value) in str(told.value)


def test_an_unknown_profile_is_told_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="quick, full"):
        configure("daily")


def test_options_override_the_profile_and_the_rest_stays() -> None:
    config = configure("full", sets="irds_subset", shots="2", seeds="7", methods=OURS)
    assert (config.sets, config.shots, config.seeds, config.methods) == (("irds_subset",), (2,), (7,), (OURS,))
    assert config.protocols == PROFILES["full"].protocols == PROTOCOLS
    assert set(SCRATCH) < set(METHODS)


def test_no_figure_is_planned_twice_and_every_protocol_is() -> None:
    cells = plan(configure("full"))
    keys = [cell.key("abc") for cell in cells]
    assert len(set(keys)) == len(keys)
    assert {cell.protocol for cell in cells} == set(PROTOCOLS)
    names = {(c.protocol, c.lesson.set, c.lesson.method, c.lesson.shots, c.lesson.seed, c.variant) for c in cells}
    assert len(names) == len(cells)


def test_all_clips_of_jhmdb_are_taught_in_each_of_the_three_official_splits() -> None:
    cells = plan(configure("full", protocols="few-shot", sets="jhmdb14,utd_mhad", shots="all", methods=OURS))
    assert [(cell.lesson.set, cell.lesson.split) for cell in cells] == [
        ("jhmdb14", "split1"), ("jhmdb14", "split2"), ("jhmdb14", "split3"), ("utd_mhad", "split_cross_subject"),
    ]  # fmt: skip


def test_a_new_backbone_makes_figures_old_except_those_of_peers_from_scratch() -> None:
    for cell in plan(configure("quick", protocols="few-shot", methods=",".join(METHODS))):
        same = cell.key("one backbone") == cell.key("another")
        assert same == (cell.lesson.method in SCRATCH)


def test_cells_of_one_lesson_share_what_is_taught() -> None:
    cells = plan(configure("quick", protocols="few-shot,occlusion,calibration", sets="utd_mhad", methods=OURS))
    assert len(cells) == 2 * (1 + 2 + 1)
    assert len({cell.lesson for cell in cells}) == 2


def test_a_half_line_is_cut_off_and_a_foreign_one_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "out" / "cells.jsonl"
    ledger = ResultsStore(path)
    ledger.add([{"key": "a", "accuracy": 0.5}])
    with path.open("ab") as file:
        file.write(b'nonsense\n{"key": "b", "accu')
    again = ResultsStore(path)
    assert list(again.lines) == ["a"]
    again.add([{"key": "b", "accuracy": 0.25}])
    assert ResultsStore(path).lines == {"a": {"key": "a", "accuracy": 0.5}, "b": {"key": "b", "accuracy": 0.25}}
    assert ResultsStore(path, fresh=True).lines == {}


@pytest.mark.parametrize("method", METHODS)
def test_the_key_of_every_method_reads_modules_that_exist(method: str) -> None:
    key = EpisodeKey("utd_mhad", "split", method, 5, 0)
    assert len(Experiment("few-shot", key).key("backbone")) == 24
