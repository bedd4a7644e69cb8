"""Readers for labelled skeleton sets, and the few-shot draws that evaluation makes from them."""

from training.datasets.draws import draw_shots
from training.datasets.labelled import SETS, DatasetMissing, LabelledSet, datasets_folder, read_set

__all__ = ["SETS", "DatasetMissing", "LabelledSet", "datasets_folder", "draw_shots", "read_set"]
