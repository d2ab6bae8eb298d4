"""The child: what kills or holds it costs one file's metadata, and the next file is read as ever."""

import os
import resource
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import h5py
import pytest

from archiver.formats import extract, sandbox
from archiver.model import MetadataState


@pytest.fixture
def good(tmp_path):
    path = tmp_path / "good.h5"
    with h5py.File(path, "w") as file:
        file.attrs["title"] = "good"
    return path


@pytest.fixture(autouse=True)
def fresh_children():
    sandbox.end_children()
    yield
    sandbox.end_children()


def pid() -> int:
    return sandbox._idle[-1]._process.pid


def test_child_is_kept_for_the_next_file(good):
    assert extract(good, "good").title == "good"
    first = pid()
    assert extract(good, "good").title == "good"
    assert pid() == first


def test_child_that_dies_between_files_is_replaced(good):
    extract(good, "good")
    first = pid()
    os.kill(first, signal.SIGSEGV)
    assert extract(good, "good").title == "good"
    assert pid() != first


@pytest.mark.parametrize(("with_signal", "said"), [(signal.SIGSEGV, "the reader crashed on it (SIGSEGV)"), (signal.SIGSTOP, "took longer than 2 s")])
def test_child_that_crashes_or_hangs_on_a_file(good, monkeypatch, with_signal, said):
    """The signal stands for a bug in the C library: it comes when the child has been given the file."""
    ask = sandbox.Child.ask

    def struck(child, wanted, limit_s):
        os.kill(child._process.pid, with_signal)
        return ask(child, wanted, limit_s)

    with monkeypatch.context() as patched:
        patched.setattr(sandbox.Child, "ask", struck)
        found = extract(good, "good", time_limit_s=2)
    assert (found.format, found.state) == ("hdf5", MetadataState.FAILED)
    assert said in found.error
    assert extract(good, "good").title == "good"


def test_child_that_cannot_start_is_said(good, monkeypatch):
    monkeypatch.setattr(sandbox.sys, "executable", "/bin/false")
    found = extract(good, "good")
    assert found.state is MetadataState.FAILED
    assert "did not start" in found.error


def test_child_of_a_process_with_many_files_open(good):
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    with ExitStack() as held:
        held.callback(resource.setrlimit, resource.RLIMIT_NOFILE, limits)
        resource.setrlimit(resource.RLIMIT_NOFILE, (2048, limits[1]))
        while held.enter_context(Path(os.devnull).open()).fileno() < 1100:
            pass
        assert extract(good, "good").title == "good"


def test_child_is_bounded_and_knows_no_secret(good, monkeypatch):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hidden")
    extract(good, "good")
    with Path(f"/proc/{pid()}/limits").open() as limits:
        bounds = {line[:26].strip(): line.split()[3 if line.startswith("Max a") else -3] for line in limits}
    assert int(bounds["Max address space"]) == 2 * 2**30
    assert b"hidden" not in Path(f"/proc/{pid()}/environ").read_bytes()


def test_threads_have_children_of_their_own(good):
    together = threading.Barrier(4)

    def one(_):
        together.wait(30)
        return [extract(good, "good").title for _ in range(10)]

    with ThreadPoolExecutor(4) as pool:
        assert {title for titles in pool.map(one, range(4)) for title in titles} == {"good"}
    assert len(sandbox._idle) <= sandbox.IDLE_MAX
