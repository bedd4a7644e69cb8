"""Which layout a file's joints have: stated, or known from the tool and the number of joints."""

from __future__ import annotations

from skeleton_prompt.clips.formats.errors import AmbiguousFile, FormatError
from skeleton_prompt.clips.layouts import BadLayout, UnknownLayout, get_layout, layout_names, resolve_layout


def checked_layout(layout: str | tuple[str, ...] | None, joints: int, place: str) -> str | dict[str, list[str]]:
    """The ``layout`` field of a clip.

    Args:
        layout: a name or joint names, None if unknown.
        joints: number of joints in the data.
        place: the file, for messages.

    Raises:
        AmbiguousFile: nothing says what the joints are.
        FormatError: the layout is unknown, unusable, or has another number of joints.
    """
    if layout is None:
        fitting = layouts_with(joints)
        hint = f"; with {joints} joints there are {', '.join(fitting)}" if fitting else ""
        raise AmbiguousFile(
            place,
            f"{joints} joints for each person, and nothing names them: give --layout NAME or joint,names{hint}",
        )
    spec = layout if isinstance(layout, str) else {"joints": list(layout)}
    try:
        found = resolve_layout(spec)
    except (UnknownLayout, BadLayout) as error:
        advice = "" if isinstance(layout, str) else "; --layout NAME or joint,names states the joints"
        raise FormatError(place, f"layout: {error.args[0] if error.args else error}{advice}") from None
    if len(found.joints) != joints:
        raise FormatError(place, f"{joints} joints for each person, but layout {found.name} has {len(found.joints)}")
    return found.to_dict()


def layouts_with(joints: int) -> list[str]:
    """Built-in layouts of so many joints."""
    return [name for name in layout_names() if len(get_layout(name).joints) == joints]


def known_layout(names: list[str]) -> str | tuple[str, ...]:
    """The built-in layout with exactly these joint names in this order, else the names."""
    plain = [name.strip().lower().replace("-", "_").replace(" ", "_") for name in names]
    for candidate in layouts_with(len(names)):
        if list(get_layout(candidate).joints) == plain:
            return candidate
    return tuple(names)
