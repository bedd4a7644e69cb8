"""Msgpack bodies, decoded with bounds on depth, containers and lengths.

An array may announce four billion items in five bytes, and an empty list takes one byte of a body and 64 of memory. The
bounds below keep the memory of a decoded body proportional to its size.
"""

from __future__ import annotations

from typing import Any

import msgpack

from service.errors import MalformedBody, TooLarge

MAX_MAP = 1024  # fields of one object
MAX_EXT = 1024  # bytes of an extension value, which no field accepts anyway
BYTES_PER_CONTAINER = 3  # the shortest useful list is a joint of two small numbers
FREE_CONTAINERS = 1024


def decode_msgpack(body: bytes, max_depth: int, max_items: int, where: str) -> Any:
    """The value that a msgpack body holds.

    Args:
        body: The body, unpacked.
        max_depth: Levels of nesting allowed.
        max_items: Items of one array allowed.
        where: Name of the body in error messages.

    Raises:
        TooLarge: The nesting, an array or the number of containers exceeds its limit.
        MalformedBody: The body is not valid msgpack.
    """
    left = FREE_CONTAINERS + len(body) // BYTES_PER_CONTAINER

    def count(value: Any) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            raise TooLarge(f"{where} holds more than one list or object per {BYTES_PER_CONTAINER} bytes.")
        return value

    items = min(max_items, len(body))
    try:
        value = msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            list_hook=count,
            object_hook=count,
            max_array_len=items,
            max_map_len=min(MAX_MAP, len(body)),
            max_ext_len=MAX_EXT,
        )
    except TooLarge:
        raise
    except Exception as error:  # msgpack raises ValueError, its own family, and whatever an odd extension type provokes
        if "max_array_len" in str(error) and items < len(body):
            raise TooLarge(f"{where} holds a msgpack array of more than {items} items.") from None
        if "max_map_len" in str(error) and len(body) > MAX_MAP:
            raise TooLarge(f"{where} holds a msgpack map of more than {MAX_MAP} fields.") from None
        raise MalformedBody(f"{where} is not valid msgpack ({type(error).__name__}).") from None
    _check_depth(value, max_depth, where)
    return value


def _check_depth(value: Any, max_depth: int, where: str) -> None:
    """Refuse a value that is nested too deeply, level by level and so without recursion."""
    level = [value] if isinstance(value, list | dict) else []
    depth = 0
    while level:
        depth += 1
        if depth > max_depth:
            raise TooLarge(f"{where} is nested deeper than {max_depth} levels (max_json_depth).")
        level = [
            item
            for container in level
            for item in (container.values() if type(container) is dict else container)
            if type(item) is list or type(item) is dict
        ]
