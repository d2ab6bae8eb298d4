"""The superblock of a copy of an HDF5 file that a program had open for writing: made that of a file which nobody has open.

Law: only ever of a copy of our own, never of an original. What is changed: the flags that say "open for writing" and "SWMR", for which readers
refuse the file; the address of its end, which a writer notes late; and the checksum over both. (HDF5 File Format Specification, "Disk Format:
Level 0A - Format Signature and Superblock"; the checksum is Jenkins' lookup3, https://burtleburtle.net/bob/c/lookup3.c.)
"""

from __future__ import annotations

from pathlib import Path

from neve.send.ready import located

_WORD = 0xFFFFFFFF
_FLAGS_AT, _WIDTH_AT, _FIRST_AT = 11, 9, 12  # in versions 2 and 3, which have a checksum
_OLD_FIRST_AT = {0: 24, 1: 28}
_OLD_WIDTH_AT = 13


def close(copy: Path) -> bool:
    """Mark the copy as closed, and as long as it is. Says whether it has a superblock that is whole."""
    with copy.open("r+b", buffering=0) as file:
        size_bytes = file.seek(0, 2)
        found = located(file, size_bytes)
        if found is None:
            return False
        at, block = found
        closed = closed_block(block, at, size_bytes)
        if closed is None:
            return False
        file.seek(at)
        file.write(closed)
    return True


def closed_block(block: bytes, at: int, size_bytes: int) -> bytes | None:
    """The superblock that begins `block`, which stands at `at` of a file of so many bytes, as that of a closed file; None where it is not whole."""
    version = block[8] if len(block) > 8 else -1
    new = version in {2, 3}
    width = block[_WIDTH_AT if new else _OLD_WIDTH_AT] if len(block) > _OLD_WIDTH_AT else 0
    first = _FIRST_AT if new else _OLD_FIRST_AT.get(version, len(block))
    length = first + 4 * width
    if width not in {2, 4, 8} or len(block) < length + 4 * new:
        return None
    if new and int.from_bytes(block[length : length + 4], "little") != lookup3(block[:length]):
        return None  # half written
    changed = bytearray(block[:length])
    if new:
        changed[_FLAGS_AT] = 0
    base = int.from_bytes(block[first : first + width], "little")
    end_at = first + 2 * width
    end = int.from_bytes(block[end_at : end_at + width], "little")
    changed[end_at : end_at + width] = max(end, size_bytes - at + base).to_bytes(width, "little")
    return bytes(changed) + (lookup3(bytes(changed)).to_bytes(4, "little") if new else b"")


def lookup3(data: bytes) -> int:
    """Jenkins' hashlittle with the initial value 0, by which HDF5 checks its metadata."""
    a = b = c = (0xDEADBEEF + len(data)) & _WORD
    blocks = range(0, len(data), 12)
    for start in blocks:
        words = data[start : start + 12].ljust(12, b"\0")
        a, b, c = ((old + int.from_bytes(words[i : i + 4], "little")) & _WORD for old, i in ((a, 0), (b, 4), (c, 8)))
        if start != blocks[-1]:
            a, b, c = _mixed(a, b, c)
    return _final(a, b, c) if data else c


def _turned(value: int, bits: int) -> int:
    return ((value << bits) | (value >> (32 - bits))) & _WORD


def _mixed(a: int, b: int, c: int) -> tuple[int, int, int]:
    for one, two, three in ((4, 6, 8), (16, 19, 4)):
        a = ((a - c) & _WORD) ^ _turned(c, one)
        c = (c + b) & _WORD
        b = ((b - a) & _WORD) ^ _turned(a, two)
        a = (a + c) & _WORD
        c = ((c - b) & _WORD) ^ _turned(b, three)
        b = (b + a) & _WORD
    return a, b, c


def _final(a: int, b: int, c: int) -> int:
    c = ((c ^ b) - _turned(b, 14)) & _WORD
    a = ((a ^ c) - _turned(c, 11)) & _WORD
    b = ((b ^ a) - _turned(a, 25)) & _WORD
    c = ((c ^ b) - _turned(b, 16)) & _WORD
    a = ((a ^ c) - _turned(c, 4)) & _WORD
    b = ((b ^ a) - _turned(a, 14)) & _WORD
    return ((c ^ b) - _turned(b, 24)) & _WORD
