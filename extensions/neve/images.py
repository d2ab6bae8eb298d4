"""Detector images and pictures → numpy with their header: EDF, CBF, TIFF, marccd, mar345 by fabio; PNG and JPEG by Pillow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from neve.errors import UnreadableData
from neve.local import as_path

PICTURES = frozenset({"png", "jpeg"})
_SUFFIXES = {"edf": ".edf", "cbf": ".cbf", "tiff": ".tif", "marccd": ".mccd", "mar345": ".mar3450"}


@dataclass(frozen=True)
class Image:
    """`data`: (rows, columns), with several frames (frame, rows, columns), a picture in colour (rows, columns, 3 or 4). `header`: as the file has it.

    numpy and matplotlib take it as an array: `plt.imshow(image)`, `np.asarray(image)`.
    """

    data: Any = field(repr=False)
    header: Mapping[str, Any] = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.data.shape)

    @property
    def dtype(self) -> Any:
        return self.data.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        import numpy as np  # noqa: PLC0415 - heavy

        return np.array(self.data, dtype) if copy else np.asarray(self.data, dtype)

    def __repr__(self) -> str:
        return f"<Image {' × '.join(str(length) for length in self.shape)} of {self.dtype}, {len(self.header)} header lines>"


def read(handle: Path | BinaryIO, kind: str) -> Image:
    """The image of a file whose format is `kind`. Raises `UnreadableData`; what the libraries raise besides is for the caller to name."""
    with as_path(handle, _SUFFIXES.get(kind, "")) as path:
        return _picture(path) if kind in PICTURES else _detector(path)


def _picture(path: Path) -> Image:
    import numpy as np  # noqa: PLC0415 - heavy
    from PIL import Image as Pillow  # noqa: PLC0415
    from PIL.Image import DecompressionBombError  # noqa: PLC0415

    try:
        with Pillow.open(path, formats=("PNG", "JPEG")) as picture:
            shown = picture.convert("RGBA" if "transparency" in picture.info else "RGB") if picture.mode == "P" else picture
            said = {str(key): value for key, value in picture.info.items() if isinstance(value, str | int | float | tuple)}
            return Image(np.asarray(shown), said)
    except DecompressionBombError as error:
        raise UnreadableData(f"it has too many pixels to be opened safely ({error}).", "Open it with a program of your own.") from None


def _detector(path: Path) -> Image:
    import fabio  # noqa: PLC0415 - heavy
    import numpy as np  # noqa: PLC0415

    with fabio.open(str(path)) as image:
        header = {str(key): value for key, value in image.header.items()}
        frames = [np.array(image.data)] if image.nframes == 1 else [np.array(frame.data) for frame in image]
    if any(frame.shape != frames[0].shape for frame in frames):
        raise UnreadableData("its frames have different shapes.", "Read it with fabio, frame by frame.")
    return Image(frames[0] if len(frames) == 1 else np.stack(frames), header)
