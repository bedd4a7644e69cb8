"""Draw a clip: an animated SVG, an animated GIF, or a PNG strip of frames.

The own right side is red, the own left blue, so that a mirrored clip is seen at a glance. A 3-D clip is turned to the
front first, as the model sees it. Pillow is imported only where pixels are drawn.

Letters: P people, F frames drawn, J joints.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from skeleton_prompt.clips.clip import Clip
from skeleton_prompt.clips.normalise import front_axis, seen_from_front, to_canonical
from skeleton_prompt.layout_drawing import SIDE_COLOURS

if TYPE_CHECKING:
    from PIL.Image import Image

WIDTH, HEIGHT, TITLE = 320, 360, 26
MARGIN = 18
SVG_FRAMES, GIF_FRAMES, STRIP_FRAMES = 120, 90, 8
MAX_TITLE = 44
_SHADES = (1.0, 0.7, 0.5)  # later people are fainter

Array = np.ndarray[Any, np.dtype[np.float32]]


@dataclass(frozen=True)
class Drawing:
    """A clip on a canvas of WIDTH x HEIGHT.

    Attributes:
        points: (P, F, J, 2) in canvas units, NaN where not seen.
        edges: pairs of joints and the side ("l", "r" or "") whose colour they have.
        sides: side of each joint.
        seconds: how long the drawn frames last.
        title: what stands above.
    """

    points: Array
    edges: tuple[tuple[int, int, str], ...]
    sides: tuple[str, ...]
    seconds: float
    title: str


def render_clip(clip: Clip, path: Path) -> None:
    """Write a clip as ``.svg`` or ``.gif`` (both move) or ``.png`` (a strip of frames).

    Raises:
        ValueError: another suffix.
    """
    kind = path.suffix.lower()
    if kind == ".svg":
        path.write_text(draw_clip(clip), encoding="utf-8")
    elif kind == ".gif":
        path.write_bytes(draw_gif(clip))
    elif kind == ".png":
        path.write_bytes(draw_strip(clip))
    else:
        raise ValueError(f"cannot draw {kind or 'a file without suffix'}; write to .svg, .gif or .png")


def lay_out(clip: Clip, most: int) -> Drawing:
    """Place a clip on the canvas, with at most this many of its frames, evenly spread."""
    positions = clip.positions
    if positions.shape[-1] == 3:
        canonical, seen, _ = to_canonical(clip)
        axis = front_axis(canonical.reshape(-1, *canonical.shape[2:]), seen.reshape(-1, seen.shape[-1]))
        positions = seen_from_front(positions, axis)
    frames = np.linspace(0, clip.frames - 1, min(most, clip.frames)).round().astype(int)
    points = positions[:, frames, :, :2]
    known = points[~np.isnan(points).any(-1)]
    if len(known):
        low, high = np.percentile(known, (0.5, 99.5), axis=0)
    else:
        low, high = np.zeros(2), np.ones(2)
    room = np.array((WIDTH - 2 * MARGIN, HEIGHT - TITLE - 2 * MARGIN))
    scale = float((room / np.maximum(high - low, 1e-6)).min())
    middle = np.array((WIDTH / 2, TITLE + (HEIGHT - TITLE) / 2))
    placed = ((points - (low + high) / 2) * scale + middle).astype(np.float32)
    placed = np.clip(placed, -WIDTH, 2 * WIDTH)  # an outlier leaves the picture, not the number format
    edges = tuple((a, b, clip.layout.edge_side(a, b)) for a, b in clip.layout.edges)
    return Drawing(placed, edges, clip.layout.sides, clip.seconds, _title(clip))


def _title(clip: Clip) -> str:
    name = clip.label or ("background" if clip.background else clip.id or "")
    name = name if len(name) <= MAX_TITLE else name[: MAX_TITLE - 1] + "…"
    name = "".join(char if char.isprintable() else " " for char in name)
    return f"{name} · {clip.seconds:.1f} s" if name else f"{clip.seconds:.1f} s"


def draw_clip(clip: Clip) -> str:
    """The clip as a self-contained animated SVG: no scripts, no styles, no links; it loops in real time."""
    drawing = lay_out(clip, SVG_FRAMES)
    timing = f'dur="{max(drawing.seconds, 0.05):.3f}s" repeatCount="indefinite"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
        f' role="img"><title>{escape(drawing.title)}</title><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
        f'<text x="12" y="19" font-family="sans-serif" font-size="13" fill="#222">{escape(drawing.title)}</text>'
    ]
    for p, person in enumerate(drawing.points):
        shade = _SHADES[min(p, len(_SHADES) - 1)]
        parts.append(f'<g fill="none" stroke-linecap="round" opacity="{shade}">')
        for side, colour in SIDE_COLOURS.items():
            bones = [_bones_path(frame, drawing, side) for frame in person]
            dots = [_dots_path(frame, drawing, side) for frame in person]
            for paths, width in ((bones, 3.5), (dots, 6)):
                if any(path != "M0 0" for path in paths):
                    parts.append(
                        f'<path stroke="{colour}" stroke-width="{width}" d="{paths[0]}"><animate attributeName="d"'
                        f' calcMode="discrete" {timing} values="{";".join(paths)}"/></path>'
                    )
        parts.append("</g>")
    parts.append(
        f'<rect y="{HEIGHT - 4}" height="4" width="0" fill="#bbb">'
        f'<animate attributeName="width" from="0" to="{WIDTH}" {timing}/></rect></svg>'
    )
    return "".join(parts)


def _bones_path(frame: Array, drawing: Drawing, side: str) -> str:
    """Path data of the bones of one side in one frame; bones with an unseen end are left out."""
    moves = [
        f"M{frame[a, 0]:.1f} {frame[a, 1]:.1f}L{frame[b, 0]:.1f} {frame[b, 1]:.1f}"
        for a, b, of in drawing.edges
        if of == side and not np.isnan(frame[[a, b]]).any()
    ]
    return "".join(moves) or "M0 0"


def _dots_path(frame: Array, drawing: Drawing, side: str) -> str:
    """Path data of the joints of one side: strokes of no length, which round caps turn into dots."""
    moves = [
        f"M{x:.1f} {y:.1f}h0" for (x, y), of in zip(frame.tolist(), drawing.sides, strict=True) if of == side and x == x
    ]
    return "".join(moves) or "M0 0"


def draw_gif(clip: Clip) -> bytes:
    """The clip as an animated GIF in real time."""
    drawing = lay_out(clip, min(GIF_FRAMES, max(2, int(clip.seconds * 25))))
    images = [_paint(drawing, f).quantize(64) for f in range(drawing.points.shape[1])]
    buffer = io.BytesIO()
    # Browsers show frames of under 20 ms at 10 a second.
    each = max(20, round(1000 * drawing.seconds / len(images)))
    images[0].save(buffer, "GIF", save_all=True, append_images=images[1:], duration=each, loop=0, disposal=1)
    return buffer.getvalue()


def draw_strip(clip: Clip) -> bytes:
    """Up to eight frames of the clip side by side as PNG."""
    from PIL import Image

    drawing = lay_out(clip, STRIP_FRAMES)
    count = drawing.points.shape[1]
    strip = Image.new("RGB", (WIDTH * count, HEIGHT), "white")
    for f in range(count):
        strip.paste(_paint(drawing, f, titled=f == 0), (WIDTH * f, 0))
    buffer = io.BytesIO()
    strip.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _paint(drawing: Drawing, frame: int, *, titled: bool = True) -> Image:
    """One frame as pixels, drawn at twice the size and halved so that lines are smooth."""
    from PIL import Image, ImageColor, ImageDraw

    image = Image.new("RGB", (2 * WIDTH, 2 * HEIGHT), "white")
    canvas = ImageDraw.Draw(image)
    for p, person in enumerate(drawing.points):
        shade = _SHADES[min(p, len(_SHADES) - 1)]
        inks = {
            side: tuple(round(255 - (255 - value) * shade) for value in ImageColor.getrgb(colour))
            for side, colour in SIDE_COLOURS.items()
        }
        points = person[frame] * 2
        for a, b, side in drawing.edges:
            if not np.isnan(points[[a, b]]).any():
                canvas.line([tuple(points[a].tolist()), tuple(points[b].tolist())], fill=inks[side], width=7)
        for (x, y), side in zip(points.tolist(), drawing.sides, strict=True):
            if x == x:
                canvas.ellipse((x - 6, y - 6, x + 6, y + 6), fill=inks[side])
    if titled:
        canvas.text((24, 14), drawing.title, fill="#222222", font=_font())
    return image.resize((WIDTH, HEIGHT), Image.Resampling.LANCZOS)


def _font() -> Any:
    """DejaVu, which matplotlib carries, for its many alphabets; without it Pillow's own."""
    from PIL import ImageFont

    try:
        import matplotlib

        return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts/ttf/DejaVuSans.ttf"), 24)
    except (ImportError, OSError):
        return ImageFont.load_default(24)
