"""Which part of an n-dimensional array is drawn: one value per point a line, two dimensions an image, of more the frame in the middle.

Law: what is read is bounded before it is read: a frame by its size, a line by `drawing`, a chunk by whoever makes the `Array`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from archiver.formats.drawing import SERIES_MAX, Axis, Line, image, lines
from archiver.formats.preview import Preview
from archiver.formats.reading import Unreadable, without_blanks
from archiver.formats.times import from_count

FRAME_MAX_BYTES = 64 * 2**20  # of one frame that are read; of a larger one every second (third …) row and column
LOOKED_MAX_BYTES = 2**30  # of one frame that are unpacked for that
AXIS_MAX = 2**17  # values of an axis that are read; of a longer one the ends


@dataclass(frozen=True)
class Array:
    """Numbers in a file: `read` takes one slice or index per dimension."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    read: Callable[[tuple[Any, ...]], np.ndarray[Any, Any]]
    units: str | None = None
    calendar: str = "standard"

    def is_drawable(self) -> bool:
        return self.dtype.kind in "iufb" and any(edge > 1 for edge in self.shape) and all(edge > 0 for edge in self.shape)


def preview(signal: Array, axes: Sequence[Array | None]) -> Preview | None:
    """What there is to see of `signal`; `axes`: one for each dimension, None where the file has none."""
    if not signal.is_drawable():
        return None
    wide = [place for place, edge in enumerate(signal.shape) if edge > 1]
    along = [axes[place] if place < len(axes) else None for place in wide]
    if len(wide) == 1:
        fixed = tuple(slice(None) if place == wide[0] else 0 for place in range(len(signal.shape)))
        return _lines(signal, [(signal.name, fixed)], wide[0], along[0])
    first, second = wide[-2:]
    fixed = tuple(slice(None) if place in (first, second) else edge // 2 for place, edge in enumerate(signal.shape))
    few, many = sorted((first, second), key=lambda place: signal.shape[place])
    if signal.shape[few] <= SERIES_MAX and signal.shape[many] > 4 * signal.shape[few]:
        each = [tuple(index if place == few else part for place, part in enumerate(fixed)) for index in range(signal.shape[few])]
        return _lines(signal, [(f"{signal.name}[{index}]", select) for index, select in enumerate(each)], many, along[wide.index(many)])
    return _frame(signal, fixed, (first, second), (along[-2], along[-1]))


def _lines(signal: Array, parts: list[tuple[str, tuple[Any, ...]]], dimension: int, axis: Array | None) -> Preview | None:
    count = signal.shape[dimension]

    def reader(select: tuple[Any, ...]) -> Callable[[int, int], np.ndarray[Any, Any]]:
        return lambda start, stop: np.asarray(signal.read((*select[:dimension], slice(start, stop), *select[dimension + 1 :])))

    if axis is not None and (axis.shape != (count,) or axis.dtype.kind not in "iuf"):
        axis = None
    x, start, step, since_1970 = None, 0.0, 1.0, False
    if axis is not None:
        known = axis
        moments = _moments(known) if " since " in (known.units or "") else None
        if moments:
            start, step, since_1970 = *moments, True
        else:

            def x(first: int, last: int) -> np.ndarray[Any, Any]:
                return known.read((slice(first, last),))

    drawn = [Line(name, count, reader(select), x, signal.units, start, step) for name, select in parts]
    named = Axis(axis.name if axis else "index", None if since_1970 or not axis else axis.units)
    return lines("line", drawn, named, time=since_1970)


def _moments(axis: Array) -> tuple[float, float] | None:
    """The first time of a CF axis and the mean step, both in seconds since 1970; None if its calendar is not ours."""
    ends = [float(axis.read((slice(place, place + 1),))[0]) for place in (0, axis.shape[0] - 1)]
    decoded = [from_count(value, axis.units or "", axis.calendar) for value in ends if math.isfinite(value)]
    real = [found[0].timestamp() for found in decoded if found and found[0]]
    return (real[0], (real[1] - real[0]) / max(1, axis.shape[0] - 1)) if len(real) == 2 else None


def _frame(signal: Array, select: tuple[Any, ...], places: tuple[int, int], axes: tuple[Array | None, Array | None]) -> Preview | None:
    edges = [signal.shape[place] for place in places]
    frame_bytes = math.prod(edges) * signal.dtype.itemsize
    if frame_bytes > LOOKED_MAX_BYTES:
        raise Unreadable(f"One frame of {signal.name} has {frame_bytes:,} bytes; no preview is drawn of more than {LOOKED_MAX_BYTES:,}.")
    step = math.ceil(math.sqrt(frame_bytes / FRAME_MAX_BYTES))
    values = np.asarray(signal.read(tuple(slice(None, None, step) if place in places else part for place, part in enumerate(select))))
    index = [part for part in select if not isinstance(part, slice)]
    said: dict[str, Any] = {
        "name": signal.name,
        "units": signal.units,
        "shape": list(signal.shape),
        "frame": [int(part) for part in index] if any(edge > 1 for place, edge in enumerate(signal.shape) if place not in places) else None,
    }
    named = [_axis(axis, name, edge) for axis, name, edge in zip(axes, ("row", "column"), edges, strict=True)]
    return image(values, without_blanks(said), named)


def _axis(axis: Array | None, otherwise: str, edge: int) -> Axis:
    if axis is None or axis.shape != (edge,) or axis.dtype.kind not in "iuf":
        return Axis(otherwise)
    if edge <= AXIS_MAX:
        return Axis(axis.name, axis.units, np.asarray(axis.read((slice(None),))))
    return Axis(axis.name, axis.units, np.concatenate([np.asarray(axis.read((slice(place, place + 1),))) for place in (0, edge - 1)]))
