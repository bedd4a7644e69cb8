"""What the caller knows about files that do not say it themselves."""

from __future__ import annotations

from dataclasses import dataclass

COORDS = ("xy", "xyc", "xyz", "xyzc")
UP_AXES = ("x", "y", "z", "-x", "-y", "-z")


@dataclass(frozen=True)
class ReadOptions:
    """Options of the readers; None leaves the decision to the file.

    Attributes:
        layout: name of a built-in layout, or joint names in the order of the file.
        coords: meaning of the numbers of a joint: ``xy``, ``xyc``, ``xyz`` or ``xyzc``.
        fps: frames per second.
        image_size: width and height in pixels.
        axes: order of the axes of an array, one letter each: T frames, P people, J joints, C coordinates, N clips.
        up_axis: axis that points up in 3-D files that do not say: one of ``UP_AXES``.
        per_person: one clip for each person instead of one clip with all people.
        format: name of the reader, instead of the one that recognises the file.
    """

    layout: str | tuple[str, ...] | None = None
    coords: str | None = None
    fps: float | None = None
    image_size: tuple[float, float] | None = None
    axes: str | None = None
    up_axis: str | None = None
    per_person: bool = False
    format: str | None = None
