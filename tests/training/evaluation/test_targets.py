from typing import Any

import pytest

from training.evaluation.config import ALL_SETS, OURS
from training.evaluation.targets import targets, targets_table

RIDGE, NET = "ridge on stream descriptors", "DD-Net"


def line(protocol: str, method: str, name: str, figures: dict[str, Any], **changes: Any) -> dict[str, Any]:
    return {
        "protocol": protocol, "method": method, "set": name, "shots": 5, "seed": 0, "taught": "whole",
        "asked": "whole", "dropped": False, "part": "",
    } | changes | figures  # fmt: skip


def by_name(lines: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {one["gate"]: one for one in targets(lines)}


def few_shot(shots: int | None, ours: float, peers: dict[str, float]) -> list[dict[str, Any]]:
    return [
        line("few-shot", method, name, {"accuracy": value}, shots=shots)
        for name in ALL_SETS
        for method, value in {OURS: ours, **peers}.items()
    ]


def test_nothing_measured_is_neither_met_nor_missed() -> None:
    found = targets([])
    assert [one["gate"] for one in found] == [f"R{number}" for number in range(1, 10)]
    assert all(one["met"] is None and one["figure"] == "not measured" for one in found)
    assert len(targets_table(found)) == 11


def test_the_lead_is_over_the_best_peer_from_scratch_and_names_who_was_not_tried() -> None:
    lines = few_shot(5, 0.80, {RIDGE: 0.60, NET: 0.64, "full fine-tuning": 0.79})
    found = by_name(lines)["R1"]
    assert found["met"] is True
    assert found["figure"].startswith("+16.0 points (80.0 against 64.0 of DD-Net; not against ST-GCN++")
    lines[0] |= {"accuracy": 0.70}  # ours on the first set: 6 points ahead there, 14 in the mean
    found = by_name(lines)["R1"]
    assert found["met"] is False
    assert "least +6.0 on utd_mhad" in found["figure"]


def test_a_mean_over_fewer_sets_says_which_are_missing() -> None:
    lines = [one for one in few_shot(5, 0.8, {RIDGE: 0.6}) if one["set"] != "nw_ucla"]
    assert "without nw_ucla" in by_name(lines)["R1"]["figure"]


@pytest.mark.parametrize(("ten", "met"), [(0.75, True), (0.70, False)])
def test_one_and_ten_clips_each_have_their_aim(ten: float, met: bool) -> None:
    lines = few_shot(1, 0.6, {RIDGE: 0.4}) + few_shot(10, ten, {RIDGE: 0.6})
    assert by_name(lines)["R2"]["met"] is met
    assert by_name(lines[:10])["R2"]["met"] is None


@pytest.mark.parametrize(("value", "met"), [(0.99, True), (0.95, False)])
def test_all_clips_are_held_against_what_is_published(value: float, met: bool) -> None:
    assert by_name(few_shot(None, value, {}))["R3"]["met"] is met


def occluded(method: str, whole: float, left: float, *, dropped: bool = False) -> list[dict[str, Any]]:
    return [
        line("occlusion", method, name, {"accuracy": value}, asked=view, dropped=dropped)
        for name in ALL_SETS
        for view, value in {"whole": whole, "joints-5": left}.items()
    ]


def test_loss_through_missing_joints_is_held_against_the_peer_that_tells_most_of_the_damaged_clips() -> None:
    peers = occluded(RIDGE, 0.6, 0.40, dropped=True) + occluded(NET, 0.06, 0.05, dropped=True)
    found = by_name(occluded(OURS, 0.8, 0.71) + peers)["R4"]
    assert found["met"] is True
    assert found["figure"] == f"9.0 points; {RIDGE}, taught with joints dropped, loses 20.0"
    assert by_name(occluded(OURS, 0.8, 0.69) + peers)["R4"]["met"] is False
    assert by_name(occluded(OURS, 0.8, 0.75))["R4"]["met"] is False


def test_loss_between_layouts_is_the_worst_of_both_directions() -> None:
    views = {("whole", "whole"): 0.8, ("whole", "as-penn13"): 0.78, ("as-penn13", "as-penn13"): 0.79,
             ("as-penn13", "whole"): 0.75}  # fmt: skip
    lines = [
        line("cross-layout", OURS, name, {"accuracy": value}, taught=taught, asked=asked)
        for name in ALL_SETS
        for (taught, asked), value in views.items()
    ]
    found = by_name(lines)["R5"]
    assert found["met"] is False
    assert found["figure"] == "3.0 in the mean, 4.0 at worst (penn13 → own)"


def test_a_part_without_which_nothing_is_lost_does_not_earn_its_place() -> None:
    lines = [line("ablation", OURS, "utd_mhad", {"accuracy": 0.8})]
    lines += [line("ablation", OURS, "utd_mhad", {"accuracy": 0.7}, part="without house")]
    assert by_name(lines)["R6"]["met"] is True
    lines += [line("ablation", OURS, "utd_mhad", {"accuracy": 0.8}, part="without frontal")]
    found = by_name(lines)["R6"]
    assert found["met"] is False
    assert found["figure"] == "without house -10.0, without frontal +0.0"


def test_the_largest_tenant_counts_and_time_is_that_of_27_classes() -> None:
    cost = {"tuning_seconds": 12.0, "tuning_cores": 2, "clips_taught": 135, "base_parameters": 2_000_000}
    size = {"parameters": 100_000, "bytes": 200_000}
    lines = [line("cost", OURS, "utd_mhad", cost | size), line("few-shot", OURS, "nw_ucla", {"accuracy": 1.0} | size)]
    found = by_name(lines)
    assert found["R7"]["met"] is True
    assert found["R9"]["met"] is True
    lines[1] |= {"parameters": 310_000}
    assert by_name(lines)["R7"]["met"] is False
    lines[0] |= {"set": "jhmdb14"}
    assert by_name(lines)["R9"]["met"] is None


@pytest.mark.parametrize(("ece", "auroc", "met"), [(0.04, 0.93, True), (0.06, 0.93, False), (0.04, 0.85, False)])
def test_calibration_and_the_open_set_are_one_gate(ece: float, auroc: float, met: bool) -> None:
    lines = [line("calibration", OURS, name, {"ece": ece, "ece_by_chance": 0.02}) for name in ALL_SETS]
    lines += [line("open-set", OURS, name, {"auroc": auroc}) for name in ALL_SETS]
    assert by_name(lines)["R8"]["met"] is met


def test_a_part_of_the_module_is_held_against_the_module_by_itself() -> None:
    accuracy = {"": 0.9, "module": 0.7, "module, no queries": 0.72, "without house": 0.8}
    lines = [line("ablation", OURS, "utd_mhad", {"accuracy": value}, part=part) for part, value in accuracy.items()]
    assert by_name(lines)["R6"]["figure"] == "module, no queries +2.0, without house -10.0"
    assert by_name(lines)["R6"]["met"] is False
