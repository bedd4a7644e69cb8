"""Reads pickles of plain containers and numpy arrays, and refuses everything else.

A pickle is a program: ``pickle.loads`` calls whatever it names. Here the only names that are looked up are those that
numpy writes for arrays, scalars and dtypes, and those of a few plain Python containers; each is replaced by a function
of this module that checks its arguments. Object arrays are refused. Source: Python, pickle, "Restricting Globals".
"""

from __future__ import annotations

import io
import pickle  # the unpickler below admits no callable but those of this module
import re
from collections.abc import Callable
from typing import Any

import numpy as np

MAX_DEPTH = 64
MAX_PICKLE_BYTES = 1 << 31
_NUMPY = re.compile(r"numpy(\._core|\.core)?(\.multiarray|\.numeric|\.numerictypes|\.dtypes)?")
_DTYPES = re.compile(r"[<>=|]?([biufSU]\d{0,9}|[?bhilqBHILQefd]|bool|u?int\d{1,2}|float\d{2})")


class UnsafePickle(ValueError):
    """The pickle names something else than numpy arrays and plain containers, or is damaged."""


def safe_loads(data: bytes) -> Any:
    """The value of a pickle.

    Raises:
        UnsafePickle: it needs anything but arrays and plain containers, or cannot be read.
    """
    if len(data) > MAX_PICKLE_BYTES:
        raise UnsafePickle(f"larger than {MAX_PICKLE_BYTES >> 20} MiB")
    try:
        return _finished(_Unpickler(io.BytesIO(data), encoding="latin1").load(), {}, 0)
    except UnsafePickle:
        raise
    except (
        pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError,
        MemoryError, RecursionError, ImportError,
    ) as error:  # fmt: skip
        raise UnsafePickle(
            f"the pickle is damaged or of another kind ({type(error).__name__}: {str(error)[:120]})"
        ) from None


class _Unpickler(pickle.Unpickler):
    """Finds no global but the replacements of this module."""

    def find_class(self, module: str, name: str) -> Any:
        """The replacement of a global.

        Raises:
            UnsafePickle: there is none.
        """
        if _NUMPY.fullmatch(module):
            if name in _NUMPY_PARTS:
                return _NUMPY_PARTS[name]
            if _DTYPES.fullmatch(name.rstrip("_")):
                return name.rstrip("_")
        if (module, name) in _PLAIN:
            return _PLAIN[module, name]
        raise UnsafePickle(
            f"the pickle needs {module[:40]}.{name[:40]}; only numpy arrays and plain containers are read from pickles"
        )

    def persistent_load(self, _pid: Any) -> Any:
        """Refused: such a pickle depends on objects outside of it."""
        raise UnsafePickle("the pickle refers to objects outside of it")


class _Dtype:
    """A dtype under construction: its byte order comes in a second step."""

    def __init__(self, spec: Any, _align: Any = False, _copy: Any = False) -> None:
        if isinstance(spec, bytes):
            spec = spec.decode("latin1")
        if not isinstance(spec, str) or not _DTYPES.fullmatch(spec):
            raise UnsafePickle(f"an array of dtype {str(spec)[:20]!r}; numbers and text are read from pickles")
        self.dtype = np.dtype(spec)

    def __setstate__(self, state: Any) -> None:
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else "="
        if isinstance(order, bytes):
            order = order.decode("latin1")
        if order in ("<", ">"):
            self.dtype = self.dtype.newbyteorder("<" if order == "<" else ">")


class _Pending:
    """An array under construction: its numbers come in a second step."""

    value: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, fortran, data = state if len(state) == 5 else (None, *state)
        if isinstance(data, str):
            data = data.encode("latin1")
        self.value = _array(data, dtype, shape, "F" if fortran else "C")


def _array(data: Any, dtype: Any, shape: Any, order: Any = "C") -> np.ndarray[Any, Any]:
    """An array from its bytes; arrays of objects have a list in their place and are refused."""
    if not isinstance(dtype, _Dtype):
        raise UnsafePickle("an array without a plain dtype")
    if not isinstance(data, (bytes, bytearray)) or order not in ("C", "F"):
        raise UnsafePickle("an array of objects; numbers and text are read from pickles")
    sizes = (shape,) if isinstance(shape, int) else tuple(shape)
    return np.frombuffer(bytes(data), dtype=dtype.dtype).reshape(sizes, order=order)


def _scalar(dtype: Any, data: Any = b"") -> Any:
    raw = data.encode("latin1") if isinstance(data, str) else data
    return _array(raw, dtype, (1,))[0].item()


def _encoded(text: Any, encoding: Any = "latin1") -> bytes:
    if not isinstance(text, str) or encoding not in ("latin1", "latin-1", "utf-8"):
        raise UnsafePickle("the pickle encodes something other than text")
    return text.encode(encoding)


def _mapping(*arguments: Any) -> dict[Any, Any]:
    """A dict in place of an OrderedDict or defaultdict; the factory of the latter is dropped."""
    rows = next((argument for argument in arguments if isinstance(argument, (list, dict))), ())
    return dict(rows)


def _finished(value: Any, done: dict[int, Any], depth: int) -> Any:
    """The value with finished arrays in place of those under construction; shared parts are visited once."""
    if depth > MAX_DEPTH:
        raise UnsafePickle(f"nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, _Pending):
        if value.value is None:
            raise UnsafePickle("an array without its numbers")
        return value.value
    if isinstance(value, (_Dtype, type)) or callable(value):
        raise UnsafePickle("the pickle holds types, not values")
    if isinstance(value, (list, tuple, dict)):
        if id(value) not in done:
            done[id(value)] = _finished_container(value, done, depth)
        return done[id(value)]
    return value


def _finished_container(value: Any, done: dict[int, Any], depth: int) -> Any:
    if isinstance(value, dict):
        return {key: _finished(item, done, depth + 1) for key, item in value.items()}
    items = [_finished(item, done, depth + 1) for item in value]
    return items if isinstance(value, list) else tuple(items)


_NUMPY_PARTS: dict[str, Any] = {
    "_reconstruct": lambda *_: _Pending(),
    "ndarray": "ndarray",
    "dtype": _Dtype,
    "scalar": _scalar,
    "_frombuffer": _array,
}
_PLAIN: dict[tuple[str, str], Callable[..., Any]] = {
    ("collections", "OrderedDict"): _mapping,
    ("collections", "defaultdict"): _mapping,
    ("_codecs", "encode"): _encoded,
    ("builtins", "bytearray"): bytearray,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "list"): list,
    ("builtins", "dict"): dict,
    ("builtins", "tuple"): tuple,
    ("builtins", "int"): int,
    ("builtins", "float"): float,
    ("builtins", "str"): str,
    ("__builtin__", "set"): set,
    ("__builtin__", "list"): list,
    ("__builtin__", "dict"): dict,
}
