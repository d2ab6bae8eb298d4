"""What the assembly gives the web server."""

from __future__ import annotations

import socket

import pytest

from archiver.app import listen
from archiver.errors import PortInUse


def test_answers_are_sent_at_once():
    """An answer is written in two parts: held back, the second would wait for the client's acknowledgement of the first."""
    with listen("127.0.0.1", 0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0
        with pytest.raises(PortInUse, match=r"cannot be listened on: Address already in use.*api\.port"):
            listen(*listener.getsockname())
