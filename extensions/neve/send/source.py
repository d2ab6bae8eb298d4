"""Files as they stand on this machine: what a scan of folders finds, and how one is opened so that a change is noticed.

Law: every name survives: `name` is the raw bytes below the folder that was given, "/" between them. Links below a given path are not followed, a
folder is never entered from within itself, and what is no regular file is named (`Skipped`) instead of read. Windows' long paths and names that only
its API can spell (`CON`, a final dot) go through the `\\\\?\\` form.
"""

from __future__ import annotations

import errno
import hashlib
import ntpath
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path, PurePath, PureWindowsPath

_LINKS_OF_WINDOWS = {0xA000000C, 0xA0000003}  # IO_REPARSE_TAG_SYMLINK, IO_REPARSE_TAG_MOUNT_POINT (a junction)
_KINDS = {
    stat.S_IFBLK: "a block device",
    stat.S_IFCHR: "a character device",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A regular file. `path`: where it lies here; `name`: its path in the dataset, raw bytes joined by "/"; the rest: as it was found."""

    path: Path
    name: bytes
    size_bytes: int
    mtime_ns: int

    @property
    def mark(self) -> str:
        """Stays the same as long as this is the same file: under it an upload is gone on with."""
        return f"{self.size_bytes}:{self.mtime_ns}"


@dataclass(frozen=True, slots=True)
class Skipped:
    """Something that a scan found and did not give. `failed`: data that should have been sent and could not be read; else it was none."""

    path: Path
    reason: str
    failed: bool


class Changed(Exception):
    """The file is not (any more) what it was when it was found."""


class Unreadable(Exception):
    """The file cannot be read, or not any more."""


OnFolder = Callable[[Path, bytes, list[str]], None]


def scan(paths: Iterable[Path], on_skip: Callable[[Skipped], None], on_folder: OnFolder = lambda _path, _prefix, _names: None) -> Iterator[Source]:
    """Every regular file at or below `paths`, each folder in order of names, found while it is asked for.

    A folder gives the paths below it, a file its own name. A path that is given may be a link; links below are not followed. `on_skip` is told what
    is left out, and why: links, devices, sockets and pipes, what cannot be read, and a second file of the same name from another path.
    `on_folder`: told of each folder before its files come: its path, what the names of its files begin with, and what it holds.
    """
    given = [Path(path) for path in paths]
    for index, path in enumerate(given):
        for source in _below(path, on_skip, on_folder):
            twin = _twin(source, given[:index])
            if twin is None:
                yield source
            elif not twin.samefile(source.path):
                on_skip(Skipped(source.path, f"has the same name in the dataset as {shown(twin)}; send their common folder", failed=True))


def _below(given: Path, on_skip: Callable[[Skipped], None], on_folder: OnFolder) -> Iterator[Source]:
    root = local_path(given)
    try:
        info = root.stat()
    except (OSError, ValueError) as error:
        on_skip(_unreadable(given, error))
        return
    if not stat.S_ISDIR(info.st_mode):
        yield from _regular(root, name_of(PurePath(root.name)), info, on_skip)
        return
    # Not recursive: a tree may be deeper than Python's stack. Each level: its folder's identity, its name, what is still to be looked at.
    levels = [((info.st_dev, info.st_ino), root, b"", _entries(root, on_skip))]
    on_folder(root, b"", levels[0][3])
    while levels:
        _, folder, prefix, names = levels[-1]
        if not names:
            levels.pop()
            continue
        path = folder / names.pop()
        name = prefix + name_of(PurePath(path.name))
        try:
            info = path.lstat()
        except OSError as error:
            on_skip(_unreadable(path, error))
            continue
        if is_link(info):
            on_skip(Skipped(path, "is a link; links are not followed", failed=False))
        elif not stat.S_ISDIR(info.st_mode):
            yield from _regular(path, name, info, on_skip)
        elif (identity := (info.st_dev, info.st_ino)) in {level[0] for level in levels} and info.st_ino:
            on_skip(Skipped(path, "is a folder that contains itself", failed=False))
        else:
            levels.append((identity, path, name + b"/", _entries(path, on_skip)))
            on_folder(path, name + b"/", levels[-1][3])


def _entries(folder: Path, on_skip: Callable[[Skipped], None]) -> list[str]:
    """Names in a folder, the last one first: they are taken from the end. Names only, so that a million of them weigh little."""
    try:
        return sorted(os.listdir(folder), reverse=True)  # noqa: PTH208 - Path.iterdir would make a Path of each before it is needed
    except OSError as error:
        on_skip(_unreadable(folder, error))
        return []


def _regular(path: Path, name: bytes, info: os.stat_result, on_skip: Callable[[Skipped], None]) -> Iterator[Source]:
    if stat.S_ISREG(info.st_mode):
        yield Source(path, name, info.st_size, info.st_mtime_ns)
    else:
        on_skip(Skipped(path, f"is {_KINDS.get(stat.S_IFMT(info.st_mode), 'no regular file')}, not a file", failed=False))


def _twin(source: Source, earlier: list[Path]) -> Path | None:
    """The file of the same name below an earlier given path, if there is one."""
    for given in earlier:
        root = local_path(given)
        twin = root if root.is_file() else root.joinpath(*os.fsdecode(source.name).split("/"))
        if (root.is_dir() or name_of(PurePath(root.name)) == source.name) and os.path.lexists(twin):
            return twin
    return None


def is_link(info: os.stat_result) -> bool:
    """A symbolic link, or what Windows has of the kind."""
    return stat.S_ISLNK(info.st_mode) or getattr(info, "st_reparse_tag", 0) in _LINKS_OF_WINDOWS


def name_of(relative: PurePath) -> bytes:
    """A relative path as a name in a dataset. Windows' names are UTF-16, lone surrogates included, and become the bytes that CPython gives them."""
    text = "/".join(relative.parts)
    return text.encode("utf-8", "surrogatepass") if isinstance(relative, PureWindowsPath) else os.fsencode(text)


def local_path(path: Path) -> Path:
    """The absolute form in which a path is opened; on Windows the one that has no limit of 260 characters."""
    return Path(windows_path(str(path))) if os.name == "nt" else path.absolute()


def windows_path(text: str) -> str:
    r"""A path of Windows as its API takes it unchanged: `\\?\C:\…` or `\\?\UNC\server\share\…`."""
    if text.startswith(("\\\\?\\", "\\\\.\\")):
        return text
    full = ntpath.abspath(text)
    return f"\\\\?\\UNC\\{full[2:]}" if full.startswith("\\\\") else f"\\\\?\\{full}"


def shown(path: PurePath | bytes) -> str:
    """A path or name for people and logs: one line, nothing that a terminal would act on, bytes that are no UTF-8 as `\\xNN`."""
    text = path.decode("utf-8", "backslashreplace") if isinstance(path, bytes) else os.fsencode(path).decode("utf-8", "backslashreplace")
    return "".join(letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text)


@contextmanager
def open_source(source: Source) -> Iterator[FileIO]:
    """The file, open for reading without a buffer. Raises Changed where it is not what was found, Unreadable where it cannot be read."""
    with open_path(source.path) as file:
        _same(source, os.fstat(file.fileno()))
        yield file


@contextmanager
def open_path(path: Path) -> Iterator[FileIO]:
    """Whatever stands there, open for reading without a buffer. Raises Unreadable."""
    flags = os.O_RDONLY
    for name in ("O_BINARY", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC", "O_NOINHERIT"):  # a pipe put in its place must not hold us
        flags |= getattr(os, name, 0)
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        raise _why(error) from error
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        yield file


def read_into(file: FileIO, buffer: memoryview) -> None:
    """Fill `buffer` with the file's next bytes. Raises Changed where it ends before, Unreadable where it cannot be read."""
    at = 0
    while at < len(buffer):
        try:
            count = file.readinto(buffer[at:])
        except OSError as error:
            raise _why(error) from error
        if not count:
            raise Changed("became shorter while it was sent")
        at += count


def check_unchanged(source: Source, file: FileIO) -> None:
    """Raises Changed where the open file, or what stands under its name by now, differs from what was found."""
    opened = os.fstat(file.fileno())
    _same(source, opened)
    try:
        named = source.path.lstat()
    except OSError as error:
        raise _why(error) from error
    _same(source, named)
    if (opened.st_dev, opened.st_ino) != (named.st_dev, named.st_ino):
        raise Changed("was replaced while it was sent")


def check_still(source: Source) -> None:
    """Raises Changed where another file, or a changed one, stands under the name when all was sent. One that is gone was whole when it was read."""
    try:
        named = source.path.lstat()
    except OSError:
        return
    _same(source, named)


def look_again(source: Source) -> Source:
    """The same file as it is now. Raises Unreadable where it is gone or no file any more."""
    try:
        info = source.path.lstat()
    except OSError as error:
        raise _why(error) from error
    if not stat.S_ISREG(info.st_mode):
        raise Unreadable("is no file any more")
    return Source(source.path, source.name, info.st_size, info.st_mtime_ns)


def sha256_of(source: Source, check: Callable[[], None] = lambda: None) -> str:
    """The SHA-256 of the file as it was found. `check` is called now and then, to end it by raising. Raises Changed, Unreadable."""
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(min(1 << 20, source.size_bytes)))
    left = source.size_bytes
    with open_source(source) as file:
        while left:
            piece = buffer[: min(left, len(buffer))]
            read_into(file, piece)
            digest.update(piece)
            left -= len(piece)
            check()
        check_unchanged(source, file)
    return digest.hexdigest()


def _why(error: OSError) -> Exception:
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return Unreadable("was removed before it was sent")
    if error.errno == errno.ELOOP:
        return Unreadable("has become a link")
    return Unreadable(f"cannot be read ({error.strerror or error})")


def _same(source: Source, info: os.stat_result) -> None:
    if not stat.S_ISREG(info.st_mode) or (info.st_size, info.st_mtime_ns) != (source.size_bytes, source.mtime_ns):
        raise Changed("changed while it was sent")


def _unreadable(path: Path, error: Exception) -> Skipped:
    return Skipped(path, f"cannot be read ({getattr(error, 'strerror', None) or error})", failed=True)
