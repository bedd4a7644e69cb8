"""Drawings of layouts: a person who faces the reader, joints numbered, sides in colours."""

from __future__ import annotations

import math
from collections import Counter
from html import escape

from skeleton_prompt.clips.layouts import Layout

# The person's right side red, the left blue, so that a mirrored clip is seen at a glance.
SIDE_COLOURS = {"r": "#d1495b", "l": "#2e6fbb", "": "#4a4a4a"}
STRAYS_IN_COLUMN = 40  # joints of unknown place in one column
# Where a role is drawn: a person who faces the reader, so that the own right is on the left; x is mirrored for "l".
_FIGURE: dict[str, tuple[float, float]] = {
    "head_top": (0, 8), "head": (0, 20), "nose": (0, 30), "upper_neck": (0, 44), "neck": (0, 50), "thorax": (0, 58),
    "chest": (0, 68), "spine3": (0, 76), "spine2": (0, 88), "spine": (0, 92), "spine1": (0, 106), "spine0": (0, 112),
    "root": (0, 124), "eye_inner": (-4, 24), "eye": (-8, 23), "eye_outer": (-12, 24), "ear": (-17, 28),
    "mouth": (-5, 37), "collar": (-12, 58), "shoulder": (-26, 62), "elbow": (-40, 92), "wrist": (-52, 122),
    "hand": (-56, 133), "hand_tip": (-59, 144), "thumb": (-47, 135), "index": (-53, 140), "pinky": (-62, 136),
    "hip": (-15, 126), "knee": (-18, 166), "ankle": (-20, 206), "heel": (-15, 213), "toe": (-28, 216),
    "small_toe": (-36, 212), "ring": (-60, 140), "neck_base": (0, 54), "neck1": (0, 48), "upper_chest": (0, 62),
    "c7": (0, 52),
}  # fmt: skip


def draw_layout(layout: Layout) -> str:
    """A self-contained SVG of the layout: own right side red, own left blue, joints numbered; hover for names.

    Joints whose place on the body is not known are listed in columns of open circles.
    """
    places, strays, taken = {}, 0, Counter[str | None]()
    for index, role in enumerate(layout.roles):
        side = role[0] if role and role not in _FIGURE and role[1:] in _FIGURE else ""
        spot = _FIGURE.get(role[1:] if side else role) if role else None
        if role == "face_point":
            angle = math.tau * taken[role] / max(1, layout.roles.count(role))
            spot = (13 * math.sin(angle), 27 - 16 * math.cos(angle))
        elif spot is not None:  # joints of one role, as those of a finger, lie side by side
            spot = (spot[0] - 2.2 * taken[role], spot[1] + 2.2 * taken[role])
        taken[role] += 1
        if spot is None:
            spot = (92.0 + 66.0 * (strays // STRAYS_IN_COLUMN), 16.0 + 13.0 * (strays % STRAYS_IN_COLUMN))
            strays += 1
        places[index] = (-spot[0] if side == "l" else spot[0], spot[1], side)
    height = max(230.0, 24.0 + 13.0 * min(strays, STRAYS_IN_COLUMN))
    width = 160 + (130 if strays else 0) + 66 * (max(strays - 1, 0) // STRAYS_IN_COLUMN)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-80 -4 {width} {height + 4:g}" role="img"'
        f' font-family="sans-serif" font-size="5"><title>{escape(layout.name)}: {len(layout.joints)} joints</title>'
    ]
    for a, b in layout.edges:
        (x1, y1, _), (x2, y2, _) = places[a], places[b]
        colour = SIDE_COLOURS[layout.edge_side(a, b)]
        parts.append(
            f'<line x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" stroke="{colour}" stroke-width="2.4"'
            ' stroke-linecap="round" opacity=".55"/>'
        )
    for index, (x, y, side) in places.items():
        name = escape(layout.joints[index])
        stray = x > 90
        paint = f'fill="#fff" stroke="{SIDE_COLOURS[side]}"' if stray else f'fill="{SIDE_COLOURS[side]}"'
        parts.append(f'<g><title>{index} {name}</title><circle cx="{x:g}" cy="{y:g}" r="3.6" {paint}/>')
        ink = "#333" if stray else "#fff"
        parts.append(
            f'<text x="{x:g}" y="{y + 1.4:g}" text-anchor="middle" font-size="4.2" fill="{ink}">{index}</text></g>'
        )
        if stray:
            parts.append(f'<text x="{x + 6:g}" y="{y + 1.6:g}" fill="#333">{name}</text>')
    return "".join(parts) + "</svg>"
