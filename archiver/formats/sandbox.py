"""Children that read files nobody has checked. A crash, a loop or a hunger for memory costs the child, never the caller.

A child (`python -m archiver.formats`) is kept warm, because starting one costs half a second and a dataset may have thousands of
files. It answers a line of JSON by one or two (what a file says; its preview), has no secrets in its environment, cannot write
files, and is bounded in memory and time. One call has one child to itself; calls from several threads get several.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import archiver

log = logging.getLogger(__name__)

START_LIMIT_S = 60.0  # imports, on a machine that is busy
FILES_PER_CHILD = 1_000  # then a new one, so that what the C libraries leak stays small
IDLE_MAX = 2  # children kept warm
ANSWER_MAX_BYTES = 2**20
PREVIEW_LIMIT_S = 10.0  # for drawing one file; nobody waits longer for a picture


class ChildFailed(Exception):
    """The child did not answer. The message is the reason, in words."""


class Child:
    """One child process and its two pipes."""

    def __init__(self) -> None:
        code = Path(archiver.__file__ or "").resolve().parents[1]
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(code), os.environ.get("PYTHONPATH")])),
            "HDF5_USE_FILE_LOCKING": "FALSE",  # FUSE and NFS refuse locks
            "HDF5_PLUGIN_PRELOAD": "::",  # a file may not make us load code
            "OPENBLAS_NUM_THREADS": "1",  # its threads would use up the address space
        }
        self.served = 0
        self._rest = b""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "archiver.formats"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for the caller, who then closes the pipe
        )
        try:
            answer = self._answer(START_LIMIT_S)
        except ChildFailed as error:
            self.end()
            raise ChildFailed(f"the metadata reader did not start: {error}") from None
        if answer.get("ready") is not True:
            self.end()
            raise ChildFailed(f"the metadata reader did not start: {answer.get('error', 'no reason given')}")

    def ask(self, request: dict[str, Any], limit_s: float) -> dict[str, Any]:
        """The child's answer to `request`. Raises `ChildFailed`; the child is then of no more use."""
        self.served += 1
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps(request).encode("ascii") + b"\n")
        except OSError:
            raise ChildFailed(self._death()) from None
        return self._answer(limit_s)

    def more(self, limit_s: float) -> dict[str, Any]:
        """The next line of the answer. Raises `ChildFailed`, as `ask` does."""
        return self._answer(limit_s)

    def _answer(self, limit_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        out, deadline, received = self._process.stdout.fileno(), time.monotonic() + limit_s, self._rest
        said = select.poll()
        said.register(out, select.POLLIN)
        while b"\n" not in received:
            if not said.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise ChildFailed(f"reading it took longer than {limit_s:g} s")
            piece = os.read(out, 65_536)
            if not piece:
                raise ChildFailed(self._death())
            received += piece
            if len(received) > ANSWER_MAX_BYTES:
                raise ChildFailed("its description became too large")
        line, _, self._rest = received.partition(b"\n")
        try:
            answer = json.loads(line)
        except ValueError:
            raise ChildFailed("the reader was confused by it") from None
        if not isinstance(answer, dict):
            raise ChildFailed("the reader was confused by it")
        return answer

    def _death(self) -> str:
        try:
            code = self._process.wait(5)
        except subprocess.TimeoutExpired:
            return "the reader stopped answering"
        if code == -signal.SIGALRM:
            return "reading it took too long"
        return f"the reader crashed on it ({signal.Signals(-code).name})" if code < 0 else f"the reader ended with code {code}"

    def end(self) -> None:
        """End the child, whatever it does."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):  # a pipe to a dead child is closed all the same
                    pipe.close()
        self._process.kill()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:  # in the kernel, on a file system that hangs: it ends when that answers
            log.warning("A metadata reader (process %s) does not end: the file system it reads from may hang.", self._process.pid)


_idle: list[Child] = []
_lock = threading.Lock()


def ask(request: dict[str, Any], limit_s: float) -> tuple[dict[str, Any], dict[str, Any]]:
    """A child's answer, and the preview that followed it. Raises `ChildFailed` with the reason in words.

    A preview that kills or holds the child costs itself only: then `error` stands in its place.
    """
    while True:
        with _lock:
            child = _idle.pop() if _idle else None
        fresh = child is None
        child = child or Child()
        started = time.monotonic()
        try:
            answer = child.ask(request, limit_s)
        except ChildFailed:
            child.end()
            if fresh or time.monotonic() - started >= limit_s:
                raise
            continue  # a warm child may have died of what it read before: this file gets a new one
        except BaseException:
            child.end()
            raise
        seen = _preview(child, min(PREVIEW_LIMIT_S, limit_s)) if answer.get("preview_follows") else {}
        with _lock:
            keep = len(_idle) < IDLE_MAX and child.served < FILES_PER_CHILD and not (answer.get("last") or seen.get("last"))
            if keep:
                _idle.append(child)
        if not keep:
            child.end()
        return answer, seen


def _preview(child: Child, limit_s: float) -> dict[str, Any]:
    try:
        return child.more(limit_s)
    except ChildFailed as error:
        return {"error": f"No preview could be drawn: {error}.", "last": True}
    except BaseException:
        child.end()
        raise


@atexit.register
def end_children() -> None:
    """End the children that wait for work."""
    with _lock:
        waiting, _idle[:] = list(_idle), []
    for child in waiting:
        child.end()


# A forked process must not talk into its parent's pipes.
os.register_at_fork(after_in_child=_idle.clear)
