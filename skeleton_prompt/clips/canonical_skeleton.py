"""The canonical skeleton: the 17 joints of Human3.6M that every layout is mapped to, and the length of a window.

The only definition of these constants; the model, the wire formats and pre-training import them from here.
"""

from __future__ import annotations

CANONICAL: tuple[str, ...] = (
    "root", "rhip", "rknee", "rankle", "lhip", "lknee", "lankle", "spine", "thorax", "nose", "head_top",
    "lshoulder", "lelbow", "lwrist", "rshoulder", "relbow", "rwrist",
)  # fmt: skip
JOINTS = len(CANONICAL)
FRAMES = 64  # frames of a window, as the model takes it
CANONICAL_EDGES: tuple[tuple[int, int], ...] = (
    (0, 1), (1, 2), (2, 3), (0, 4), (4, 5), (5, 6), (0, 7), (7, 8), (8, 9), (9, 10),
    (8, 11), (11, 12), (12, 13), (8, 14), (14, 15), (15, 16),
)  # fmt: skip
# The parent of each joint in the kinematic tree; the root's parent is the root itself.
CANONICAL_PARENTS: tuple[int, ...] = (0, *(parent for parent, _ in sorted(CANONICAL_EDGES, key=lambda edge: edge[1])))
# The joint of the other side of each joint.
CANONICAL_MIRROR: tuple[int, ...] = tuple(
    CANONICAL.index({"l": "r", "r": "l"}[name[0]] + name[1:])
    if name[0] in "lr" and name != "root"
    else CANONICAL.index(name)
    for name in CANONICAL
)
