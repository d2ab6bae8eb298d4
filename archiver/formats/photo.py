"""PNG and JPEG: size, mode, camera and date where EXIF has them. Unpacked whole, because only so a picture that was cut off is noticed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import ExifTags, Image, PngImagePlugin

from archiver.formats import detector, drawing
from archiver.formats.preview import Preview
from archiver.formats.reading import Reading, Source, Unreadable, bounded, text, without_blanks
from archiver.formats.times import Moment, iso, parse, zone_said

PIXELS_MAX = 100_000_000  # that are unpacked; a larger picture is described by its header
_TEXTS = ("ImageDescription", "Make", "Model", "Software", "Artist", "Copyright")
PngImagePlugin.MAX_TEXT_MEMORY = 2**22


def read(source: Source) -> Iterator[Reading | Preview]:
    """Metadata and preview of a PNG or JPEG file. Raises `Unreadable`."""
    with source.open() as file:
        try:
            picture = Image.open(file, formats=("PNG", "JPEG"))
        except (OSError, SyntaxError, ValueError):  # what Pillow's plugins raise on a header
            raise Unreadable("The file begins like a picture, but its header is damaged or cut off.") from None
        width, height = picture.size
        mode, kind = picture.mode, str(picture.format).lower()
        exif = picture.getexif() if kind == "jpeg" or "exif" in picture.info else {}
        problem = None
        if width * height <= PIXELS_MAX:
            try:
                picture.load()
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001  Pillow raises what its codecs raise
                problem = f"The picture is cut off or damaged ({text(str(error))[:200]})."
        named = {ExifTags.TAGS.get(tag, str(tag)): value for tag, value in exif.items()}
        inner = exif.get_ifd(ExifTags.IFD.Exif) if isinstance(exif, Image.Exif) else {}
        named |= {ExifTags.TAGS.get(tag, str(tag)): value for tag, value in inner.items()}
        texts = {key: value for key, value in picture.info.items() if isinstance(key, str) and isinstance(value, str)}
        moment = _moment(named, texts, source)
        title = text(texts.get("Title", "") or _plain(named.get("ImageDescription")) or "") or None
        said: dict[str, Any] = {
            "title": title,
            "width": width,
            "height": height,
            "mode": mode,
            "start_time": iso(moment.at) if moment else None,
            **(zone_said(moment.zone_assumed, source.zone) if moment else {}),
            "exif": without_blanks({name: text(_plain(named[name]) or "") for name in _TEXTS if name in named}),
            "texts": without_blanks({text(key): text(value) for key, value in list(texts.items())[:50]}),
        }
        yield Reading(kind, title, moment.at if moment else None, bounded(without_blanks(said)), problem)
        if problem is None:
            if width * height > PIXELS_MAX:
                raise Unreadable(f"The picture has {width:,} × {height:,} pixels; no preview is drawn of more than {PIXELS_MAX:,}.")
            if picture.mode.startswith(("I", "F")):  # 16 bits and more: a measurement, no photograph
                yield from detector.drawn(np.asarray(picture), "image", (height, width))
            else:
                yield drawing.photo(picture)


def _plain(value: Any) -> str | None:
    return value if isinstance(value, str) else value.decode("latin-1") if isinstance(value, bytes) else None


def _moment(exif: dict[str, Any], texts: dict[str, str], source: Source) -> Moment | None:
    """When it was taken: EXIF's original time with its own zone if it has one, else when it was written."""
    for name, offset in (("DateTimeOriginal", "OffsetTimeOriginal"), ("DateTimeDigitized", "OffsetTimeDigitized"), ("DateTime", "OffsetTime")):
        if said := _plain(exif.get(name)):
            spelled = said.strip("\0 ") + (_plain(exif.get(offset)) or "").strip("\0 ")
            if moment := parse(spelled, source.zone) or parse(said.strip("\0 "), source.zone):
                return moment
    return next((moment for name in ("Creation Time", "date:create") if (moment := parse(texts.get(name), source.zone))), None)
