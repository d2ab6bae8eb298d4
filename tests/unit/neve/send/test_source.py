"""The scan: every name a file system can hold, nothing that is no file, and no way to hang it."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path, PureWindowsPath

import pytest
from neve.send.source import Changed, Source, Unreadable, check_unchanged, name_of, open_source, scan, sha256_of, shown, windows_path


def found(*paths):
    """Names in order, and what was skipped: path → (reason, failed)."""
    skipped = {}
    names = [source.name for source in scan(paths, lambda one: skipped.__setitem__(one.path, (one.reason, one.failed)))]
    return names, skipped


def test_a_folder_gives_the_paths_below_it_and_a_file_its_name(folder):
    (folder / "sub" / "deep").mkdir(parents=True)
    for name in ("b", "a", "sub/c", "sub/deep/d"):
        (folder / name).write_bytes(name.encode())
    assert found(folder) == ([b"a", b"b", b"sub/c", b"sub/deep/d"], {})
    assert found(folder / "sub" / "c", folder / "a") == ([b"c", b"a"], {})
    (source,) = scan([folder / "sub" / "c"], print)
    info = (folder / "sub" / "c").stat()
    assert (source.size_bytes, source.mtime_ns, source.mark) == (5, info.st_mtime_ns, f"5:{info.st_mtime_ns}")


def test_relative_paths_are_made_absolute(folder, monkeypatch):
    (folder / "a").write_bytes(b"")
    monkeypatch.chdir(folder)
    (source,) = scan([Path()], print)
    assert source.path == folder / "a"


@pytest.mark.parametrize(
    "name", [b"\xff\xfe", b"new\nline", "🧊".encode(), b"x" * 255, b" ", b"a\\b", b"CON", b"tab\t", b"\x01", "é".encode(), b"-rf", b"~"]
)
def test_names_survive_as_bytes(folder, name):
    (folder / os.fsdecode(name)).write_bytes(b"")
    assert found(folder) == ([name], {})


def test_names_that_differ_in_case_and_normal_form(folder):
    names = [b"a", b"A", "\u00e9".encode(), "e\u0301".encode(), "\u212a".encode(), b"K"]
    for name in names:
        (folder / os.fsdecode(name)).write_bytes(b"")
    assert sorted(found(folder)[0]) == sorted(names)


def test_links_devices_pipes_and_sockets_are_named_and_not_read(folder, tmp_path):
    (folder / "file").write_bytes(b"x")
    (folder / "to file").symlink_to(folder / "file")
    (folder / "loop").symlink_to(folder)
    (folder / "broken").symlink_to(tmp_path / "nowhere")
    os.mkfifo(folder / "pipe")
    here = Path.cwd()
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(folder)  # a socket's path is short
        listener.bind("socket")
        os.chdir(here)
        names, skipped = found(folder)
    assert names == [b"file"]
    said = {path.name: reason for path, (reason, failed) in skipped.items() if not failed}
    link = "is a link; links are not followed"
    assert said == {"to file": link, "loop": link, "broken": link, "pipe": "is a named pipe, not a file", "socket": "is a socket, not a file"}
    assert found(Path("/dev/null"))[1] == {Path("/dev/null"): ("is a character device, not a file", False)}


def test_a_link_that_is_given_is_followed(folder, tmp_path):
    (folder / "a").write_bytes(b"x")
    (tmp_path / "link").symlink_to(folder)
    assert found(tmp_path / "link") == ([b"a"], {})


def test_a_folder_that_contains_itself_ends(folder, monkeypatch):
    """As a bind mount or a junction can: the same folder under itself."""
    (folder / "in").mkdir()
    (folder / "in" / "a").write_bytes(b"x")
    real, inside = Path.lstat, folder.stat()

    def lstat(path):
        return inside if path.name == "in" else real(path)

    monkeypatch.setattr(Path, "lstat", lstat)
    assert found(folder) == ([], {folder / "in": ("is a folder that contains itself", False)})


def test_what_cannot_be_read_is_named_as_a_failure(folder, monkeypatch):
    (folder / "sub").mkdir()
    (folder / "a").write_bytes(b"x")
    real = os.listdir

    def listdir(path):
        if Path(path).name == "sub":
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "listdir", listdir)
    assert found(folder, folder / "gone") == (
        [b"a"],
        {
            folder / "sub": ("cannot be read (Permission denied)", True),
            folder / "gone": ("cannot be read (No such file or directory)", True),
        },
    )


def test_a_tree_deeper_than_the_stack_and_than_a_path_may_be_long(folder):
    """1,900 folders deep is sent; what lies too deep for this system's calls is named."""
    here = os.open(folder, os.O_RDONLY)
    for depth in range(3000):
        if depth in {1900, 2999}:
            os.close(os.open("file", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = inner
    os.close(here)
    names, skipped = found(folder)
    subprocess.run(["rm", "-r", folder / "d"], check=True)  # pytest's own cleaning would meet the stack's end
    assert names == [b"d/" * 1900 + b"file"]
    (((_, (reason, failed))),) = skipped.items()
    assert (failed, "File name too long" in reason) == (True, True)


def test_two_paths_that_give_the_same_name(folder, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for where in (folder, other):
        (where / "a").write_bytes(where.name.encode())
    (other / "b").write_bytes(b"")
    names, skipped = found(folder, other, folder / "a")
    assert names == [b"a", b"b"], "the same file twice is one file"
    assert skipped == {other / "a": (f"has the same name in the dataset as {folder}/a; send their common folder", True)}
    names, skipped = found(folder / "a", other / "a")
    assert names == [b"a"]
    assert list(skipped) == [other / "a"]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("sub\\file.h5", b"sub/file.h5"),
        ("a\\b c\\\U0001f9ca", "a/b c/🧊".encode()),
        ("lone \ud800 surrogate", b"lone \xed\xa0\x80 surrogate"),
        ("CON", b"CON"),
        ("ends with a dot.", b"ends with a dot."),
    ],
)
def test_names_as_windows_gives_them(text, name):
    assert name_of(PureWindowsPath(text)) == name


@pytest.mark.parametrize(
    ("text", "opened"),
    [
        ("C:\\data\\run42", "\\\\?\\C:\\data\\run42"),
        ("C:/data/run42", "\\\\?\\C:\\data\\run42"),
        ("\\\\server\\share\\x", "\\\\?\\UNC\\server\\share\\x"),
        ("\\\\?\\C:\\long", "\\\\?\\C:\\long"),
        ("C:\\data\\..\\other", "\\\\?\\C:\\other"),
    ],
)
def test_paths_as_windows_opens_them(text, opened):
    assert windows_path(text) == opened


def test_what_is_shown_is_one_harmless_line():
    assert shown(b"a\nb\x1b[31m\xff\xe2\x80\xae") == "a\\nb\\x1b[31m\\xff\\u202e"
    assert shown("Größe 🧊".encode()) == "Größe 🧊"


def source_of(path):
    info = path.stat()
    return Source(path, b"a", info.st_size, info.st_mtime_ns)


def test_changes_are_noticed(folder):
    path = folder / "a"
    path.write_bytes(b"one")
    source = source_of(path)
    assert sha256_of(source) == "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"
    with open_source(source) as file:
        path.rename(folder / "b")
        with pytest.raises(Unreadable, match="removed"):
            check_unchanged(source, file)
        path.write_bytes(b"two")
        os.utime(path, ns=(0, source.mtime_ns))
        with pytest.raises(Changed, match="replaced"):
            check_unchanged(source, file)
    with open_source(source) as file:
        path.write_bytes(b"longer")
        with pytest.raises(Changed, match="changed"):
            check_unchanged(source, file)
    with pytest.raises(Changed), open_source(source):
        pass


def test_a_pipe_or_link_in_a_files_place_does_not_hold_us(folder):
    path = folder / "a"
    path.write_bytes(b"one")
    source = source_of(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(Changed), open_source(source):
        pass
    path.unlink()
    path.symlink_to("/etc/hostname")
    with pytest.raises(Unreadable, match="link"), open_source(source):
        pass
