"""Where the backbones lie that came with this package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def backbone_path(name: str | Path) -> Path:
    """Where a backbone lies: a path as it is, or a name in the package's or the checkout's ``model_store``.

    Raises:
        FileNotFoundError: If no such backbone ships and no such file exists; the message lists what there is.
    """
    if Path(name).suffix == ".safetensors":
        path = Path(name)
        if path.is_file():
            return path
        raise FileNotFoundError(f"backbone file {path} does not exist")
    for path in shipped_backbones():
        if path.stem == str(name):
            return path
    there = sorted({path.stem for path in shipped_backbones()})
    raise FileNotFoundError(f"no backbone named {name!r}; there are: {', '.join(there) or 'none'}")


def shipped_backbones() -> Iterator[Path]:
    """The backbone files of the package's or the checkout's ``model_store``."""
    package = Path(__file__).parents[1]
    for store in (package, package.parent):
        yield from sorted((store / "model_store" / "backbone").glob("*.safetensors"))
