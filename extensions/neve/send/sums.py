"""Checksum manifests: what the SHA-256 of files should be, as whoever wrote the files says.

Read are coreutils' `sha256sum` (text, binary and escaped lines), its `--tag` form, a lone sum in `NAME.sha256`, and BagIt's `manifest-sha256.txt`.
Law: a line that is not understood is an error that names it: a sum that is there and is not checked would be worse than none.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from neve.errors import WrongUse
from neve.send.source import shown

_NAMES = {"sha256sums", "sha256sums.txt", "manifest-sha256.txt", "tagmanifest-sha256.txt"}
_LINE = re.compile(rb"(\\?)([0-9a-fA-F]{64})[ \t]+\*?(.+)", re.DOTALL)
_COREUTILS = re.compile(rb"(\\?)([0-9a-fA-F]{64}) [ *](.+)", re.DOTALL)
_TAG = re.compile(rb"(\\?)SHA256 \((.+)\) = ([0-9a-fA-F]{64})", re.DOTALL)
_LONE = re.compile(rb"[0-9a-fA-F]{64}")
_ESCAPES = {b"\\\\": b"\\", b"\\n": b"\n", b"\\r": b"\r"}
_PERCENT = {b"%0A": b"\n", b"%0D": b"\r", b"%25": b"%"}


def is_manifest(name: str) -> bool:
    """Whether a file of this name is a checksum manifest."""
    folded = name.casefold()
    return folded in _NAMES or folded.endswith(".sha256")


def read_sums(path: Path, *, windows: bool = os.name == "nt") -> dict[bytes, str]:
    """Name relative to the manifest's folder → SHA-256 in small hex. `windows`: whether `\\` separates folders there.

    Raises WrongUse for what is no manifest, or says two things of one file; OSError where it cannot be read.
    """
    data = path.read_bytes()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):  # what PowerShell's > writes
        data = data.decode("utf-16", "surrogatepass").encode("utf-8", "surrogatepass")
    data = data.removeprefix(b"\xef\xbb\xbf")
    bag = path.name.casefold() in {"manifest-sha256.txt", "tagmanifest-sha256.txt"}
    sums: dict[bytes, str] = {}
    for number, ended in enumerate(data.split(b"\n"), start=1):
        line = ended.removesuffix(b"\r")
        if not line.strip() or line.startswith((b"#", b";")):
            continue
        name, sha256 = _read_line(path, line, number, bag=bag)
        if windows and not bag:
            name = name.replace(b"\\", b"/")
        while name.startswith(b"./"):
            name = name[2:].lstrip(b"/")
        if sums.setdefault(name, sha256) != sha256:
            raise WrongUse(f"{shown(path)} gives two sums for {shown(name)}.", "Make the manifest again.")
    return sums


def _read_line(path: Path, line: bytes, number: int, *, bag: bool) -> tuple[bytes, str]:
    if bag and (found := _LINE.fullmatch(line)):
        return _replaced(found[3], rb"%(0[AaDd]|25)", _PERCENT), found[2].decode().lower()
    if found := _TAG.fullmatch(line):
        escaped, name, sha256 = found.groups()
    elif found := _COREUTILS.fullmatch(line) or _LINE.fullmatch(line):
        escaped, sha256, name = found.groups()
    elif _LONE.fullmatch(line.strip()) and path.name.casefold().endswith(".sha256"):
        escaped, sha256, name = b"", line.strip(), os.fsencode(path.name[: -len(".sha256")])
    else:
        raise WrongUse(f"Line {number} of {shown(path)} is no line of a checksum manifest.", "It looks like `sha256sum FILE` prints it.")
    return (_replaced(name, rb"\\[\\nr]", _ESCAPES) if escaped else name), sha256.decode().lower()


def _replaced(name: bytes, pattern: bytes, by: dict[bytes, bytes]) -> bytes:
    return re.sub(pattern, lambda found: by[found[0].upper() if found[0].startswith(b"%") else found[0]], name)


def sums_below(manifest: Path, sums: dict[bytes, str], folder: Path) -> dict[bytes, str]:
    """The sums of what lies below `folder`, by names below it. Both paths absolute; `sums` as `read_sums` gives them of `manifest`."""
    here, root = os.fsencode(manifest.parent.as_posix()), os.fsencode(folder.as_posix()).rstrip(b"/") + b"/"
    found: dict[bytes, str] = {}
    for name, sha256 in sums.items():
        whole = os.path.normpath(here + b"/" + name if not os.path.isabs(name) else name).replace(os.sep.encode(), b"/")  # noqa: PTH117 - bytes
        if whole.startswith(root):
            found[whole[len(root) :]] = sha256
    return found
