"""Lines of a text file, without ever holding more of it than one piece.

Law: a line longer than LINE_MAX is damage, not a line: a file of one line of a gigabyte costs a megabyte.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from typing import BinaryIO

from archiver.formats.reading import Unreadable

LINE_MAX = 2**20  # characters
PIECE_BYTES = 2**20


def lines(file: BinaryIO, encoding: str, most_bytes: int) -> Iterator[str]:
    """The lines of the next `most_bytes`, without their ends; the last may be cut. Raises `Unreadable`."""
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    held, done, count = "", 0, 0
    while piece := file.read(min(PIECE_BYTES, most_bytes - done)):
        done += len(piece)
        *whole, held = (held + decoder.decode(piece)).split("\n")
        for line in [*whole, held]:
            if len(line) > LINE_MAX:
                raise Unreadable(f"Line {count + 1:,} is longer than {LINE_MAX:,} characters: this is no text of columns, or damaged.")
            count += 1
        count -= 1
        yield from (line.rstrip("\r") for line in whole)
    if held:
        yield held.rstrip("\r")
